// The model profile of a GGUF file as this worker would cache it.
//
// Refused by name, because their rows cannot be cut out or put in one by one: sliding windows,
// recurrent and hybrid models, multimodal positions, encoders, latent attention, layers that share
// or vary their KV heads. A model whose rotation we do not know keeps exact mode: its omega_refusal
// says why.
//
// Thread safety: pure functions.

#pragma once

#include <cstdint>
#include <string>

#include "agents/engine/gguf_file.h"
#include "align/model_profile.h"
#include "base/status.h"

struct llama_model;

namespace kvcommons {

struct ProfileOptions {
  ElementType kv_type = ElementType::kFp16;
  bool flash = true;
  std::uint32_t block_tokens = 64;
  std::uint32_t context_tokens = 0;  // 0: what the model was trained on
};

// From the file alone; loads the vocabulary, not the weights.
Result<ModelProfile> ProfileOf(const std::string& path, const ProfileOptions& options);

// The same with the model at hand.
Result<ModelProfile> ProfileOf(const GgufFile& file, const llama_model* model,
                               const ProfileOptions& options);

// Refuses models of kinds that this worker cannot serve; cheap, needs no hash.
Status CheckServable(const GgufFile& file, const llama_model* model);

}  // namespace kvcommons
