// `kvcommons-engine team`: a team answers requests by way of the daemon, as a service would.
//
// Thread safety: one call at a time.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agents/engine/commands.h"
#include "agents/team/team_cases.h"

namespace kvcommons {

struct TeamCommandOptions {
  std::string graph_path;
  TeamCaseOptions cases;
  std::string mode = "trust+seg";
  bool compare = false;  // beside dense prefill and an exact prefix cache
  std::string team;      // name; empty: the graph's
  std::uint32_t least_deposits = 4;
  double gamma = 0.3;               // of the gate of modes with anchors
  std::uint32_t answer_tokens = 0;  // at most, whatever the graph says; 0: as it says
  std::string chat = "auto";
  std::uint32_t forced_tokens = 32;
  bool fills_answers = false;  // up to their greatest length, for timing
  bool held_only = false;      // do not wait for the disk
  bool allow_tools = false;    // programs that the graph names are run
  double canary_share = 0.01;  // of calls that reused contents, checked against dense prefill
  std::optional<std::uint64_t> canary_seed;  // which ones; nothing: by chance
};
// Exit code as in commands.h.
int RunTeamCommand(const CommonOptions& options, const TeamCommandOptions& team);

}  // namespace kvcommons
