// Which rows one pass computes: the caller's runs, joined until llama.cpp has a sequence for each.
//
// Pure. Refuses runs out of order, empty, beyond the prompt, and those that would attend to a
// position that is neither held nor computed.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "agents/engine/llama_engine.h"

namespace kvcommons {

// `cell_of_position[p]` is -1 where position p is not held; positions beyond it are not held
// either. `first`: the lowest position that has to exist (the gate's probes start in an empty
// cache).
Result<std::vector<TokenRun>> PlanRuns(std::span<const TokenRun> runs, std::size_t prompt_tokens,
                                       std::span<const std::int32_t> cell_of_position,
                                       Position first, std::size_t max_runs);

// Joins the closest neighbours, with what lies between them, until `max_runs` are left. REQUIRES:
// runs ascend and are disjoint, max_runs > 0.
std::vector<TokenRun> JoinClosest(std::vector<TokenRun> runs, std::size_t max_runs);

}  // namespace kvcommons
