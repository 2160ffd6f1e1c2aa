// The peer: what llama.cpp can do by itself after an edit, by its own shift of cached keys.
//
// The old version is in one context; everything behind an edit is parked in a second sequence,
// shifted by llama_memory_seq_add, the new tokens are decoded, and the parked part is joined again;
// left to right, edit by edit. No row behind a seam is recomputed. It works within one context
// only: nothing survives it.
//
// For measuring, not for serving. Thread safety: none.

#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

class LlamaShiftPeer {
 public:
  static Result<std::unique_ptr<LlamaShiftPeer>> Open(const std::string& model_path,
                                                      std::uint32_t context_tokens,
                                                      std::uint32_t threads /* 0: all */);
  virtual ~LlamaShiftPeer() = default;

  struct Outcome {
    double ttft_ms =
        0;  // shifts, new tokens and the rest of the prompt; the old version's prefill not counted
    std::uint32_t computed = 0;
    std::vector<std::vector<float>>
        logits;  // after the prompt and after each forced token but the last
  };
  // `prompt` = the new document and what follows it; `forced` is at least one token.
  virtual Result<Outcome> Run(std::span<const TokenId> before, std::span<const TokenId> prompt,
                              std::span<const TokenId> forced) = 0;
};

}  // namespace kvcommons
