// Daemon: the whole of kvcommonsd but its command line: store, socket, event loop, HTTP.
//
// Guarantee: after a stop everything that was held is durable (when there is a disk), the socket
// file is gone, and no thread is left. Killed instead, what was acknowledged as durable is found
// again. Thread safety: Run() occupies its thread; Stop() from any thread or signal handler.
// Refuses to start: a socket or a data folder that another daemon serves, a store of an unknown
// format.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "daemon/config.h"
#include "daemon/http_server.h"
#include "daemon/quality.h"
#include "daemon/rpc_server.h"
#include "daemon/unix_socket.h"
#include "store/store.h"

namespace kvcommons {

class Daemon {
 public:
  struct Options {
    DaemonConfig config;
    CredentialLookup credentials;    // null: the socket's peer credentials
    std::unique_ptr<DiskTier> disk;  // null: opened as the configuration says
  };

  // Opens the store, listens, starts HTTP. Clients that connect are served once Run() runs.
  static Result<std::unique_ptr<Daemon>> Start(Options options);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Serves until Stop(). The status is that of the last flush.
  Status Run();
  void Stop() const;

  Store& store() { return *store_; }
  Metrics& metrics() { return metrics_; }
  QualityGate& quality() { return quality_; }
  std::uint16_t http_port() const { return http_ ? http_->port() : 0; }  // 0: off

 private:
  Daemon(Options options, std::unique_ptr<Store> store, std::unique_ptr<ListeningSocket> socket,
         int stop_fd);
  Status StartHttp();
  HttpReply Answer(std::string_view target) const;

  const DaemonConfig config_;
  const CredentialLookup credentials_;
  const SystemClock clock_;
  const std::int64_t started_us_;
  Metrics metrics_;
  DocumentLocks documents_;
  QualityGate quality_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<ListeningSocket> socket_;
  const int stop_fd_;
  std::atomic<bool> ready_{false};
  std::unique_ptr<HttpServer> http_;  // last: its thread uses the rest
};

}  // namespace kvcommons
