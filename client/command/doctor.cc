// `kvcommons doctor`: each line is ok, warn or fail, and every line that is not ok says what to
// change.

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "client/command/commands.h"
#include "client/command/stats.h"
#include "client/command/table.h"

namespace kvcommons {
namespace {

using nlohmann::json;

enum class Verdict { kOk, kWarn, kFail };

struct Finding {
  Verdict verdict;
  std::string check;
  std::string text;
  std::string advice;  // empty when ok
};

const char* VerdictName(Verdict verdict) {
  constexpr const char* kNames[] = {"ok", "warn", "fail"};
  return kNames[static_cast<int>(verdict)];
}

std::string FirstLineOf(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

Finding CheckSocket(const std::string& path) {
  struct stat info = {};
  if (lstat(path.c_str(), &info) != 0) {
    const int error = errno;
    return {Verdict::kFail, "socket", path + ": " + std::strerror(error),
            error == EACCES ? "this user may not enter its folder: use the daemon's user or group"
                            : "start kvcommonsd, or name its socket with --socket or "
                              "KVCOMMONS_SOCKET"};
  }
  if (!S_ISSOCK(info.st_mode)) {
    return {Verdict::kFail, "socket", path + " is not a socket",
            "name the daemon's socket with --socket or KVCOMMONS_SOCKET"};
  }
  if (access(path.c_str(), W_OK) != 0) {
    return {Verdict::kFail, "socket", path + " may not be written by this user",
            "use the daemon's user, or let its owner widen the socket's mode"};
  }
  if ((info.st_mode & S_IWOTH) != 0) {
    return {Verdict::kWarn, "socket", path + " is open to every user of this machine",
            "fine where each user's tenant is meant to be served; else narrow its mode or folder"};
  }
  return {Verdict::kOk, "socket", path, ""};
}

Finding CheckDisk(const DaemonInfo& info, const json& stats) {
  if (!info.durable) {
    return {Verdict::kWarn, "disk", "the daemon has no disk tier",
            "start it with --data-dir DIR, or everything is lost when it ends"};
  }
  const std::string where = Printable(TextAt(stats, "/disk/path").value_or("the data folder"));
  if (!FlagAt(stats, "/disk/writable").value_or(true)) {
    return {Verdict::kFail, "disk",
            where + " takes no writes: " +
                Printable(TextAt(stats, "/disk/reason").value_or("reason unknown")),
            "free space or repair the file system, then restart the daemon"};
  }
  // Only the daemon's own user is told the figures of everybody together.
  auto used = CountAt(stats, "/disk/held_bytes");
  if (!used) used = CountAt(stats, "/tenant/disk_bytes");
  return {Verdict::kOk, "disk", where + ", " + Share(used, CountAt(stats, "/disk_capacity_bytes")),
          ""};
}

Finding CheckQuota(const DaemonInfo& info, const json& stats) {
  const std::uint64_t arena = CountAt(stats, "/tenant/arena_bytes").value_or(0);
  const std::uint64_t disk = CountAt(stats, "/tenant/disk_bytes").value_or(0);
  const std::uint64_t quota = info.quota_bytes;
  const std::string text =
      Printable(info.tenant) + ": memory " + Share(arena, quota) + ", disk " + Share(disk, quota);
  if (quota != 0 && std::max(arena, disk) >= quota / 10 * 9) {
    return {Verdict::kWarn, "quota", text,
            "old blocks give way to new ones; raise the quota in the daemon's configuration to "
            "keep more"};
  }
  return {Verdict::kOk, "quota", text, ""};
}

Finding CheckMemory(const json& stats) {
  const auto pinned = CountAt(stats, "/arena/pinned_bytes").value_or(0);
  const auto capacity = CountAt(stats, "/arena/capacity_bytes");
  const std::string text =
      Share(CountAt(stats, "/arena/held_bytes"), capacity) + ", " + FormatBytes(pinned) + " leased";
  if (capacity && pinned >= *capacity / 10 * 9) {
    return {Verdict::kWarn, "memory", text,
            "leases hold nearly everything, so new blocks are refused: drop plans earlier or give "
            "the daemon more memory"};
  }
  return {Verdict::kOk, "memory", text, ""};
}

Finding CheckBadBlocks(const json& stats) {
  const std::uint64_t bad = CountAt(stats, "/index/bad_blocks").value_or(0) +
                            CountAt(stats, "/disk/quarantined").value_or(0);
  if (bad > 0) {
    return {Verdict::kWarn, "integrity", std::to_string(bad) + " blocks failed their checksum",
            "run kvcommons verify, and look at the daemon's log and at the health of the disk"};
  }
  return {Verdict::kOk, "integrity", "no block failed its checksum since the start", ""};
}

// A client maps a descriptor for a moment only, a daemon keeps one for each slab.
Finding CheckDescriptors() {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  const std::string text = std::to_string(limit.rlim_cur) + " open files a process";
  if (limit.rlim_cur < 1024) {
    return {Verdict::kWarn, "descriptors", text,
            "the daemon needs one for each 64 MiB of memory and each client: ulimit -n 4096"};
  }
  return {Verdict::kOk, "descriptors", text, ""};
}

Finding CheckMemlock() {
  rlimit limit = {};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  const std::string text = limit.rlim_cur == RLIM_INFINITY
                               ? "unlimited"
                               : FormatBytes(limit.rlim_cur) + " may be locked in memory";
  if (limit.rlim_cur < 8 * kMiB) {
    return {Verdict::kWarn, "memlock", text,
            "io_uring and locked memory need more: ulimit -l, or LimitMEMLOCK= of the service"};
  }
  return {Verdict::kOk, "memlock", text, ""};
}

Finding CheckHugePages() {
  const std::string setting = FirstLineOf("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  if (setting.empty()) {
    return {Verdict::kWarn, "huge pages", "this kernel does not say whether shared memory gets any",
            "nothing to do; copies of many blocks are a little slower without"};
  }
  if (setting.find("[never]") != std::string::npos || setting.find("[deny]") != std::string::npos) {
    return {Verdict::kWarn, "huge pages", "off for shared memory (" + setting + ")",
            "as root: echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled"};
  }
  return {Verdict::kOk, "huge pages", setting, ""};
}

std::vector<Finding> Examine(const Arguments& arguments) {
  std::vector<Finding> findings;
  const std::string path = arguments.socket.empty() ? DefaultSocketPath() : arguments.socket;
  findings.push_back(CheckSocket(path));
  const Result<std::unique_ptr<Client>> client = Client::Connect(OptionsOf(arguments));
  if (!client) {
    if (findings.back().verdict != Verdict::kFail) {
      const bool is_version = client.error().code() == Code::kUnsupported;
      findings.push_back({Verdict::kFail, is_version ? "protocol" : "daemon",
                          client.error().message(),
                          is_version ? "use client and daemon of one version" : "see the message"});
    }
  } else {
    const DaemonInfo& info = (*client)->info();
    findings.push_back({Verdict::kOk, "protocol",
                        "version " + std::to_string(info.protocol_version) + ", kvcommonsd " +
                            Printable(info.version),
                        ""});
    const Result<json> stats = StatsOf(**client);
    if (!stats) {
      findings.push_back({Verdict::kFail, "statistics", stats.error().message(),
                          "the daemon is of another version or unwell: look at its log"});
    } else {
      findings.push_back(CheckDisk(info, *stats));
      findings.push_back(CheckMemory(*stats));
      findings.push_back(CheckQuota(info, *stats));
      findings.push_back(CheckBadBlocks(*stats));
    }
  }
  findings.push_back(CheckDescriptors());
  findings.push_back(CheckMemlock());
  findings.push_back(CheckHugePages());
  return findings;
}

}  // namespace

int RunDoctor(const CommandContext& context) {
  const std::vector<Finding> findings = Examine(context.arguments);
  bool has_failed = false;
  json result = json::array();
  Table table({{""}, {""}, {""}});
  for (const Finding& finding : findings) {
    has_failed = has_failed || finding.verdict == Verdict::kFail;
    result.push_back({{"check", finding.check},
                      {"verdict", VerdictName(finding.verdict)},
                      {"text", finding.text},
                      {"advice", finding.advice}});
    table.AddRow({VerdictName(finding.verdict), finding.check, finding.text});
    if (!finding.advice.empty()) table.AddRow({"", "", "-> " + finding.advice});
  }
  if (context.arguments.is_json) {
    context.out << JsonText(result) << '\n';
  } else {
    table.Print(context.out);
  }
  return has_failed ? kExitFailure : kExitOk;
}

}  // namespace kvcommons
