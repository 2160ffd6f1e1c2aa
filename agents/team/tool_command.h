// A program that a team calls: text on its standard input, what it printed as the result.
//
// It runs without a shell, without network, in a fresh folder that is gone afterwards, with nothing
// of ours but a PATH, and ends with all that it started when its time is up. Where this machine
// gives no network namespace it does not run: kUnsupported. That bounds mishaps of a program that
// the user chose; it is no prison: files that the user can read and sockets in them are open to it.
//
// Its result is UTF-8: bytes that are none are replaced. Its error stream is dropped. It is the
// first of a process namespace, so a signal that it sends itself does nothing.
// Thread safety: any number at once; the calling thread waits, and the program dies with it (its
// folder stays where we are killed).

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kvcommons {

struct ToolLimits {
  static constexpr std::size_t kMaxInputBytes = 16U << 20;

  double time_s = 10;  // on the clock; about a second more of processor time of each process
  std::uint64_t memory_bytes = std::uint64_t{512} << 20;  // address space of each process
  std::uint64_t output_bytes = 64U << 10;                 // what is behind them is dropped
  std::uint64_t file_bytes = 64U << 20;                   // of each file that it writes
  std::uint32_t processes = 64;  // at once, and threads; the kernel does not count root's
  std::uint32_t descriptors = 64;
};

struct ToolOutput {
  std::string output;  // no character is cut in two
  int exit_code = 0;   // 128 and the signal's number where one ended it
  bool timed_out = false;
  bool was_cut = false;
};

// `argv`: a name that is looked for in /usr/bin and /bin, or an absolute path, and its arguments.
// kInvalidArgument: argv or input break a limit. kNotFound: there is no such program.
Result<ToolOutput> RunTool(const std::vector<std::string>& argv, std::string_view input,
                           const ToolLimits& limits);

}  // namespace kvcommons
