// Which rows one pass computes: the caller's runs, adjacent ones joined.
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
// either.
Result<std::vector<TokenRun>> PlanRuns(std::span<const TokenRun> runs, std::size_t prompt_tokens,
                                       std::span<const std::int32_t> cell_of_position);

}  // namespace kvcommons
