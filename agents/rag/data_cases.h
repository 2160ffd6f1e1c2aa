// Cases out of the folder of real data that KVCOMMONS_DATA names: MuSiQue and HotpotQA questions
// and CacheBlend's own inputs, cut to prompts of a wanted size.
//
// Passages with a supporting fact or an answer come first, then the question's other passages, then
// those of other questions; short ones are put together to chunks of the wanted length; chunks are
// shuffled. Deterministic for a seed. Passages of the question that no longer fit are `related`:
// retrieved together with the others, and not in the prompt. Thread safety: none needed.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agents/rag/cases.h"

namespace kvcommons {

// "musique-0.8k": a source (cacheblend, musique, hotpotqa) and a size (0.8k: 6 chunks of 128
// tokens, 2k: 8 of 240, 5k: 10 of 512).
std::vector<std::string> DataSettings();

class DataCases {
 public:
  // kNotFound: no such file; kInvalidArgument: an unknown setting (the message lists the known
  // ones).
  static Result<DataCases> Open(const std::string& folder, const std::string& setting);

  // Case `index`; beyond the last question they come again with other neighbours and another order.
  Result<RagCase> Make(const Engine& engine, const PromptFormat& format, std::uint32_t index,
                       std::uint64_t seed) const;

  std::size_t questions() const { return questions_.size(); }

 private:
  struct Question {
    std::string id, text;
    std::vector<std::string> wanted, others;  // passages
    std::vector<std::string> answers;
  };

  std::string setting_;
  std::uint32_t chunk_count_ = 0, chunk_tokens_ = 0;
  std::vector<Question> questions_;
};

}  // namespace kvcommons
