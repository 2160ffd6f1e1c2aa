// One engine for all tests of a program: fp32 weights and rows, since a 4-bit engine's own noise
// over passes of different sizes (KL 1e-3) would hide what is tested.

#pragma once

#include <string>

#include "agents/engine/llama_engine.h"

namespace kvcommons {

inline constexpr std::uint32_t kTestContextTokens = 1024;

// Of $KVCOMMONS_MODEL; empty: it names none, and tests that need one are skipped.
std::string TestModelPath();
// REQUIRES: there is a model.
Engine& Fp32Engine();
const GateReport& Fp32Gate();

}  // namespace kvcommons
