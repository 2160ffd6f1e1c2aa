// What a kill campaign does to a daemon while it waits to be killed, and checks afterwards.
//
// Thread safety: Work() from many threads at once; Check() while none is in it.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/status.h"
#include "tests/integration/daemon_process.h"

namespace kvcommons {

class KillLoad {
 public:
  explicit KillLoad(const DaemonProcess& daemon) : daemon_(daemon) {}
  virtual ~KillLoad() = default;
  KillLoad(const KillLoad&) = delete;
  KillLoad& operator=(const KillLoad&) = delete;

  // Everything acknowledged must be there, and right. REQUIRES: the daemon runs.
  virtual Status Check() = 0;
  // Works until the daemon is gone; calls `done` after each operation.
  virtual void Work(int round, std::size_t client_index, std::uint64_t seed,
                    const std::function<void()>& done) = 0;

  virtual std::size_t acknowledged() = 0;
  // Rows that were compared with what they must be.
  std::size_t compared() const { return compared_; }
  std::size_t lost() const { return lost_; }
  std::size_t wrong() const { return wrong_; }

 protected:
  const DaemonProcess& daemon_;
  std::atomic<std::size_t> compared_{0}, lost_{0}, wrong_{0};
};

// Prompts and documents, stored and read.
std::unique_ptr<KillLoad> MakePromptLoad(const DaemonProcess& daemon);
// Teams that learn and are corrected: deposits that were acknowledged, and rows of plans.
std::unique_ptr<KillLoad> MakeTeamLoad(const DaemonProcess& daemon);

}  // namespace kvcommons
