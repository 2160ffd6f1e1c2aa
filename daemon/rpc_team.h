// Team, TeamCall and TeamUpload of the schema: agents that read the same contents. See
// rpc_session.h.

#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "daemon/rpc_plan.h"
#include "daemon/rpc_session.h"
#include "daemon/session_state.h"
#include "daemon/team.h"
#include "daemon/team_wire.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

// Contents, by the key of their first block, whose own rows some client is computing right now:
// whoever else wants them waits, so that equal ones in flight are computed once. Belongs to the
// event loop's thread.
class TeamClaims {
 public:
  bool IsTaken(const BlockKey& content) const { return waiting_.contains(content); }
  // REQUIRES: it is not taken.
  void Take(const BlockKey& content) { waiting_.try_emplace(content); }
  // Resolves when whoever has it lets go. REQUIRES: it is taken.
  kj::Promise<void> Wait(const BlockKey& content) {
    auto pair = kj::newPromiseAndFulfiller<void>();
    waiting_.at(content).push_back(kj::mv(pair.fulfiller));
    return kj::mv(pair.promise);
  }
  void Give(const BlockKey& content) {
    auto node = waiting_.extract(content);
    for (auto& waiter : node.mapped()) waiter->fulfill();
  }

 private:
  std::map<BlockKey, std::vector<kj::Own<kj::PromiseFulfiller<void>>>> waiting_;
};

rpc::Team::Client MakeTeamCapability(std::unique_ptr<Counted> ticket,
                                     std::shared_ptr<const OpenedModel> model,
                                     std::shared_ptr<Team> team, TeamOptions options);

// Answers Model.openTeam.
template <typename Context>
kj::Promise<void> OpenTeam(Context context, const std::shared_ptr<SessionState>& session,
                           const std::shared_ptr<const OpenedModel>& model) {
  Services& services = session->services;
  auto ticket = TakeCounted(session, &SessionState::teams, "teams", kMaxTeamsPerSession);
  if (!ticket) return RefuseCall(services, context, ticket.error());
  auto name = ReadTeamName("name", context.getParams().getName());
  if (!name) return RefuseCall(services, context, name.error());
  auto options = ReadTeamOptions(context.getParams().getOptions(), model->profile);
  if (!options) return RefuseCall(services, context, options.error());
  context.releaseParams();
  return services.workers
      .Run([&services, model, name = std::move(*name)] { return services.teams.Open(model, name); })
      .then([&services, context, ticket = std::move(*ticket), options = std::move(*options),
             model](Result<std::shared_ptr<Team>> team) mutable -> kj::Promise<void> {
        if (!team) return RefuseCall(services, context, team.error());
        context.getResults().setTeam(
            MakeTeamCapability(std::move(ticket), model, std::move(*team), std::move(options)));
        return kj::READY_NOW;
      });
}

}  // namespace kvcommons
