// The command line of `kvcommons`, parsed. The only file that includes CLI11 is arguments.cc, since
// CLI11 is slow to compile.
//
// Options of the program (--socket, --json, --timeout) are accepted before and after the command.

#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace kvcommons {

enum ExitCode : int { kExitOk = 0, kExitFailure = 1, kExitUsage = 2 };

// Blocks that the daemon lists in one answer.
inline constexpr std::uint32_t kMaxListed = 10'000;

enum class Command {
  kStatus,
  kStats,
  kLs,
  kExplain,
  kVerify,
  kDoctor,
  kRemove,
  kFlush,
  kBench,
  kLibraryLs,
  kLibraryStatus,
  kLibraryRemove,
  kQualityLs,
  kQualityReset
};

struct Arguments {
  Command command = Command::kStatus;
  std::string socket;  // empty: DefaultSocketPath()
  bool is_json = false;
  std::int64_t timeout_ms = 0;     // 0: the command's own
  std::uint32_t limit = 100;       // ls, library ls: blocks or texts at most
  std::string key;                 // explain, rm, library rm; quality reset: the rule
  std::string model;               // quality reset: a fingerprint; empty: all it is off for
  std::vector<std::string> names;  // bench; empty: all
  std::string scratch;             // bench: where plain files go
  std::string daemon_binary;       // bench: empty: kvcommonsd beside this program
  std::uint32_t repeats = 9;       // bench: of each measurement
};

// Null with *exit_code set when there is nothing left to do: help was printed to `out`, or the
// usage error to `err`.
std::optional<Arguments> ParseArguments(int argc, const char* const* argv, std::ostream& out,
                                        std::ostream& err, int* exit_code);

}  // namespace kvcommons
