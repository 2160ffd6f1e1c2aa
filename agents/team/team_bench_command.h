// `kvcommons-engine bench team`: every way of bringing a team's prompts into the cache beside dense
// prefill, on the same contents, in one process without the daemon.
//
// Thread safety: one call at a time.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agents/engine/commands.h"
#include "agents/team/team_cases.h"

namespace kvcommons {

struct TeamBenchOptions {
  std::string graph_path;
  TeamCaseOptions cases;
  std::vector<std::string> modes = {"exact", "rotate", "mean+seg", "C+seg", "C"};
  std::string chat = "auto";
  std::uint32_t forced_tokens = 32;
  std::uint64_t pool_bytes = std::uint64_t{4} << 30;  // of anchors
  double gamma = 0.3;
  std::uint64_t seed = 1;     // of intervals
  std::string control_path;   // weights of the same model, dense, beside the modes; empty: none
  bool first_reader = false;  // as in TeamCompareOptions
};
// Exit code as in commands.h.
int RunTeamBench(const CommonOptions& options, const TeamBenchOptions& team);

}  // namespace kvcommons
