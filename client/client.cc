#include "client/client.h"

#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "client/connection.h"
#include "client/library_handle.h"
#include "client/plan_handle.h"
#include "client/team_handle.h"

namespace kvcommons {
namespace {

Status ToStatus(const Result<void>& result) { return result ? Status() : result.error(); }

class ModelHandleImpl final : public ModelHandle {
 public:
  ModelHandleImpl(std::shared_ptr<Connection> connection, ModelProfile profile,
                  rpc::Model::Client model, Fingerprint fingerprint)
      : connection_(std::move(connection)),
        profile_(std::make_shared<const ModelProfile>(std::move(profile))),
        model_(kj::mv(model)),
        fingerprint_(fingerprint) {}

  // Said, since the capability's own destructor is noexcept(false).
  ~ModelHandleImpl() noexcept override {}
  ModelHandleImpl(const ModelHandleImpl&) = delete;
  ModelHandleImpl& operator=(const ModelHandleImpl&) = delete;

  Fingerprint fingerprint() const override { return fingerprint_; }

  Result<std::unique_ptr<PlanHandle>> Plan(const PlanRequest& request) override {
    KVC_FAIL_IF_ERROR(CheckTokens(request.tokens, *profile_));
    return MakePlanHandle(connection_, model_, profile_, request);
  }

  Result<LookupReply> Lookup(std::span<const TokenId> tokens, std::uint32_t repeat) override {
    KVC_FAIL_IF_ERROR(CheckTokens(tokens, *profile_));
    return connection_->Guarded("lookup", [&]() -> Result<LookupReply> {
      auto request = model_.lookupRequest(capnp::MessageSize{tokens.size() / 2 + 64, 0});
      auto list = request.initTokens(static_cast<unsigned>(tokens.size()));
      for (unsigned i = 0; i < list.size(); ++i) list.set(i, tokens[i]);
      request.setRepeat(repeat);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return LookupReply{response.getExactTokens(), response.getTookUs()};
    });
  }

  Result<bool> RemoveDocument(const std::string& name) override {
    return connection_->Guarded("removeDocument", [&]() -> Result<bool> {
      auto request = model_.removeDocumentRequest();
      request.setName(name);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return response.getRemoved();
    });
  }

  Result<std::unique_ptr<LibraryHandle>> OpenLibrary(const LibraryPrefaces& prefaces) override {
    return MakeLibraryHandle(connection_, model_, profile_, prefaces);
  }

  Result<std::unique_ptr<TeamHandle>> OpenTeam(const TeamSettings& settings) override {
    return MakeTeamHandle(connection_, model_, profile_, settings);
  }

  Result<Quality> ReportQuality(const std::string& rule, double kl, double top1) override {
    return connection_->Guarded("reportQuality", [&]() -> Result<Quality> {
      auto request = model_.reportQualityRequest();
      request.setRule(rule);
      request.setKl(kl);
      request.setTop1(top1);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return QualityFrom(response.getQuality());
    });
  }

  Result<Quality> QualityOf(const std::string& rule) override {
    return connection_->Guarded("quality", [&]() -> Result<Quality> {
      auto request = model_.qualityRequest();
      request.setRule(rule);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return QualityFrom(response.getQuality());
    });
  }

  Status ResetQuality(const std::string& rule) override {
    return ToStatus(connection_->Guarded("resetQuality", [&]() -> Result<void> {
      auto request = model_.resetQualityRequest();
      request.setRule(rule);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return {};
    }));
  }

 private:
  Quality QualityFrom(rpc::Quality::Reader message) const {
    return {message.getSamples(), message.getMeanKl(), message.getMeanTop1(), message.getEnabled(),
            std::string(message.getReason().cStr(), message.getReason().size())};
  }

  std::shared_ptr<Connection> connection_;
  std::shared_ptr<const ModelProfile> profile_;
  rpc::Model::Client model_;
  Fingerprint fingerprint_;
};

class ClientImpl final : public Client {
 public:
  explicit ClientImpl(std::shared_ptr<Connection> connection)
      : connection_(std::move(connection)) {}

  const DaemonInfo& info() const override { return connection_->info(); }

