// What tests of composition share: a small prompt of three chunks on the real model, and its rows
// as numbers.

#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "agents/engine/engine_testing.h"
#include "agents/rag/compose.h"

namespace kvcommons {

inline Result<CanonicalChunk> MakeCanonical(Engine& engine, std::span<const TokenId> tokens,
                                            std::span<const std::vector<TokenId>> prefaces) {
  auto maker = CanonicalMaker::Create(engine, prefaces);
  if (!maker) return Fail(maker.error());
  return maker->Make(tokens);
}

// A head, three chunks of 40 tokens made behind other text than they stand behind, and a question.
class Compose : public testing::Test {
 protected:
  void SetUp() override {
    KVC_NEEDS_MODEL();
    engine_ = &SharedEngine(TestEngine::kExactFlash);
    const std::span<const TokenId> text = LongText();
    tail_.assign(text.begin() + 600, text.begin() + 612);
    static const Result<Prepared> prepared = Prepare(*engine_);  // once: it takes seconds
    ASSERT_TRUE(prepared.has_value()) << prepared.error().ToString();
    head_ = prepared->head;
    chunks_ = prepared->chunks;
  }

  struct Prepared {
    ExactHead head;
    std::vector<CanonicalChunk> chunks;
  };
  static Result<Prepared> Prepare(Engine& engine) {
    const std::span<const TokenId> text = LongText();
    Prepared prepared;
    auto head = MakeExactHead(engine, text.first(30));
    if (!head) return Fail(head.error());
    prepared.head = std::move(*head);
    std::vector<std::vector<TokenId>> prefaces;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto preface = text.subspan(1000 + 60 * i, 50);
      prefaces.emplace_back(preface.begin(), preface.end());
    }
    for (std::size_t i = 0; i < 3; ++i) {
      auto chunk = MakeCanonical(engine, text.subspan(200 + 50 * i, 40), prefaces);
      if (!chunk) return Fail(chunk.error());
      prepared.chunks.push_back(std::move(*chunk));
    }
    return prepared;
  }

  Composer MakeComposer(Position question_begin = 0) {
    ComposePrompt prompt{head_.tokens, {head_.span()}, {}, question_begin};
    for (const CanonicalChunk& chunk : chunks_) {
      prompt.chunks.push_back(ViewOf(chunk, static_cast<Position>(prompt.tokens.size())));
      prompt.tokens.insert(prompt.tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
    }
    prompt.tokens.insert(prompt.tokens.end(), tail_.begin(), tail_.end());
    return Composer(*engine_, std::move(prompt));
  }

  // KL of the last token's distribution from full prefill's.
  double KlOf(const ComposerOptions& options, ComposeReport* report = nullptr) {
    Composer composer = MakeComposer();
    engine_->Clear();
    EXPECT_TRUE(engine_->RunRest(composer.prompt()).ok());
    const std::vector<float> full = Copy(engine_->Logits(0));
    const auto ran = composer.Run(options);
    EXPECT_TRUE(ran.has_value()) << ran.error().ToString();
    if (report != nullptr && ran) *report = *ran;
    return Kl(full, engine_->Logits(0));
  }

  static constexpr Position kBegin = 30;  // of the first chunk
  static constexpr std::uint32_t kRows = 120, kChunkRows = 40;

  // The chunks' rows after a run.
  std::vector<std::byte> RowsAfter(const ComposerOptions& options,
                                   ComposeReport* report = nullptr) {
    const auto ran = MakeComposer().Run(options);
    EXPECT_TRUE(ran.has_value()) << ran.error().ToString();
    if (report != nullptr && ran) *report = *ran;
    return Rows(*engine_, kBegin, kRows);
  }
  // A row as it would be at position 0.
  std::vector<float> Row(const std::vector<std::byte>& block, std::uint32_t layer, bool value,
                         std::uint32_t row) const {
    std::vector<float> numbers = RowOf(*engine_, block, kRows, layer, value, row);
    if (!value)
      RowRotation(engine_->profile(), -kBegin - static_cast<Position>(row)).Apply(numbers);
    return numbers;
  }
  // All rows, as they are.
  std::vector<float> LayerOf(const std::vector<std::byte>& block, std::uint32_t layer,
                             bool value) const {
    std::vector<float> numbers;
    for (std::uint32_t row = 0; row < kRows; ++row) {
      const std::vector<float> one = RowOf(*engine_, block, kRows, layer, value, row);
      numbers.insert(numbers.end(), one.begin(), one.end());
    }
    return numbers;
  }

  Engine* engine_ = nullptr;
  ExactHead head_;
  std::vector<CanonicalChunk> chunks_;
  std::vector<TokenId> tail_;
};

// Error of `rows` from `wanted`, relative to `wanted`.
inline double RelativeError(const std::vector<float>& rows, const std::vector<float>& wanted) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    error += std::pow(double{rows[i]} - wanted[i], 2);
    size += std::pow(double{wanted[i]}, 2);
  }
  return std::sqrt(error / size);
}

}  // namespace kvcommons
