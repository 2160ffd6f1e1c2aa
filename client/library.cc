#include "client/library.h"

#include <optional>
#include <string>
#include <utility>

#include "client/block_upload.h"
#include "client/connection.h"
#include "client/library_handle.h"
#include "client/plan_handle.h"
#include "client/wire.h"

namespace kvcommons {
namespace {

template <typename List>
std::vector<TokenId> TokensOf(const List& list) {
  std::vector<TokenId> tokens(list.size());
  for (unsigned i = 0; i < list.size(); ++i) tokens[i] = list[i];
  return tokens;
}

class WorkHandleImpl final : public WorkHandle {
 public:
  WorkHandleImpl(std::shared_ptr<Connection> connection,
                 std::shared_ptr<const ModelProfile> profile, rpc::Work::Client work,
                 rpc::WorkDescription::Reader description)
      : connection_(std::move(connection)), profile_(std::move(profile)), work_(kj::mv(work)) {
    name = TextFrom(description.getName());
    kind = RootKindOf(description.getKind());
    tokens = TokensOf(description.getTokens());
    for (const auto preface : description.getPrefaces()) prefaces.push_back(TokensOf(preface));
  }

  ~WorkHandleImpl() noexcept override {
    work_.reset();
    connection_->Push();
  }
  WorkHandleImpl(const WorkHandleImpl&) = delete;
  WorkHandleImpl& operator=(const WorkHandleImpl&) = delete;

  Result<std::uint32_t> Commit(const BlockWriter& write_block, std::uint32_t loadings_rank,
                               std::uint64_t prepare_us, UploadAck ack) override {
    BlockUpload upload{*connection_, *profile_, tokens.size(), loadings_rank, ack};
    return upload.Commit(work_.value(), write_block, [&](auto& request) {
      request.setPrepareUs(prepare_us);
      request.setLoadingsVersion(loadings_rank == 0 ? 0 : kLoadingsVersion);
      request.setLoadingsRank(loadings_rank);
    });
  }

 private:
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<const ModelProfile> profile_;
  std::optional<rpc::Work::Client> work_;
};

class LibraryHandleImpl final : public LibraryHandle {
 public:
  LibraryHandleImpl(std::shared_ptr<Connection> connection,
                    std::shared_ptr<const ModelProfile> profile, rpc::Library::Client library)
      : connection_(std::move(connection)),
        profile_(std::move(profile)),
        library_(kj::mv(library)) {}

  ~LibraryHandleImpl() noexcept override {}
  LibraryHandleImpl(const LibraryHandleImpl&) = delete;
  LibraryHandleImpl& operator=(const LibraryHandleImpl&) = delete;

  Result<PutReply> Put(const std::string& name, std::span<const TokenId> tokens,
                       const std::vector<std::string>& related) override {
    KVC_FAIL_IF_ERROR(CheckTokens(tokens, *profile_));
    return connection_->Guarded("put", [&]() -> Result<PutReply> {
      auto request = library_.putRequest();
      request.setName(name);
      FillTokens(tokens, request.initTokens(static_cast<unsigned>(tokens.size())));
      auto names = request.initRelated(static_cast<unsigned>(related.size()));
      for (unsigned i = 0; i < names.size(); ++i) names.set(i, related[i].c_str());
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return PutReply{ListingOf(response.getDocument()), response.getIsNew()};
    });
  }

  Result<std::vector<LibraryListing>> List(std::uint32_t limit) override {
    return connection_->Guarded("list", [&]() -> Result<std::vector<LibraryListing>> {
      auto request = library_.listRequest();
      request.setLimit(limit);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      std::vector<LibraryListing> list;
      for (const auto document : response.getDocuments()) list.push_back(ListingOf(document));
      return list;
    });
  }

  Result<std::optional<GetReply>> Get(const std::string& name) override {
    return connection_->Guarded("get", [&]() -> Result<std::optional<GetReply>> {
      auto request = library_.getRequest();
      request.setName(name);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      if (!response.getFound()) return std::nullopt;
      return GetReply{ListingOf(response.getDocument()), TokensOf(response.getTokens())};
    });
  }

  Result<bool> Remove(const std::string& name) override {
    return connection_->Guarded("remove", [&]() -> Result<bool> {
      auto request = library_.removeRequest();
      request.setName(name);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return response.getRemoved();
    });
  }

  Result<std::unique_ptr<WorkHandle>> NextWork(std::uint32_t variants) override {
    return connection_->Guarded("nextWork", [&]() -> Result<std::unique_ptr<WorkHandle>> {
      auto request = library_.nextWorkRequest();
      request.setVariants(variants);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      if (!response.hasWork()) return nullptr;
      return std::make_unique<WorkHandleImpl>(connection_, profile_, response.getWork(),
                                              response.getDescription());
    });
  }

  Result<LibraryStatus> GetStatus() override {
    return connection_->Guarded("status", [&]() -> Result<LibraryStatus> {
      auto response = connection_->Await(library_.statusRequest().send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      const auto message = response.getStatus();
      LibraryStatus status;
      status.documents = message.getDocuments();
      const auto ready = message.getReady();
      for (unsigned i = 0; i < ready.size() && i < status.ready.size(); ++i) {
        status.ready[i] = ready[i];
      }
      status.pending = message.getPending();
      status.claimed = message.getClaimed();
      status.prepare_us = message.getPrepareUs();
      status.tokens = message.getTokens();
      return status;
    });
  }

  Result<std::unique_ptr<PlanHandle>> Plan(const PlanRequest& request) override {
    KVC_FAIL_IF_ERROR(CheckTokens(request.tokens, *profile_));
    return MakePlanHandle(connection_, library_, profile_, request);
  }

 private:
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<const ModelProfile> profile_;
  rpc::Library::Client library_;
};

void FillPrefaces(const LibraryPrefaces& prefaces, rpc::PrefaceSet::Builder message) {
  const auto& [sink, system, neutral, count, passages, tokens] = prefaces;
  FillTokens(sink, message.initSinkTokens(static_cast<unsigned>(sink.size())));
  FillTokens(system, message.initSystemTokens(static_cast<unsigned>(system.size())));
  auto list = message.initNeutral(static_cast<unsigned>(neutral.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    FillTokens(neutral[i], list.init(i, static_cast<unsigned>(neutral[i].size())));
  }
  message.setPrefaces(count);
  message.setPassagesPerPreface(passages);
  message.setPrefaceTokens(tokens);
}

}  // namespace

Result<std::unique_ptr<LibraryHandle>> MakeLibraryHandle(
    std::shared_ptr<Connection> connection, rpc::Model::Client& model,
    std::shared_ptr<const ModelProfile> profile, const LibraryPrefaces& prefaces) {
  return connection->Guarded("openLibrary", [&]() -> Result<std::unique_ptr<LibraryHandle>> {
    auto request = model.openLibraryRequest();
    FillPrefaces(prefaces, request.initPrefaces());
    auto response = connection->Await(request.send());
    if (response.hasError()) return Fail(StatusOf(response.getError()));
    if (!response.hasLibrary()) return Fail(Internal("the daemon answered no library"));
    return std::make_unique<LibraryHandleImpl>(connection, std::move(profile),
                                               response.getLibrary());
  });
}

}  // namespace kvcommons
