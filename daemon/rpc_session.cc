#include "daemon/rpc_session.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "daemon/library_wire.h"
#include "daemon/rpc_plan.h"
#include "daemon/session_state.h"
#include "daemon/stats.h"
#include "daemon/team.h"
#include "daemon/wire.h"

namespace kvcommons {
namespace {

constexpr Logger kLog("session");

class MemoryServer final : public rpc::Memory::Server {
 public:
  // Takes `fd`.
  MemoryServer(std::shared_ptr<SessionState> session, int fd)
      : ticket_(std::move(session), &SessionState::memories), fd_(fd) {}
  ~MemoryServer() noexcept(false) { close(fd_); }
  MemoryServer(const MemoryServer&) = delete;
  MemoryServer& operator=(const MemoryServer&) = delete;

  kj::Maybe<int> getFd() override { return fd_; }

 private:
  const Counted ticket_;
  const int fd_;
};

class SessionServer final : public rpc::Session::Server {
 public:
  SessionServer(Services& services, const Tenant& tenant)
      : session_(std::make_shared<SessionState>(services, tenant)) {}

 private:
  Services& services() const { return session_->services; }
  const DomainId& domain() const { return session_->tenant.domain; }

  kj::Promise<void> openModel(OpenModelContext context) override {
    auto ticket = TakeCounted(session_, &SessionState::models, "models", kMaxModelsPerSession);
    if (!ticket) return Refuse(context, ticket.error());
    auto profile = ReadProfile(context.getParams().getProfile());
    if (!profile) return Refuse(context, profile.error());
    auto gate = ReadGate(context.getParams().getGate());
    if (!gate) return Refuse(context, gate.error());
    context.releaseParams();
    return services()
        .workers.Run([&store = services().store, d = domain()] { return store.SecretOf(d); })
        .then([this, context, ticket = std::move(*ticket), profile = std::move(*profile),
               gate = std::move(*gate)](Result<DomainSecret> secret) mutable {
          if (!secret) return Refuse(context, secret.error());
          auto model = std::make_shared<const OpenedModel>(session_->tenant, std::move(profile),
                                                           gate, *secret);
          auto results = context.getResults();
          WriteHash(model->fingerprint, results.initFingerprint());
          results.setModel(MakeModelCapability(std::move(ticket), std::move(model)));
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  kj::Promise<void> slab(SlabContext context) override {
    const std::uint32_t slab_id = context.getParams().getSlabId();
    const Status absent = NotFound("slabId is " + std::to_string(slab_id) +
                                   "; no plan that the session holds points there");
    if (!session_->leased_slabs.contains(slab_id)) return Refuse(context, absent);
    const int fd = services().store.SlabFd(domain(), slab_id);
    if (fd < 0) return Refuse(context, absent);
    const off_t bytes = lseek(fd, 0, SEEK_END);
    auto memory = MemoryOf(fd);
    if (!memory) return Refuse(context, memory.error());
    context.getResults().setBytes(static_cast<std::uint64_t>(bytes));
    context.getResults().setMemory(kj::mv(*memory));
    return kj::READY_NOW;
  }

  kj::Promise<void> staging(StagingContext context) override {
    const std::uint64_t asked = context.getParams().getBytes();
    if (asked == 0) return Refuse(context, InvalidArgument("bytes is 0; the limit is 1 and more"));
    auto made = Staging::Create(std::min(asked, services().config.max_staging_bytes));
    if (!made) return Refuse(context, made.error());
    auto memory = MemoryOf((*made)->fd());
    if (!memory) return Refuse(context, memory.error());
    session_->staging = std::move(*made);
    context.getResults().setBytes(session_->staging->bytes().size());
    context.getResults().setMemory(kj::mv(*memory));
    return kj::READY_NOW;
  }

  kj::Promise<void> ping(PingContext) override { return kj::READY_NOW; }

  kj::Promise<void> stats(StatsContext context) override {
    const SessionStats session{session_->leases, session_->models,
                               session_->staging ? session_->staging->bytes().size() : 0};
    Services& shared = services();
    return shared.maintenance
        .Run([&shared, session, tenant = session_->tenant] {
          const bool whole = tenant.uid == shared.own_uid || tenant.uid == 0;
          return StatsJson(shared.store.GetStats(), shared.metrics, tenant,
                           shared.quality.List(tenant.domain), *shared.teams.PoolOf(tenant.domain),
                           session, shared.clock.WallUs() - shared.started_us,
                           whole ? &shared.config.data_dir : nullptr);
        })
        .then([context](std::string json) mutable {
          context.getResults().setJson(kj::StringPtr(json.c_str(), json.size()));
        });
  }

  kj::Promise<void> list(ListContext context) override {
    const std::uint32_t limit = context.getParams().getLimit();
    if (limit < 1 || limit > kMaxListed) {
      return Refuse(context, OutOfRange("limit", limit, 1, kMaxListed));
    }
    struct Listing {
      std::vector<Store::BlockInfo> blocks;
      std::vector<DocumentSummary> documents;
    };
    return services()
        .maintenance
        .Run([&store = services().store, d = domain(), limit] {
          Listing listing{store.List(d, limit), store.ListDocuments(d)};
          if (listing.documents.size() > limit) listing.documents.resize(limit);
          return listing;
        })
        .then([context](Listing listing) mutable {
          WriteBlocks(listing.blocks, context);
          WriteDocuments(listing.documents, context);
        });
  }

  static void WriteBlocks(const std::vector<Store::BlockInfo>& listed, ListContext& context) {
    auto blocks = context.getResults().initBlocks(static_cast<unsigned>(listed.size()));
    for (unsigned i = 0; i < blocks.size(); ++i) {
      const Store::BlockInfo& from = listed[i];
      blocks[i].setKey(from.key.ToHex().c_str());
      blocks[i].setStorageClass(static_cast<std::uint8_t>(from.storage_class));
      blocks[i].setTokens(from.token_count);
      blocks[i].setOrigin(from.origin);
      blocks[i].setBytes(from.bytes);
      blocks[i].setInMemory(from.in_memory);
      blocks[i].setOnDisk(from.on_disk);
      blocks[i].setPins(from.pins);
      blocks[i].setCreatedUs(from.created_us);
    }
  }

  static void WriteDocuments(const std::vector<DocumentSummary>& listed, ListContext& context) {
    auto documents = context.getResults().initDocuments(static_cast<unsigned>(listed.size()));
    for (unsigned i = 0; i < documents.size(); ++i) {
      const DocumentSummary& from = listed[i];
      documents[i].setKey(from.document.ToHex().c_str());
      documents[i].setName(kj::StringPtr(from.name.c_str(), from.name.size()));
      documents[i].setRevision(from.revision);
      documents[i].setTokens(from.token_count);
      documents[i].setCreatedUs(from.created_us);
    }
  }

  kj::Promise<void> remove(RemoveContext context) override {
    const auto text = context.getParams().getKey();
    const auto bytes = ParseKey({text.begin(), text.size()});
    if (!bytes) return Refuse(context, bytes.error());
    Services& shared = services();
    return shared.workers
        .Run([&shared, d = domain(), bytes = *bytes]() -> Result<bool> {
          BlockKey block;
          block.bytes = bytes;
          auto removed = shared.store.Remove(d, block);
          if (!removed || *removed) return removed;
          DocumentKey document;
          document.bytes = bytes;
          {
            MutexLock lock(shared.documents.Of(document));
            removed = shared.store.RemoveDocument(d, document);
          }
          if (!removed || *removed) return removed;
          return shared.libraries.Remove(d, document);
        })
        .then([this, context](Result<bool> removed) mutable {
          if (!removed) return Refuse(context, removed.error());
          context.getResults().setRemoved(*removed);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  kj::Promise<void> listLibrary(ListLibraryContext context) override {
    const std::uint32_t limit = context.getParams().getLimit();
    if (limit < 1 || limit > kMaxListed) {
      return Refuse(context, OutOfRange("limit", limit, 1, kMaxListed));
    }
    return services()
        .maintenance
        .Run([&libraries = services().libraries, d = domain(), limit] {
          return libraries.List(d, limit);
        })
        .then([context](std::vector<LibraryRegistry::Listed> listed) mutable {
          auto documents = context.getResults().initDocuments(static_cast<unsigned>(listed.size()));
          for (unsigned i = 0; i < documents.size(); ++i) {
            documents[i].setKey(listed[i].document.document.ToHex().c_str());
            WriteHash(listed[i].document.fingerprint, documents[i].initFingerprint());
            WriteLibraryDocument(listed[i].document, listed[i].content, nullptr,
                                 listed[i].token_count, documents[i].initDocument());
          }
        });
  }

  kj::Promise<void> resetQuality(ResetQualityContext context) override {
    const auto fingerprint = context.getParams().getFingerprint();
    const auto bytes = ParseKey({fingerprint.begin(), fingerprint.size()}, "fingerprint");
    if (!bytes) return Refuse(context, bytes.error());
    const auto rule = context.getParams().getRule();
    QualityKey key{domain(), {}, {rule.begin(), rule.size()}};
    key.fingerprint.bytes = *bytes;
    const auto was_known = services().quality.Reset(key);
    if (!was_known) return Refuse(context, was_known.error());
    context.getResults().setWasKnown(*was_known);
    return kj::READY_NOW;
  }

  kj::Promise<void> flush(FlushContext context) override {
    return services()
        .workers.Run([&store = services().store] { return store.Flush(); })
        .then([this, context](Status status) mutable {
          if (!status.ok()) return Refuse(context, status);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  kj::Promise<void> verify(VerifyContext context) override {
    return services()
        .maintenance.Run([&store = services().store, d = domain()] { return store.Verify(d); })
        .then([this, context](Result<Store::VerifyReport> report) mutable {
          if (!report) return Refuse(context, report.error());
          auto results = context.getResults();
          results.setChecked(report->checked);
          results.setBad(report->bad);
          results.setBytes(report->bytes);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  // A capability with a descriptor of its own for the memory behind `fd`.
  Result<rpc::Memory::Client> MemoryOf(int fd) {
    if (session_->memories >= kMaxMemoriesPerSession) {
      return Fail(Exhausted("the session holds " + std::to_string(session_->memories) +
                            " descriptors; the limit is " +
                            std::to_string(kMaxMemoriesPerSession)));
    }
    const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) {
      return Fail(Exhausted(std::string("descriptors of the daemon: ") + std::strerror(errno)));
    }
    return rpc::Memory::Client(kj::heap<MemoryServer>(session_, own));
  }

  template <typename Context>
  kj::Promise<void> Refuse(Context& context, const Status& status) {
    services().metrics.CountError(status.code());
    WriteError(context.getResults().initError(), status);
    return kj::READY_NOW;
  }

  const std::shared_ptr<SessionState> session_;
};

class DaemonServer final : public rpc::Daemon::Server {
 public:
  DaemonServer(Services& services, const Tenant& tenant) : services_(services), tenant_(tenant) {}

 private:
  kj::Promise<void> login(LoginContext context) override {
    const auto params = context.getParams();
    const std::uint32_t version = params.getProtocolVersion();
    if (version != rpc::PROTOCOL_VERSION) {
      return Refuse(context,
                    Unsupported("protocolVersion is " + std::to_string(version) +
                                "; this daemon speaks " + std::to_string(rpc::PROTOCOL_VERSION)));
    }
    const auto client = params.getClient();
    if (client.size() > kMaxClientNameBytes) {
      return Refuse(context, OutOfRange("client's length", client.size(), 0, kMaxClientNameBytes));
    }
    if (logins_ >= kMaxSessionsPerConnection) {
      return Refuse(context,
                    Exhausted("the connection logged in " + std::to_string(logins_) +
                              " times; the limit is " + std::to_string(kMaxSessionsPerConnection)));
    }
    ++logins_;
    if (services_.config.quota_bytes > 0) {
      services_.store.SetQuota(tenant_.domain, services_.config.quota_bytes);
    }
    kLog.Debug(tenant_.name + " logged in as '" + std::string(client.begin(), client.size()) + "'");
    auto results = context.getResults();
    auto info = results.initInfo();
    info.setProtocolVersion(rpc::PROTOCOL_VERSION);
    info.setVersion(KVCOMMONS_VERSION);
    WriteHash(services_.boot_id, info.initBootId());
    info.setTenant(tenant_.name.c_str());
    info.setQuotaBytes(services_.config.quota_bytes);
    info.setStartedUs(services_.started_us);
    info.setDurable(services_.durable);
    results.setSession(kj::heap<SessionServer>(services_, tenant_));
    return kj::READY_NOW;
  }

  kj::Promise<void> Refuse(LoginContext& context, const Status& status) {
    services_.metrics.CountError(status.code());
    WriteError(context.getResults().initError(), status);
    return kj::READY_NOW;
  }

  Services& services_;
  const Tenant tenant_;
  std::uint64_t logins_ = 0;
};

}  // namespace

rpc::Daemon::Client MakeDaemonCapability(Services& services, const Tenant& tenant) {
  return kj::heap<DaemonServer>(services, tenant);
}

}  // namespace kvcommons
