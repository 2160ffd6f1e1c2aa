// The daemon's settings: the one table, and the values as the daemon's code wants them.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/log.h"

namespace kvcommons {

inline constexpr char kEnvironmentPrefix[] = "KVCOMMONS_";

struct DaemonConfig {
  std::string data_dir;
  std::string socket;
  std::uint32_t socket_mode = 0600;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;   // 0: no disk tier
  std::uint64_t quota_bytes = 0;  // per tenant, memory and disk each; 0: no limit of its own
  std::string http;               // "127.0.0.1:9470"; empty: off
  bool http_is_default = false;   // nobody asked for it: an occupied port is no reason to stop
  LogLevel log_level = LogLevel::kInfo;
  std::uint64_t max_message_bytes = 0;
  std::uint64_t max_connections = 0;
  std::uint64_t max_leases = 0;  // per session
  std::uint64_t max_staging_bytes = 0;
  std::uint64_t worker_threads = 0;
  std::uint64_t team_memory_bytes = 256ull << 20;  // that one tenant's teams may keep
  double canary_kl_max = 0.25;                     // nats
};

const std::vector<Setting>& DaemonSettings();

DaemonConfig DaemonConfigOf(const Config& config);

// The smaller of the machine's memory and the limits of the control groups that hold this process.
std::uint64_t MemoryLimitBytes();
// 80 % of what is free for `folder` or used by it already, but no more than 10 GiB.
std::uint64_t DefaultDiskBytes(const std::string& folder);

}  // namespace kvcommons
