// ω: the rotary frequencies of a model, or why its cached keys cannot be moved.
//
// Exact for plain RoPE, linear scaling and Llama-3 scaling, the latter from its parameters or from
// the per-pair factors that GGUF files carry (tensor rope_freqs.weight). Every other kind is
// refused by name: a kind that we do not know is never taken for one that we do (I12).
//
// Source: specs: positional re-encoding §2.4.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace kvcommons {

struct RopeConfig {
  // As found: Hugging Face `rope_type`, GGUF `rope.scaling.type`. "", "default" and "none" are
  // plain.
  std::string kind;
  double base = 10000;             // θ; more than 1
  std::uint32_t rotary_dim = 0;    // even, 2 to 1,024
  double factor = 1;               // linear, llama3: how much longer than trained; > 0
  double low_freq_factor = 1;      // llama3
  double high_freq_factor = 4;     // llama3; more than low_freq_factor
  double original_context = 8192;  // llama3: tokens the model was trained on
  // Plain and linear: ω_c is divided by factor c. Empty, or rotary_dim / 2 positive values.
  std::vector<float> pair_factors;
};

// rotary_dim / 2 frequencies in radians per position, computed in double and rounded once.
// Fails with kUnsupported where the kind is refused, with kInvalidArgument where a value is out of
// the ranges above.
Result<std::vector<float>> MakeOmega(const RopeConfig& config);

}  // namespace kvcommons
