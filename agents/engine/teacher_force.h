// Logits of one prompt and of what was made to follow it, in one pass of the same shape whatever
// the rows before came from: what two ways of filling a cache are compared on.
//
// Thread safety: an engine's.

#pragma once

#include <span>
#include <vector>

#include "agents/engine/llama_engine.h"

namespace kvcommons {

using LogitRows = std::vector<std::vector<float>>;

// Runs the last prompt token once more, then all but the last of `forced`; afterwards the engine
// holds the prompt's rows alone. A row of logits for each of `forced`.
// REQUIRES: the engine holds the prompt's rows; `forced` is not empty.
Result<LogitRows> TeacherForce(Engine& engine, std::span<const TokenId> prompt,
                               std::span<const TokenId> forced);

}  // namespace kvcommons
