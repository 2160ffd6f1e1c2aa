// One request through a team, its agents one after the other, every mode beside dense prefill on
// the same contents: answers that are passed on are the dense ones, so that no mode inherits
// another's.
//
// What earlier requests deposited is what a mode may use; this request's rows are deposited when it
// is measured. Thread safety: an engine's.

#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agents/team/team_session.h"

namespace kvcommons {

struct TeamCompareOptions {
  std::vector<TeamMode> modes;
  std::uint32_t forced_tokens = 32;  // of dense prefill's own answer, that modes are compared on
};

class TeamCompare {
 public:
  TeamCompare(Engine& engine, const TeamGraph& graph, TeamSession& session,
              TeamCompareOptions options)
      : engine_(engine), graph_(graph), session_(session), options_(std::move(options)) {}

  // {"id", "measured", "base_ms": {field: ms}, "agents": [{"agent", "tokens", "answer_tokens",
  //  "ttft_dense_ms", "answer", "slots": [{"slot", "tokens", "mean_rows", "anchors", "gate",
  //  "entropy_bits", "gate_ms"}], "modes": [{"mode", "kl", "kl_first", "top1", "charged", "exact",
  //  "blend_ms", "place_ms", "compute_ms", "ttft_ms"}]}]}. Not `measured`: dense alone, to fill the
  // memory. kInvalidArgument: a field that prompts name is missing.
  Result<nlohmann::json> Run(const std::string& id,
                             const std::map<std::string, std::string>& fields, bool measured);

 private:
  Result<nlohmann::json> RunAgent(std::size_t index, std::map<std::string, SharedContent>& contents,
                                  bool measured);

  Engine& engine_;
  const TeamGraph& graph_;
  TeamSession& session_;
  TeamCompareOptions options_;
};

}  // namespace kvcommons
