// Everything that decides the bytes of a model's KV, and its hash, the fingerprint.
//
// Two workers may share KV if and only if their fingerprints are equal. The fields are those of
// specs: positional re-encoding §2.6; the ω vector itself is hashed, not the names of its settings,
// so one comparison covers base, linear, NTK, Llama-3 and the rest.

#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "kernels/element_type.h"
#include "kernels/plane_layout.h"
#include "kernels/rotate.h"

namespace kvcommons {

struct ModelProfile {
  std::string name;  // For people; not part of the fingerprint.
  std::array<std::uint8_t, 32> weights_sha256{};
  std::array<std::uint8_t, 32> tokenizer_sha256{};
  std::string adapters;             // Canonical list of LoRA digests; empty: none.
  std::string numeric_class;        // The engine's: "llama.cpp-0.3.36/cpu/fa1/q4_1", say.
  std::uint32_t layer_count = 0;    // 1 to 1,024
  std::uint32_t kv_head_count = 0;  // 1 to 1,024
  std::uint32_t head_dim = 0;       // 1 to 1,024; K and V alike
  std::uint32_t rotary_dim = 0;     // even, <= head_dim
  std::uint32_t rotary_offset = 0;
  PairLayout pair_layout = PairLayout::kHalfSplit;
  ElementType element_type = ElementType::kFp16;
  std::uint32_t block_tokens = 64;    // 16 to 256
  std::uint32_t context_tokens = 0;   // longest prompt; 1 to 2^24. Not part of the fingerprint.
  std::uint32_t vocabulary_size = 0;  // token ids are below it
  std::vector<float> omega;   // rotary_dim / 2 frequencies; empty: positions cannot be moved
  std::string omega_refusal;  // why `omega` is empty; then only exact mode is offered

  KeyRowFormat key_row() const;
  PlaneLayout planes() const;  // plane 2l = K of layer l, plane 2l + 1 = V
};

// Refuses what is out of the ranges above; the message names field, value and limit.
Status Validate(const ModelProfile& profile);

// First 128 bits of SHA-256 over all fingerprint fields, each tagged and length-prefixed.
Fingerprint FingerprintOf(const ModelProfile& profile);

}  // namespace kvcommons
