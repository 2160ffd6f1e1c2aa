// Library of the schema: texts that prompts are composed of, and plans of composed prompts. See
// rpc_session.h.

#pragma once

#include <memory>
#include <utility>

#include "daemon/library_registry.h"
#include "daemon/library_wire.h"
#include "daemon/preface_set.h"
#include "daemon/rpc_plan.h"
#include "daemon/rpc_session.h"
#include "daemon/session_state.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

rpc::Library::Client MakeLibraryCapability(std::unique_ptr<Counted> ticket,
                                           std::shared_ptr<const OpenedModel> model,
                                           std::shared_ptr<Library> library,
                                           std::shared_ptr<const PrefaceRoots> roots);

// Answers Model.openLibrary.
template <typename Context>
kj::Promise<void> OpenLibrary(Context context, const std::shared_ptr<SessionState>& session,
                              const std::shared_ptr<const OpenedModel>& model) {
  Services& services = session->services;
  auto ticket =
      TakeCounted(session, &SessionState::libraries, "libraries", kMaxLibrariesPerSession);
  if (!ticket) return RefuseCall(services, context, ticket.error());
  auto set = ReadPrefaceSet(context.getParams().getPrefaces(), model->profile);
  if (!set) return RefuseCall(services, context, set.error());
  context.releaseParams();
  using Opened = std::pair<std::shared_ptr<Library>, std::shared_ptr<const PrefaceRoots>>;
  return services.workers
      .Run([&services, model, set = std::move(*set)]() mutable -> Result<Opened> {
        auto library = services.libraries.Open(model);
        if (!library) return Fail(library.error());
        auto roots = services.libraries.Share(**library, std::move(set));
        if (!roots) return Fail(roots.error());
        return Opened(std::move(*library), std::move(*roots));
      })
      .then([&services, context, ticket = std::move(*ticket),
             model](Result<Opened> opened) mutable -> kj::Promise<void> {
        if (!opened) return RefuseCall(services, context, opened.error());
        context.getResults().setLibrary(MakeLibraryCapability(
            std::move(ticket), model, std::move(opened->first), std::move(opened->second)));
        return kj::READY_NOW;
      });
}

}  // namespace kvcommons
