#include "daemon/rpc_library.h"

#include <algorithm>
#include <string>

#include "daemon/rpc_session.h"
#include "daemon/work_upload.h"

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

void WriteTokens(const TokenList& tokens, capnp::List<std::int32_t>::Builder builder) {
  for (unsigned i = 0; i < builder.size(); ++i) builder.set(i, tokens[i]);
}

class WorkServer final : public rpc::Work::Server {
 public:
  WorkServer(std::shared_ptr<SessionState> session, std::shared_ptr<WorkUpload> upload)
      : ticket_(std::move(session), &SessionState::works), upload_(std::move(upload)) {}

  ~WorkServer() noexcept(false) {
    // The end of unfinished work removes its blocks.
    services().workers.Submit([upload = std::move(upload_)]() mutable { upload.reset(); });
  }

  WorkServer(const WorkServer&) = delete;
  WorkServer& operator=(const WorkServer&) = delete;

 private:
  Services& services() const { return ticket_.session().services; }

  kj::Promise<void> commit(CommitContext context) override {
    const auto params = context.getParams();
    if (params.getAck() > static_cast<std::uint8_t>(Ack::kDurable)) {
      return RefuseCall(services(), context, OutOfRange("ack", params.getAck(), 0, 1));
    }
    const auto blocks = params.getBlocks();
    const std::size_t limit = upload_->work().keys.size();
    if (blocks.size() > limit) {
      return RefuseCall(services(), context, OutOfRange("blocks' length", blocks.size(), 0, limit));
    }
    WorkCommit commit;
    for (const auto block : blocks) commit.blocks.push_back({block.getIndex(), block.getOffset()});
    commit.ack = static_cast<Ack>(params.getAck());
    commit.finish = params.getFinish();
    commit.prepare_us = params.getPrepareUs();
    commit.loadings_version = params.getLoadingsVersion();
    commit.loadings_rank = params.getLoadingsRank();
    context.releaseParams();
    const bool finish = commit.finish;
    const std::uint64_t prepare_us = commit.prepare_us;
    return services()
        .workers
        .Run([upload = upload_, staging = ticket_.session().staging, commit = std::move(commit)] {
          return upload->Commit(commit, staging.get());
        })
        .then([this, context, finish, prepare_us](Result<std::uint32_t> stored) mutable {
          if (!stored) return RefuseCall(services(), context, stored.error());
          if (finish) {
            services().metrics.CountPrepared(upload_->work().variant.root.kind, prepare_us);
          }
          context.getResults().setStored(*stored);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  const Counted ticket_;
  std::shared_ptr<WorkUpload> upload_;
};

class LibraryServer final : public rpc::Library::Server {
 public:
  LibraryServer(std::shared_ptr<SessionState> session, std::shared_ptr<const OpenedModel> model,
                std::shared_ptr<Library> library, std::shared_ptr<const PrefaceRoots> roots)
      : ticket_(std::move(session), &SessionState::libraries),
        model_(std::move(model)),
        library_(std::move(library)),
        roots_(std::move(roots)) {}

 private:
  Services& services() const { return ticket_.session().services; }

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
        .Run([library = library_, name = std::move(*name), tokens = std::move(*tokens),
              related = std::move(*related)]() mutable {
          return library->Put(std::move(name), std::move(tokens), std::move(related));
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
    if (ticket_.session().works >= kMaxWorksPerSession) {
      return Refuse(context,
                    Exhausted("the session holds " + std::to_string(ticket_.session().works) +
                              " works; the limit is " + std::to_string(kMaxWorksPerSession)));
    }
    Services& shared = services();
    return shared.workers
        .Run([&shared, library = library_, roots = roots_, variants] {
          auto work = library->NextWork(*roots, variants == 0 ? kPreparedVariants : variants);
          // At once in hands that give the claim back, should nobody wait for it any more.
          return work ? std::make_shared<WorkUpload>(shared.store, shared.clock, library,
                                                     std::move(*work))
                      : nullptr;
        })
        .then([this, context](std::shared_ptr<WorkUpload> upload) mutable {
          if (upload != nullptr) WriteWork(context, std::move(upload));
        });
  }

  void WriteWork(NextWorkContext& context, std::shared_ptr<WorkUpload> upload) {
    const LibraryWork& work = upload->work();
    auto results = context.getResults();
    auto description = results.initDescription();
    description.setName(kj::StringPtr(work.name.c_str(), work.name.size()));
    description.setKind(static_cast<std::uint8_t>(work.variant.root.kind));
    WriteTokens(work.tokens, description.initTokens(static_cast<unsigned>(work.tokens.size())));
    auto prefaces = description.initPrefaces(static_cast<unsigned>(work.prefaces.size()));
    for (unsigned i = 0; i < prefaces.size(); ++i) {
      WriteTokens(work.prefaces[i],
                  prefaces.init(i, static_cast<unsigned>(work.prefaces[i].size())));
    }
    results.setWork(kj::heap<WorkServer>(ticket_.shared(), std::move(upload)));
  }

  kj::Promise<void> status(StatusContext context) override {
    return services()
        .maintenance.Run([library = library_, roots = roots_] { return library->Count(*roots); })
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
    auto maker = std::make_shared<PlanMaker>(services().store, model_, std::move(*request), &memo_,
                                             std::move(chunks));
    return AnswerPlan(context, ticket_.shared(), std::move(maker), start_ns,
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

  const Counted ticket_;
  const std::shared_ptr<const OpenedModel> model_;
  const std::shared_ptr<Library> library_;
  const std::shared_ptr<const PrefaceRoots> roots_;
  ChainMemo memo_;  // of the event loop's thread
};

}  // namespace

void WriteLibraryDocument(const LibraryDocument& document, const ContentKey& content,
                          const RootId* set, std::size_t token_count,
                          rpc::LibraryDocument::Builder builder) {
  builder.setName(kj::StringPtr(document.name.c_str(), document.name.size()));
  WriteHash(content, builder.initContentKey());
  builder.setTokenCount(static_cast<std::uint32_t>(token_count));
  builder.setCreatedUs(document.created_us);
  auto related = builder.initRelated(static_cast<unsigned>(document.related.size()));
  for (unsigned i = 0; i < related.size(); ++i) {
    related.set(i, kj::StringPtr(document.related[i].c_str(), document.related[i].size()));
  }
  std::vector<const LibraryVariant*> own;
  for (const LibraryVariant& variant : document.variants) {
    if (set == nullptr || variant.set == *set) own.push_back(&variant);
  }
  auto variants = builder.initVariants(static_cast<unsigned>(own.size()));
  for (unsigned i = 0; i < variants.size(); ++i) {
    variants[i].setKind(static_cast<std::uint8_t>(own[i]->root.kind));
    WriteHash(own[i]->root.id, variants[i].initRoot());
    variants[i].setPrefaces(own[i]->preface_count);
    variants[i].setPrepareUs(own[i]->prepare_us);
    variants[i].setReady(own[i]->ready);
  }
}

Result<PrefaceSet> ReadPrefaceSet(rpc::PrefaceSet::Reader reader, const ModelProfile& profile) {
  PrefaceSet set;
  auto sink = ReadTokens("sinkTokens", reader.getSinkTokens(), 0, profile.context_tokens, profile);
  if (!sink) return Fail(sink.error());
  set.sink_tokens = std::move(*sink);
  auto system =
      ReadTokens("systemTokens", reader.getSystemTokens(), 0, profile.context_tokens, profile);
  if (!system) return Fail(system.error());
  set.system_tokens = std::move(*system);
  set.prefaces = reader.getPrefaces();
  set.passages_per_preface = reader.getPassagesPerPreface();
  set.preface_tokens = reader.getPrefaceTokens();
  const auto neutral = reader.getNeutral();
  if (neutral.size() > PrefaceSet::kMaxPassages) {
    return Fail(OutOfRange("neutral's length", neutral.size(), 0, PrefaceSet::kMaxPassages));
  }
  for (unsigned i = 0; i < neutral.size(); ++i) {
    auto passage = ReadTokens("neutral[" + std::to_string(i) + "]", neutral[i], 1,
                              PrefaceSet::kMaxPrefaceTokens, profile);
    if (!passage) return Fail(passage.error());
    set.neutral.push_back(std::move(*passage));
  }
  KVC_FAIL_IF_ERROR(CheckPrefaceSet(set, profile.context_tokens));
  return set;
}

Status CheckLibraryCount(const SessionState& session) {
  if (session.libraries < kMaxLibrariesPerSession) return Status();
  return Exhausted("the session holds " + std::to_string(session.libraries) +
                   " libraries; the limit is " + std::to_string(kMaxLibrariesPerSession));
}

rpc::Library::Client MakeLibraryCapability(std::shared_ptr<SessionState> session,
                                           std::shared_ptr<const OpenedModel> model,
                                           std::shared_ptr<Library> library,
                                           std::shared_ptr<const PrefaceRoots> roots) {
  return kj::heap<LibraryServer>(std::move(session), std::move(model), std::move(library),
                                 std::move(roots));
}

}  // namespace kvcommons
