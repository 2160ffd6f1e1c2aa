#include "daemon/config.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/assert.h"
#include "base/bytes.h"

namespace kvcommons {
namespace {

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string DefaultDataDir() {
  if (const std::string state = Environment("XDG_STATE_HOME"); !state.empty()) {
    return state + "/kvcommons";
  }
  const std::string home = Environment("HOME");
  return (home.empty() ? "/var/tmp" : home) + "/.local/state/kvcommons";
}

std::string DefaultSocket() {
  if (const std::string runtime = Environment("XDG_RUNTIME_DIR"); !runtime.empty()) {
    return runtime + "/kvcommons/kvcommons.sock";
  }
  return "/tmp/kvcommons-" + std::to_string(geteuid()) + "/kvcommons.sock";
}

std::optional<std::uint64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;  // absent, or "max"
}

// Bytes that files below `folder` take.
std::uint64_t UsedBytes(const std::string& folder) {
  std::uint64_t bytes = 0;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(
      folder, std::filesystem::directory_options::skip_permission_denied, error);
  for (; !error && entry != std::filesystem::recursive_directory_iterator();
       entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_regular_file(ignored)) bytes += entry->file_size(ignored);
  }
  return bytes;
}

}  // namespace

std::uint64_t MemoryLimitBytes() {
  std::uint64_t limit = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const auto lower = [&limit](const std::string& path) {
    const auto number = ReadNumber(path);
    if (number && *number > 0) limit = std::min(limit, *number);
  };
  // "0::/user.slice/..." for version 2; every group above limits as well.
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;
    for (std::filesystem::path group = line.substr(4);; group = group.parent_path()) {
      lower("/sys/fs/cgroup/" + group.string() + "/memory.max");
      if (group.empty()) break;
    }
  }
  lower("/sys/fs/cgroup/memory/memory.limit_in_bytes");
  return limit;
}

