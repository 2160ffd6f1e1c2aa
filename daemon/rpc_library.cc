#include "daemon/rpc_library.h"

#include <algorithm>
#include <string>

#include "daemon/library_wire.h"
#include "daemon/rpc_session.h"
#include "daemon/rpc_work.h"

namespace kvcommons {
namespace {

std::string TextOf(capnp::Text::Reader text) { return std::string(text.begin(), text.size()); }

Result<std::string> ReadName(capnp::Text::Reader text, std::size_t min_bytes) {
  if (text.size() >= min_bytes && text.size() <= LibraryDocument::kMaxNameBytes) {
    return TextOf(text);
  }
  return Fail(OutOfRange("name's length", text.size(), min_bytes, LibraryDocument::kMaxNameBytes));
}

Result<std::vector<std::string>> ReadRelated(capnp::List<capnp::Text>::Reader reader) {
  if (reader.size() > LibraryDocument::kMaxRelated) {
    return Fail(OutOfRange("related's length", reader.size(), 0, LibraryDocument::kMaxRelated));
  }
  std::vector<std::string> related;
  for (const auto text : reader) {
    if (text.size() < 1 || text.size() > LibraryDocument::kMaxNameBytes) {
      return Fail(
          OutOfRange("length of a related name", text.size(), 1, LibraryDocument::kMaxNameBytes));
    }
    related.push_back(TextOf(text));
  }
  return related;
}

class LibraryServer final : public rpc::Library::Server {
 public:
  LibraryServer(std::unique_ptr<Counted> ticket, std::shared_ptr<const OpenedModel> model,
                std::shared_ptr<Library> library, std::shared_ptr<const PrefaceRoots> roots)
      : ticket_(std::move(ticket)),
        model_(std::move(model)),
        library_(std::move(library)),
        roots_(std::move(roots)) {}

 private:
  Services& services() const { return ticket_->session().services; }

  template <typename Context>
  kj::Promise<void> Refuse(Context& context, const Status& status) {
    return RefuseCall(services(), context, status);
  }

