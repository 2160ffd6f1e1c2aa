#include "daemon/daemon.h"

#include <sodium.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/log.h"
#include "daemon/rpc_team.h"
#include "daemon/team.h"
#include "daemon/tenant.h"

namespace kvcommons {
namespace {

constexpr Logger kLog("daemon");

Result<std::unique_ptr<DiskTier>> OpenDisk(const DaemonConfig& config) {
  if (config.disk_bytes == 0) return nullptr;
  std::error_code error;
  const bool made = std::filesystem::create_directories(config.data_dir, error);
  if (error) {
    return Fail(Unavailable("data_dir is '" + config.data_dir + "': " + error.message()));
  }
  // Prompts can be read back from what lies there.
  if (made) {
    std::filesystem::permissions(config.data_dir, std::filesystem::perms::owner_all, error);
  }
  DiskTierOptions options;
  options.folder = config.data_dir;
  options.capacity_bytes = config.disk_bytes;
  return OpenDiskTier(options);
}

BootId RandomBootId() {
  BootId id;
  randombytes_buf(id.bytes.data(), id.bytes.size());
  return id;
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::Start(Options options) {
  KVC_ASSERT(sodium_init() >= 0);
  static const SystemClock store_clock;
  // The socket first: its lock tells most clearly that another daemon is there.
  auto socket =
      ListeningSocket::Open(options.config.socket, static_cast<mode_t>(options.config.socket_mode));
  if (!socket) return Fail(socket.error());
  if (!options.disk) {
    auto disk = OpenDisk(options.config);
    if (!disk) return Fail(disk.error());
    options.disk = std::move(*disk);
  }
  Store::Options store_options;
  store_options.arena_bytes = options.config.memory_bytes;
  store_options.default_quota_bytes = options.config.quota_bytes;
  store_options.disk = std::move(options.disk);
  store_options.clock = &store_clock;
  auto store = Store::Open(std::move(store_options));
  if (!store) return Fail(store.error());
  const int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_fd < 0) return Fail(Exhausted(std::string("eventfd: ") + std::strerror(errno)));
  std::unique_ptr<Daemon> daemon(
      new Daemon(std::move(options), std::move(*store), std::move(*socket), stop_fd));
  KVC_FAIL_IF_ERROR(daemon->StartHttp());
  return daemon;
}

Daemon::Daemon(Options options, std::unique_ptr<Store> store,
               std::unique_ptr<ListeningSocket> socket, int stop_fd)
    : config_(std::move(options.config)),
      credentials_(options.credentials ? std::move(options.credentials) : PeerUid),
      started_us_(clock_.WallUs()),
      quality_(config_.canary_kl_max),
      store_(std::move(store)),
      socket_(std::move(socket)),
      stop_fd_(stop_fd) {}

Daemon::~Daemon() {
  http_.reset();
  close(stop_fd_);
}

Status Daemon::StartHttp() {
  if (config_.http.empty()) return Status();
  auto http =
      HttpServer::Start(config_.http, [this](std::string_view target) { return Answer(target); });
  if (http) {
    http_ = std::move(*http);
    return Status();
  }
  if (!config_.http_is_default || http.error().code() != Code::kUnavailable) return http.error();
  kLog.Warning(http.error().message() + "; serving without HTTP");
  return Status();
}

HttpReply Daemon::Answer(std::string_view target) const {
  if (target == "/metrics") {
    return {200, "text/plain; version=0.0.4; charset=utf-8",
            metrics_.Text(store_->GetStats(), quality_)};
  }
  if (target == "/readyz") {
    return ready_ ? HttpReply{200, "application/json", "{\"status\":\"ready\"}\n"}
                  : HttpReply{503, "application/json", "{\"status\":\"not ready\"}\n"};
  }
  if (target == "/healthz") {
    const Store::Stats stats = store_->GetStats();
    if (stats.has_disk && !stats.disk.writable) {
      return {503, "application/json",
              "{\"status\":\"degraded\",\"reason\":\"the disk refuses writes: serving from "
              "memory\"}\n"};
    }
    return {200, "application/json", "{\"status\":\"ok\"}\n"};
  }
  return {404, "text/plain; charset=utf-8", "/metrics, /healthz and /readyz are here\n"};
}

Status Daemon::Run() {
  auto workers = std::make_unique<WorkerPool>(config_.worker_threads);
  auto maintenance = std::make_unique<WorkerPool>(1);
  auto learning = std::make_unique<WorkerPool>(1);
  auto libraries = std::make_unique<LibraryRegistry>(*store_, clock_);
  TeamRegistry teams(*store_, config_.team_memory_bytes);
  TeamClaims team_claims;
  Services services{.store = *store_,
                    .metrics = metrics_,
                    .clock = clock_,
                    .config = config_,
                    .documents = documents_,
                    .libraries = *libraries,
                    .quality = quality_,
                    .teams = teams,
                    .team_claims = team_claims,
                    .workers = *workers,
                    .maintenance = *maintenance,
                    .learning = *learning,
                    .boot_id = RandomBootId(),
                    .started_us = started_us_,
                    .own_uid = geteuid(),
                    .durable = store_->GetStats().has_disk};
  ready_ = true;
  kLog.Info(
      "ready: socket " + socket_->path() + ", memory " + FormatBytes(config_.memory_bytes) +
      ", disk " +
      (services.durable ? FormatBytes(config_.disk_bytes) + " in " + config_.data_dir
                        : std::string("off")) +
      ", http " +
      (http_ ? config_.http.substr(0, config_.http.rfind(':') + 1) + std::to_string(http_->port())
             : std::string("off")));
  ServeRpc(services, socket_->fd(), stop_fd_, credentials_, [&] {
    ready_ = false;
    socket_->Close();
    workers.reset();
    maintenance.reset();
    learning.reset();
    libraries.reset();
  });
  kLog.Info("stopping: flushing the store");
  if (!services.durable) return Status();
  const Status flushed = store_->Flush();
  if (!flushed.ok()) kLog.Error("flush: " + flushed.ToString());
  return flushed;
}

void Daemon::Stop() const {
  const std::uint64_t one = 1;
  // Cannot fail but for an overflow, and then it is readable already.
  [[maybe_unused]] const ssize_t written = write(stop_fd_, &one, sizeof one);
}

}  // namespace kvcommons