  Result<std::unique_ptr<ModelHandle>> OpenModel(const ModelProfile& profile,
                                                 const GateReport& gate) override {
    KVC_FAIL_IF_ERROR(Validate(profile));
    return connection_->Guarded("openModel", [&]() -> Result<std::unique_ptr<ModelHandle>> {
      auto request = session().openModelRequest();
      FillProfile(profile, request.initProfile());
      FillGate(gate, request.initGate());
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      const Fingerprint fingerprint = kvcommons::FingerprintOf(response.getFingerprint());
      if (fingerprint != kvcommons::FingerprintOf(profile)) {
        return Fail(Unsupported("the daemon takes model \"" + profile.name + "\" for " +
                                fingerprint.ToHex() + ", this client for " +
                                kvcommons::FingerprintOf(profile).ToHex() +
                                ": client and daemon are of different versions"));
      }
      return std::make_unique<ModelHandleImpl>(connection_, profile, response.getModel(),
                                               fingerprint);
    });
  }

  Status Ping() override {
    return ToStatus(connection_->Guarded("ping", [&]() -> Result<void> {
      connection_->Await(session().pingRequest(capnp::MessageSize{8, 0}).send());
      return {};
    }));
  }

  Result<std::string> StatsJson() override {
    return connection_->Guarded("stats", [&]() -> Result<std::string> {
      auto response = connection_->Await(session().statsRequest().send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return std::string(response.getJson().cStr(), response.getJson().size());
    });
  }

  Result<Listing> List(std::uint32_t limit) override {
    return connection_->Guarded("list", [&]() -> Result<Listing> {
      auto request = session().listRequest();
      request.setLimit(limit);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return ListingOf(response.getBlocks(), response.getDocuments());
    });
  }

  Result<std::vector<LibraryListing>> ListLibrary(std::uint32_t limit) override {
    return connection_->Guarded("listLibrary", [&]() -> Result<std::vector<LibraryListing>> {
      auto request = session().listLibraryRequest();
      request.setLimit(limit);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      std::vector<LibraryListing> list;
      for (const auto message : response.getDocuments()) {
        LibraryListing& listing = list.emplace_back(ListingOf(message.getDocument()));
        listing.key = TextFrom(message.getKey());
        listing.fingerprint = HexOf(message.getFingerprint());
      }
      return list;
    });
  }

  Result<bool> Remove(const std::string& key) override {
    return connection_->Guarded("remove", [&]() -> Result<bool> {
      auto request = session().removeRequest();
      request.setKey(key);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return response.getRemoved();
    });
  }

  Result<bool> ResetQuality(const std::string& fingerprint, const std::string& rule) override {
    return connection_->Guarded("resetQuality", [&]() -> Result<bool> {
      auto request = session().resetQualityRequest();
      request.setFingerprint(fingerprint);
      request.setRule(rule);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return response.getWasKnown();
    });
  }

  Status Flush() override {
    return ToStatus(connection_->Guarded("flush", [&]() -> Result<void> {
      auto response = connection_->Await(session().flushRequest().send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return {};
    }));
  }

  Result<VerifyReport> Verify() override {
    return connection_->Guarded("verify", [&]() -> Result<VerifyReport> {
      auto response = connection_->Await(session().verifyRequest().send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return VerifyReport{response.getChecked(), response.getBad(), response.getBytes()};
    });
  }

 private:
  rpc::Session::Client& session() { return connection_->session(); }

  std::shared_ptr<Connection> connection_;
};

}  // namespace

Result<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  Result<std::shared_ptr<Connection>> connection = Connection::Open(options);
  if (!connection) return Fail(connection.error());
  return std::make_unique<ClientImpl>(*connection);
}

std::string DefaultSocketPath() {
  if (const char* path = std::getenv("KVCOMMONS_SOCKET"); path != nullptr && *path != '\0') {
    return path;
  }
  if (const char* dir = std::getenv("XDG_RUNTIME_DIR"); dir != nullptr && *dir != '\0') {
    return std::string(dir) + "/kvcommons/kvcommons.sock";
  }
  return "/tmp/kvcommons-" + std::to_string(getuid()) + "/kvcommons.sock";
}

}  // namespace kvcommons