  kj::Promise<void> put(PutContext context) override {
    const auto params = context.getParams();
    auto name = ReadName(params.getName(), 0);
    if (!name) return Refuse(context, name.error());
    // Behind the longest preface it must fit the context.
    const std::size_t longest =
        std::min(model_->profile.context_tokens - roots_->set().LongestTokens(),
                 LibraryDocument::kMaxTokens);
    auto tokens = ReadTokens("tokens", params.getTokens(), 1, longest, model_->profile);
    if (!tokens) return Refuse(context, tokens.error());
    auto related = ReadRelated(params.getRelated());
    if (!related) return Refuse(context, related.error());
    context.releaseParams();
    const std::size_t count = tokens->size();
    return services()
        .workers
        .Run([&libraries = services().libraries, library = library_, name = std::move(*name),
              tokens = std::move(*tokens), related = std::move(*related)]() mutable {
          return libraries.Put(*library, std::move(name), std::move(tokens), std::move(related));
        })
        .then([this, context, count](Result<Library::PutOutcome> put) mutable {
          if (!put) return Refuse(context, put.error());
          auto results = context.getResults();
          WriteLibraryDocument(put->document, put->content, &roots_->id(), count,
                               results.initDocument());
          results.setIsNew(put->is_new);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  kj::Promise<void> list(ListContext context) override {
    const std::uint32_t limit = context.getParams().getLimit();
    if (limit < 1 || limit > kMaxListed) {
      return Refuse(context, OutOfRange("limit", limit, 1, kMaxListed));
    }
    const auto listed = library_->List(limit);
    auto documents = context.getResults().initDocuments(static_cast<unsigned>(listed.size()));
    for (unsigned i = 0; i < documents.size(); ++i) {
      WriteLibraryDocument(listed[i].document, listed[i].content, &roots_->id(),
                           listed[i].token_count, documents[i]);
    }
    return kj::READY_NOW;
  }

  kj::Promise<void> get(GetContext context) override {
    const auto name = ReadName(context.getParams().getName(), 1);
    if (!name) return Refuse(context, name.error());
    const auto document = library_->Get(*name);
    if (!document) return kj::READY_NOW;
    auto results = context.getResults();
    results.setFound(true);
    WriteLibraryDocument(*document, model_->hasher.ContentKeyOf(document->tokens), &roots_->id(),
                         document->tokens.size(), results.initDocument());
    WriteTokens(document->tokens,
                results.initTokens(static_cast<unsigned>(document->tokens.size())));
    return kj::READY_NOW;
  }

  kj::Promise<void> remove(RemoveContext context) override {
    auto name = ReadName(context.getParams().getName(), 1);
    if (!name) return Refuse(context, name.error());
    return services()
        .workers
        .Run([library = library_, name = std::move(*name)] { return library->Remove(name); })
        .then([this, context](Result<bool> removed) mutable {
          if (!removed) return Refuse(context, removed.error());
          context.getResults().setRemoved(*removed);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  kj::Promise<void> nextWork(NextWorkContext context) override {
    const std::uint32_t variants = context.getParams().getVariants();
    if (const Status status = CheckVariants(variants); !status.ok()) {
      return Refuse(context, status);
    }
    auto ticket =
        TakeCounted(ticket_->shared(), &SessionState::works, "works", kMaxWorksPerSession);
    if (!ticket) return Refuse(context, ticket.error());
    Services& shared = services();
    return shared.workers
        .Run([&shared, library = library_, roots = roots_, variants,
              context_tokens = model_->profile.context_tokens] {
          auto work = library->NextWork(*roots, context_tokens,
                                        variants == 0 ? kPreparedVariants : variants);
          // At once in hands that give the claim back, should nobody wait for it any more.
          return work ? std::make_shared<WorkUpload>(shared.store, shared.clock, library,
                                                     std::move(*work))
                      : nullptr;
        })
        .then([context, ticket = std::move(*ticket)](std::shared_ptr<WorkUpload> upload) mutable {
          if (upload == nullptr) return;
          auto results = context.getResults();
          WriteWorkDescription(upload->work(), results.initDescription());
          results.setWork(MakeWorkCapability(std::move(ticket), std::move(upload)));
        });
  }

  kj::Promise<void> status(StatusContext context) override {
    return services()
        .maintenance
        .Run([library = library_, roots = roots_, context_tokens = model_->profile.context_tokens] {
          return library->Count(*roots, context_tokens);
        })
        .then([context](LibraryCounts counts) mutable {
          auto status = context.getResults().initStatus();
          status.setDocuments(counts.documents);
          auto ready = status.initReady(static_cast<unsigned>(counts.ready.size()));
          for (unsigned i = 0; i < ready.size(); ++i) ready.set(i, counts.ready[i]);
          status.setPending(counts.pending);
          status.setClaimed(counts.claimed);
          status.setPrepareUs(counts.prepare_us);
          status.setTokens(counts.tokens);
        });
  }

  kj::Promise<void> plan(PlanContext context) override {
    const std::int64_t start_ns = services().clock.NowNs();
    auto request = ReadPlanRequest(context.getParams().getRequest(), model_->profile);
    if (!request) return Refuse(context, request.error());
    context.releaseParams();
    auto chunks = library_->Find(request->tokens, request->chunks, *roots_,
                                 request->variants == 0 ? kAllVariants : request->variants);
    auto maker = std::make_shared<PlanMaker>(services().store, services().clock, model_,
                                             std::move(*request), &memo_, std::move(chunks));
    return AnswerPlan(context, ticket_->shared(), std::move(maker), start_ns,
                      [&shared = services(), library = library_](const PreparedPlan& plan) {
                        for (const auto& [content, root] : plan.lost_variants)
                          library->Forget(content, root);
                        std::vector<ContentKey> contents;
                        for (const CanonicalChunk& chunk : plan.chunks) {
                          if (!chunk.document.empty()) contents.push_back(chunk.content);
                        }
                        if (contents.size() < 2 || !library->CountTogether(contents)) return;
                        shared.workers.Submit([library] { library->WriteBack(false); });
                      });
  }

  const std::unique_ptr<Counted> ticket_;
  const std::shared_ptr<const OpenedModel> model_;  // the session's own: library_'s may differ
  const std::shared_ptr<Library> library_;
  const std::shared_ptr<const PrefaceRoots> roots_;
  ChainMemo memo_;  // of the event loop's thread
};

}  // namespace

rpc::Library::Client MakeLibraryCapability(std::unique_ptr<Counted> ticket,
                                           std::shared_ptr<const OpenedModel> model,
                                           std::shared_ptr<Library> library,
                                           std::shared_ptr<const PrefaceRoots> roots) {
  return kj::heap<LibraryServer>(std::move(ticket), std::move(model), std::move(library),
                                 std::move(roots));
}

}  // namespace kvcommons
