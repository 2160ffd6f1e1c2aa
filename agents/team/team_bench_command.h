// `kvcommons-engine team`: a team of agents on real requests, modes beside dense prefill.
//
// Thread safety: one call at a time.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agents/engine/commands.h"

namespace kvcommons {

struct TeamOptions {
  std::string graph_path;
  std::string cases_path;  // JSON lines {"id"?, field: text …}; "-": standard input. Fields that
                           // are no text, or that no prompt names, are passed over
  std::uint32_t first_case = 0;
  std::uint32_t cases_max = 1U << 20;  // measured ones
  std::uint32_t warm_cases = 4;        // before them, dense alone, to fill the memory
  std::vector<std::string> modes = {"exact", "rotate", "mean+seg", "C+seg", "C"};
  std::string chat = "auto";
  std::uint32_t forced_tokens = 32;
  std::uint64_t pool_bytes = std::uint64_t{4} << 30;  // of anchors
  double gamma = 0.3;
  std::uint64_t seed = 1;    // of intervals
  std::string samples_path;  // every request as a JSON line, added
};
// Exit code as in commands.h.
int RunTeamCommand(const CommonOptions& options, const TeamOptions& team);

}  // namespace kvcommons