std::uint64_t DefaultDiskBytes(const std::string& folder) {
  constexpr std::uint64_t kMost = 10 * kGiB;
  constexpr std::uint64_t kLeast = 64 * kMiB;
  std::filesystem::path existing = std::filesystem::absolute(folder);
  std::error_code error;
  while (!std::filesystem::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  const auto space = std::filesystem::space(existing, error);
  if (error) return kLeast;
  // What an earlier run stored is ours, not somebody else's use of the disk.
  const std::uint64_t bytes = (space.available + UsedBytes(folder)) / 5 * 4;
  return std::clamp(bytes, kLeast, kMost);
}

const std::vector<Setting>& DaemonSettings() {
  using Kind = Setting::Kind;
  static const std::vector<Setting> settings = {
      {.name = "data_dir",
       .sentence = "Folder of what is kept on disk; one daemon at a time.",
       .computed_default = [](const Config&) { return DefaultDataDir(); },
       .default_sentence = "$XDG_STATE_HOME/kvcommons, else ~/.local/state/kvcommons",
       .min = 1,
       .max = 4096},
      {.name = "socket",
       .sentence = "Unix socket that clients connect to.",
       .computed_default = [](const Config&) { return DefaultSocket(); },
       .default_sentence =
           "$XDG_RUNTIME_DIR/kvcommons/kvcommons.sock, else /tmp/kvcommons-<uid>/kvcommons.sock",
       .min = 1,
       .max = 107},
      {.name = "socket_mode",
       .sentence =
           "Who may connect: its user; its user and group; everybody. Each user is a tenant "
           "of its own.",
       .kind = Kind::kChoice,
       .default_text = "0600",
       .choices = {"0600", "0660", "0666"}},
      {.name = "memory",
       .sentence = "Memory for blocks.",
       .kind = Kind::kBytes,
       .computed_default =
           [](const Config&) {
             return std::to_string(std::max(256 * kMiB, MemoryLimitBytes() / 4));
           },
       .default_sentence =
           "a quarter of what the control group or the machine has, at least 256 MiB",
       .min = 64 * kMiB,
       .max = 16384 * kGiB},
      {.name = "disk",
       .sentence = "Disk for blocks; off: memory only, nothing survives a restart.",
       .kind = Kind::kBytes,
       .computed_default =
           [](const Config& config) {
             return std::to_string(DefaultDiskBytes(config.Text("data_dir")));
           },
       .default_sentence = "10 GiB, or 80 % of what is free in data_dir if that is less",
       .min = 64 * kMiB,
       .max = 1024 * 1024 * kGiB,
       .off_allowed = true},
      {.name = "quota",
       .sentence = "Memory, and disk, that one tenant may use; off: all of it.",
       .kind = Kind::kBytes,
       .default_text = "off",
       .min = kMiB,
       .max = 1024 * 1024 * kGiB,
       .off_allowed = true},
      {.name = "http",
       .sentence = "Address of /metrics, /healthz and /readyz; port 0: any free port.",
       .default_text = "127.0.0.1:9470",
       .min = 3,
       .max = 64,
       .off_allowed = true},
      {.name = "log_level",
       .sentence = "Least important lines to log.",
       .kind = Kind::kChoice,
       .default_text = "info",
       .choices = {"debug", "info", "warning", "error", "off"}},
      {.name = "max_message",
       .sentence = "Longest message of a client; a prompt takes 4 bytes a token.",
       .kind = Kind::kBytes,
       .default_text = "16MiB",
       .min = 64 * kKiB,
       .max = 512 * kMiB},
      {.name = "max_connections",
       .sentence = "Clients at a time.",
       .kind = Kind::kInteger,
       .default_text = "256",
       .min = 1,
       .max = 65536},
      {.name = "max_leases",
       .sentence = "Plans that one session may hold at a time.",
       .kind = Kind::kInteger,
       .default_text = "4096",
       .min = 1,
       .max = 1 << 20},
      {.name = "max_staging",
       .sentence = "Shared memory for the uploads of one session.",
       .kind = Kind::kBytes,
       .default_text = "256MiB",
       .min = kMiB,
       .max = 64 * kGiB},
      {.name = "worker_threads",
       .sentence = "Threads that read and write the disk for clients.",
       .kind = Kind::kInteger,
       .default_text = "4",
       .min = 1,
       .max = 256},
      {.name = "team_memory",
       .sentence = "What the teams of one tenant may keep of what they learned.",
       .kind = Kind::kBytes,
       .default_text = "256MiB",
       .min = kMiB,
       .max = 1024 * kGiB},
      {.name = "canary_kl_max",
       .sentence = "Mean KL divergence to full prefill, in nats, from which a rule of approximate "
                   "prompts is switched off.",
       .kind = Kind::kDecimal,
       .default_text = "0.25",
       .min = 0,
       .max = 1'000'000},
  };
  return settings;
}

DaemonConfig DaemonConfigOf(const Config& config) {
  DaemonConfig values;
  values.data_dir = config.Text("data_dir");
  values.socket = config.Text("socket");
  const std::string& mode = config.Text("socket_mode");
  std::from_chars(mode.data(), mode.data() + mode.size(), values.socket_mode, 8);
  values.memory_bytes = config.Number("memory");
  values.disk_bytes = config.Number("disk");
  values.quota_bytes = config.Number("quota");
  values.http = config.Text("http");
  values.http_is_default = config.source("http") == Config::Source::kDefault;
  const auto level = ParseLogLevel(config.Text("log_level"));
  KVC_ASSERT(level.has_value());
  values.log_level = *level;
  values.max_message_bytes = config.Number("max_message");
  values.max_connections = config.Number("max_connections");
  values.max_leases = config.Number("max_leases");
  values.max_staging_bytes = config.Number("max_staging");
  values.worker_threads = config.Number("worker_threads");
  values.team_memory_bytes = config.Number("team_memory");
  values.canary_kl_max = static_cast<double>(config.Number("canary_kl_max")) / 1e3;
  return values;
}

}  // namespace kvcommons
