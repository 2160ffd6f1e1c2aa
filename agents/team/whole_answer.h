// An answer all of whose rows are held, so that other agents can read it.
//
// Thread safety: an engine's.

#pragma once

#include <cstdint>
#include <vector>

#include "agents/engine/llama_engine.h"

namespace kvcommons {

// Generates at most `max_tokens` behind a prompt that ends at `begin`. An answer that was cut ends
// in a token whose rows nobody computed (specs: KVCOMM §10, D15): they are computed here. Where the
// context is full they cannot be, and the token is given up.
Result<std::vector<TokenId>> WholeAnswer(Engine& engine, Position begin, std::uint32_t max_tokens);

}  // namespace kvcommons
