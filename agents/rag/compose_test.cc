// Composition on a real model: what must hold whatever rule and completion do.

#include "agents/rag/compose.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "agents/engine/engine_testing.h"

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

Result<CanonicalChunk> MakeCanonical(Engine& engine, std::span<const TokenId> tokens,
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
    auto head = MakeExactHead(*engine_, text.first(30));
    ASSERT_TRUE(head.has_value());
    head_ = std::move(*head);
    tail_.assign(text.begin() + 600, text.begin() + 612);
    std::vector<std::vector<TokenId>> prefaces;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto preface = text.subspan(1000 + 60 * i, 50);
      prefaces.emplace_back(preface.begin(), preface.end());
    }
    for (std::size_t i = 0; i < 3; ++i) {
      auto chunk = MakeCanonical(*engine_, text.subspan(200 + 50 * i, 40), prefaces);
      ASSERT_TRUE(chunk.has_value()) << chunk.error().ToString();
      chunks_.push_back(std::move(*chunk));
    }
  }

  Composer MakeComposer() {
    ComposePrompt prompt{head_.tokens, {head_.span()}, {}};
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

  Engine* engine_ = nullptr;
  ExactHead head_;
  std::vector<CanonicalChunk> chunks_;
  std::vector<TokenId> tail_;
};

TEST_F(Compose, AllRowsRecomputedEqualFullPrefill) {
  for (const bool completion : {false, true}) {
    ComposeReport report;
    EXPECT_LT(KlOf({"all", 1, completion, 1}, &report), 1e-5);
    EXPECT_EQ(report.recomputed, report.reused);
    EXPECT_NEAR(report.charged, 1, 1e-9);
  }
}

TEST_F(Compose, NothingRecomputedIsFurtherFromItThanHalf) {
  ComposeReport none, half;
  const double of_none = KlOf({"none", 0, false, 1}, &none);
  const double of_half = KlOf({"boundary", 0.5, false, 1}, &half);
  EXPECT_EQ(none.recomputed, 0U);
  EXPECT_EQ(half.recomputed, 60U);
  EXPECT_GT(of_none, 1e-4);  // The chunks do stand behind other text.
  EXPECT_LT(of_half, of_none);
}

TEST_F(Compose, EveryRuleRunsWithinItsBudget) {
  for (const std::string_view rule : SelectRuleNames()) {
    if (rule == "all") continue;
    ComposeReport report;
    const double kl = KlOf({std::string(rule), 0.5, true, 1}, &report);
    EXPECT_LT(kl, 1) << rule;
    // Rows run to the end whatever depth a rule gave them.
    const bool shrinks = rule == "relaxed" || rule == "deviation-gradual";
    EXPECT_LE(report.charged, shrinks ? 1.0 : 0.5 + 1e-9) << rule;
  }
}

TEST_F(Compose, CompletionIsDeterministicAndLeavesStoredRowsAlone) {
  const std::vector<std::byte> planes = chunks_[0].planes;
  Composer composer = MakeComposer();
  ASSERT_TRUE(composer.Run({"design", 0.3, true, 1}).has_value());
  const std::vector<float> first = Copy(engine_->Logits(0));
  const auto again = composer.Run({"design", 0.3, true, 1});
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(Copy(engine_->Logits(0)), first);
  EXPECT_GT(again->corrected, 0U);
  EXPECT_EQ(chunks_[0].planes, planes);
}

TEST_F(Compose, CompletionBringsTheRowsThatWereNotRecomputedCloser) {
  Composer composer = MakeComposer();
  engine_->Clear();
  ASSERT_TRUE(engine_->RunRest(composer.prompt()).ok());
  const std::vector<std::byte> full = Rows(*engine_, 30, 120);
  // Errors of keys and of values over a few layers, squared.
  const auto errors = [&](bool completion) {
    EXPECT_TRUE(composer.Run({"random", 0.4, completion, 1}).has_value());
    const std::vector<std::byte> rows = Rows(*engine_, 30, 120);
    std::array<double, 2> sum{};
    for (const std::uint32_t layer : {5U, 12U, 20U}) {
      for (const bool value : {false, true}) {
        for (std::uint32_t token = 0; token < 120; ++token) {
          const auto a = RowOf(*engine_, full, 120, layer, value, token);
          const auto b = RowOf(*engine_, rows, 120, layer, value, token);
          for (std::size_t i = 0; i < a.size(); ++i) {
            sum[value ? 1 : 0] += std::pow(double{a[i]} - b[i], 2);
          }
        }
      }
    }
    return sum;
  };
  const auto without = errors(false), with = errors(true);
  EXPECT_LT(with[0], without[0]);
  EXPECT_LT(with[1], without[1]);
}

// Error of `rows` from `wanted`, relative to `wanted`.
double RelativeError(const std::vector<float>& rows, const std::vector<float>& wanted) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    error += std::pow(double{rows[i]} - wanted[i], 2);
    size += std::pow(double{wanted[i]}, 2);
  }
  return std::sqrt(error / size);
}

// The rule `shift`, which corrects without loadings.
class ComposeShift : public Compose {
 protected:
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
  // ‖computed − stored‖ of all rows at the check layer, where every row is computed in full.
  std::vector<double> Divergence(const std::vector<std::byte>& full,
                                 const std::vector<std::byte>& stored, bool value) const {
    std::vector<double> divergence;
    for (std::uint32_t row = 0; row < kRows; ++row) {
      const auto a = Row(full, kCheckLayer, value, row), b = Row(stored, kCheckLayer, value, row);
      double sum = 0;
      for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - b[i], 2);
      divergence.push_back(std::sqrt(sum));
    }
    return divergence;
  }
  // What the rule makes of these divergences.
  std::vector<bool> IsProbe(const std::array<std::vector<double>, 2>& divergence,
                            double budget) const {
    const std::vector<SelectChunk> chunks{{0, 40}, {40, 80}, {80, 120}};
    SelectRequest request;
    request.chunks = chunks;
    request.layer_count = engine_->profile().layer_count;
    request.budget = budget;
    request.check_cost_layers = 1.156;
    std::array<std::vector<float>, 2> squares;
    for (const std::size_t plane : {0U, 1U}) {
      for (const double d : divergence[plane]) squares[plane].push_back(static_cast<float>(d * d));
    }
    SelectEvidence evidence;
    evidence.key_deviation = squares[0];
    evidence.value_deviation = squares[1];
    std::vector<bool> is_probe(kRows);
    const auto selection = (*MakeSelectRule("shift"))->Select(request, evidence);
    EXPECT_TRUE(selection.has_value());
    for (const Position row : selection->rows) is_probe[static_cast<std::size_t>(row)] = true;
    return is_probe;
  }
};

TEST_F(ComposeShift, RowsThatWereNotRecomputedAreMovedByTheMeanResidualOfTheirProbes) {
  engine_->Clear();
  const Composer composer = MakeComposer();
  ASSERT_TRUE(engine_->RunRest(composer.prompt()).ok());
  const std::vector<std::byte> full = Rows(*engine_, kBegin, kRows);
  const std::vector<std::byte> stored = RowsAfter({"none", 0, false, 1});
  ComposeReport report;
  const std::vector<std::byte> moved = RowsAfter({"shift", 0.3, false, 1}, &report);
  const std::uint32_t layers = engine_->profile().layer_count;
  EXPECT_GT(report.recomputed, 20U);
  EXPECT_EQ(report.corrected, 3 * 2 * (layers - 1));
  EXPECT_EQ(report.corrected_rows, std::uint64_t{kRows - report.recomputed} * (layers - 1));
  EXPECT_EQ(report.deviation.size(), 3U);

  const std::array<std::vector<double>, 2> divergence{Divergence(full, stored, false),
                                                      Divergence(full, stored, true)};
  const std::vector<bool> is_probe = IsProbe(divergence, 0.3);
  ASSERT_EQ(std::count(is_probe.begin(), is_probe.end(), true), report.recomputed);
  for (std::uint32_t layer = 0; layer < layers; ++layer) {
    for (const bool value : {false, true}) {
      for (std::uint32_t first = 0; first < kRows; first += kChunkRows) {
        std::vector<double> sum;
        double of_probes = 0, probes = 0;
        for (std::uint32_t row = first; row < first + kChunkRows; ++row) {
          if (!is_probe[row]) continue;
          const auto a = Row(moved, layer, value, row), b = Row(stored, layer, value, row);
          sum.resize(a.size());
          for (std::size_t i = 0; i < a.size(); ++i) sum[i] += double{a[i]} - b[i];
          of_probes += divergence[value ? 1 : 0][row];
          ++probes;
        }
        ASSERT_GT(probes, 0);
        for (std::uint32_t row = first; row < first + kChunkRows; ++row) {
          if (is_probe[row]) continue;
          const double w =
              layer == 0 ? 0 : std::min(1.0, divergence[value ? 1 : 0][row] / (of_probes / probes));
          std::vector<float> wanted = Row(stored, layer, value, row);
          for (std::size_t i = 0; i < wanted.size(); ++i) {
            wanted[i] += static_cast<float>(w * sum[i] / probes);
          }
          EXPECT_LT(RelativeError(Row(moved, layer, value, row), wanted), 1e-4)
              << "layer " << layer << (value ? " value " : " key ") << row;
        }
      }
    }
  }
}

TEST_F(ComposeShift, IsDeterministicAndLeavesStoredRowsAlone) {
  const std::vector<std::byte> planes = chunks_[0].planes;
  const std::vector<std::byte> first = RowsAfter({"shift", 0.3, false, 1});
  const std::vector<float> logits = Copy(engine_->Logits(0));
  EXPECT_EQ(RowsAfter({"shift", 0.3, false, 1}), first);
  EXPECT_EQ(Copy(engine_->Logits(0)), logits);
  EXPECT_EQ(chunks_[0].planes, planes);
}

TEST_F(ComposeShift, AChunkWithoutProbesIsLeftAlone) {
  const std::vector<std::byte> stored = RowsAfter({"none", 0, false, 1});
  ComposeReport report;
  const std::vector<std::byte> moved = RowsAfter({"shift", 0.05, false, 1}, &report);
  const std::uint32_t layers = engine_->profile().layer_count;
  ASSERT_EQ(report.recomputed, 1U);
  EXPECT_EQ(report.corrected, 2 * (layers - 1));
  EXPECT_EQ(report.left_few_rows, 2 * 2 * (layers - 1));
  EXPECT_EQ(report.corrected_rows, std::uint64_t{kChunkRows - 1} * (layers - 1));
  std::uint32_t alone = 0;
  for (std::uint32_t first = 0; first < kRows; first += kChunkRows) {
    bool same = true;
    for (std::uint32_t layer = 0; layer < layers; ++layer) {
      for (std::uint32_t row = first; row < first + kChunkRows; ++row) {
        for (const bool value : {false, true}) {
          same &= RowOf(*engine_, moved, kRows, layer, value, row) ==
                  RowOf(*engine_, stored, kRows, layer, value, row);
        }
      }
    }
    alone += same ? 1 : 0;
  }
  EXPECT_EQ(alone, 2U);
}

TEST_F(ComposeShift, ResidualCompletionTakesItsPlace) {
  ComposeReport own, residual;
  RowsAfter({"shift", 0.05, false, 1}, &own);
  RowsAfter({"shift", 0.05, true, 1}, &residual);
  // One probe moves its chunk, and is too few for the other.
  EXPECT_GT(own.corrected, 0U);
  EXPECT_EQ(residual.corrected, 0U);
  EXPECT_EQ(residual.left_few_rows, 3 * 2 * (engine_->profile().layer_count - 1));
}

// The same rows and loadings in blocks of `block_tokens`.
struct ChunkInBlocks {
  ChunkInBlocks(const Engine& engine, const CanonicalChunk& chunk, std::uint32_t block_tokens) {
    const PlaneLayout planes = engine.profile().planes();
    const auto rows = static_cast<std::uint32_t>(chunk.tokens.size());
    const std::size_t stride = std::size_t{rows} * chunk.rank + 1;
    view.rank = chunk.rank;
    for (std::uint32_t first = 0; first < rows; first += block_tokens) {
      const std::uint32_t count = std::min(block_tokens, rows - first);
      std::vector<std::byte>& block = blocks.emplace_back(planes.BlockBytes(count));
      for (std::uint32_t plane = 0; plane < 2 * engine.profile().layer_count; ++plane) {
        const std::size_t row_bytes =
            planes.PlaneOffset(plane + 1, 1) - planes.PlaneOffset(plane, 1);
        std::copy_n(chunk.planes.begin() + static_cast<std::ptrdiff_t>(
                                               planes.PlaneOffset(plane, rows) + first * row_bytes),
                    count * row_bytes,
                    block.begin() + static_cast<std::ptrdiff_t>(planes.PlaneOffset(plane, count)));
      }
      std::vector<float>& of_block = loadings.emplace_back();
      for (std::size_t layer = 0; layer < chunk.loadings.size(); layer += stride) {
        const float* u = &chunk.loadings[layer + std::size_t{first} * chunk.rank];
        of_block.insert(of_block.end(), u, u + std::size_t{count} * chunk.rank);
        of_block.push_back(chunk.loadings[layer + stride - 1]);
      }
      view.parts.push_back({block.data(), count, of_block.data()});
    }
  }

  std::vector<std::vector<std::byte>> blocks;
  std::vector<std::vector<float>> loadings;
  ComposeChunk view;
};

TEST_F(ComposeShift, RowsInBlocksAreCorrectedAsInOnePiece) {
  for (const bool completion : {false, true}) {
    const ComposerOptions options{"shift", 0.3, completion, 1};
    ComposeReport whole;
    const std::vector<std::byte> wanted = RowsAfter(options, &whole);
    const Composer in_one_piece = MakeComposer();
    const std::span<const TokenId> tokens = in_one_piece.prompt();
    ComposePrompt prompt{{tokens.begin(), tokens.end()}, {head_.span()}, {}};
    std::vector<std::unique_ptr<ChunkInBlocks>> blocks;
    for (std::size_t i = 0; i < chunks_.size(); ++i) {
      blocks.push_back(std::make_unique<ChunkInBlocks>(*engine_, chunks_[i], 16));
      blocks.back()->view.begin = kBegin + static_cast<Position>(i * kChunkRows);
      prompt.chunks.push_back(blocks.back()->view);
    }
    Composer composer(*engine_, std::move(prompt));
    const auto ran = composer.Run(options);
    ASSERT_TRUE(ran.has_value()) << ran.error().ToString();
    EXPECT_EQ(ran->corrected_rows, whole.corrected_rows);
    const std::vector<std::byte> rows = Rows(*engine_, kBegin, kRows);
    // The noise of attention in fp16 grows over the layers.
    for (std::uint32_t layer = 0; layer < engine_->profile().layer_count; ++layer) {
      for (const bool value : {false, true}) {
        EXPECT_LT(RelativeError(LayerOf(rows, layer, value), LayerOf(wanted, layer, value)), 5e-4)
            << completion << " layer " << layer << (value ? " value" : " key");
      }
    }
  }
}

TEST_F(Compose, CanonicalRowsBehindTheSameTextAreThePromptsOwn) {
  // One chunk, made behind exactly the head that it is placed behind.
  const std::span<const TokenId> text = LongText();
  const std::vector<std::vector<TokenId>> preface{
      std::vector<TokenId>(text.begin(), text.begin() + 30)};
  auto chunk = MakeCanonical(*engine_, text.subspan(200, 40), preface);
  ASSERT_TRUE(chunk.has_value());
  chunks_.clear();
  chunks_.push_back(std::move(*chunk));
  EXPECT_LT(KlOf({"none", 0, false, 1}), 1e-5);
}

TEST_F(Compose, PlacingBesideThePassesGivesTheBitsOfPlacingBeforeThem) {
  // One that looks at the question, its anchors, or the check layer, and one that looks at nothing.
  for (const char* rule : {"design", "query-anchored", "deviation", "boundary"}) {
    for (const bool completion : {false, true}) {
      // A composer each: evidence that was gathered before is not gathered beside placing.
      ComposerOptions options{rule, 0.4, completion, 1};
      options.place_beside = false;
      const auto before = MakeComposer().Run(options);
      ASSERT_TRUE(before.has_value()) << before.error().ToString();
      EXPECT_TRUE(before->stall_ms.empty());
      const std::vector<float> wanted = Copy(engine_->Logits(0));
      const std::vector<std::byte> rows = Rows(*engine_, 0, 150);
      options.place_beside = true;
      const auto beside = MakeComposer().Run(options);
      ASSERT_TRUE(beside.has_value()) << beside.error().ToString();
      EXPECT_EQ(beside->stall_ms.size(), engine_->profile().layer_count);
      EXPECT_EQ(Copy(engine_->Logits(0)), wanted) << rule << completion;
      EXPECT_EQ(Rows(*engine_, 0, 150), rows) << rule << completion;
    }
  }
}

// Slower than any pass: writes a layer many times over.
class SlowPlacer final : public LayerPlacer {
 public:
  explicit SlowPlacer(std::shared_ptr<LayerPlacer> placer) : placer_(std::move(placer)) {}
  Status PlaceLayer(std::uint32_t layer) override {
    for (int i = 0; i < 100; ++i) KVC_RETURN_IF_ERROR(placer_->PlaceLayer(layer));
    return Status();
  }

 private:
  std::shared_ptr<LayerPlacer> placer_;
};

TEST_F(Compose, PlacingBesideSeveralPassesGivesTheSameBits) {
  // Two chunks whose selected rows are too many runs for one pass.
  const std::span<const TokenId> text = LongText();
  const std::vector<std::vector<TokenId>> preface{
      std::vector<TokenId>(text.begin() + 1900, text.begin() + 1910)};
  chunks_.clear();
  for (std::size_t i = 0; i < 2; ++i) {
    auto chunk = MakeCanonical(*engine_, text.subspan(200 + 800 * i, 700), preface);
    ASSERT_TRUE(chunk.has_value()) << chunk.error().ToString();
    chunks_.push_back(std::move(*chunk));
  }
  std::vector<std::vector<float>> logits;
  for (const bool beside : {false, true}) {
    ComposerOptions options{"random", 0.5, false, 1};
    options.place_beside = beside;
    options.wrap_placer = [](auto placer) {
      return std::make_shared<SlowPlacer>(std::move(placer));
    };
    const auto ran = MakeComposer().Run(options);
    ASSERT_TRUE(ran.has_value()) << ran.error().ToString();
    EXPECT_EQ(ran->recomputed, 700U);  // No runs were joined.
    EXPECT_LT(engine_->computed_rows(), 700U);
    EXPECT_EQ(StallTotalMs(ran->stall_ms) > 0, beside);
    logits.push_back(Copy(engine_->Logits(0)));
  }
  EXPECT_EQ(logits[1], logits[0]);
}

// Whose rows are gone from a layer on.
class LosingPlacer final : public LayerPlacer {
 public:
  explicit LosingPlacer(std::shared_ptr<LayerPlacer> placer) : placer_(std::move(placer)) {}
  Status PlaceLayer(std::uint32_t layer) override {
    return layer < 7 ? placer_->PlaceLayer(layer) : Unavailable("rows of layer 7 are gone");
  }

 private:
  std::shared_ptr<LayerPlacer> placer_;
};

TEST_F(Compose, AnErrorOfPlacingSurfacesAndNothingIsKeptOfIt) {
  for (const char* rule : {"design", "boundary"}) {
    ComposerOptions options{rule, 0.4, true, 1};
    ASSERT_TRUE(MakeComposer().Run(options).has_value());
    const std::vector<float> wanted = Copy(engine_->Logits(0));
    Composer composer = MakeComposer();
    options.wrap_placer = [](auto placer) {
      return std::make_shared<LosingPlacer>(std::move(placer));
    };
    const auto lost = composer.Run(options);
    ASSERT_FALSE(lost.has_value());
    EXPECT_THAT(lost.error().message(), HasSubstr("rows of layer 7 are gone"));
    EXPECT_EQ(engine_->held_tokens(), 0U);
    options.wrap_placer = {};
    const auto again = composer.Run(options);
    ASSERT_TRUE(again.has_value()) << again.error().ToString();
    EXPECT_EQ(Copy(engine_->Logits(0)), wanted) << rule;
  }
}

TEST_F(Compose, WhereRowsGoByTheStateBlobTheyArePlacedBefore) {
  engine_ = &SharedEngine(TestEngine::kExactByState);
  const auto ran = MakeComposer().Run({"boundary", 0.4, false, 1});
  ASSERT_TRUE(ran.has_value()) << ran.error().ToString();
  EXPECT_TRUE(ran->stall_ms.empty());
  EXPECT_EQ(engine_->held_tokens(), 162U);
}

TEST_F(Compose, WhatCannotBeDoneIsRefusedByName) {
  Composer composer = MakeComposer();
  EXPECT_THAT(composer.Run({"best", 0.5, false, 1}).error().message(),
              HasSubstr("known are none, all, random"));
  EXPECT_THAT(composer.Run({"random", 1.5, false, 1}).error().message(),
              HasSubstr("budget is 1.5"));
  for (CanonicalChunk& chunk : chunks_) chunk.rank = 0;
  EXPECT_THAT(MakeComposer().Run({"random", 0.5, true, 1}).error().message(),
              HasSubstr("at least two prefaces"));
  tail_.clear();
  EXPECT_THAT(MakeComposer().Run({"none", 0, false, 1}).error().message(),
              HasSubstr("the question is empty"));
  EXPECT_THAT(MakeCanonical(*engine_, {}, {}).error().message(), HasSubstr("prefaces has 0"));
  const std::vector<std::vector<TokenId>> preface{{1}};
  EXPECT_THAT(MakeCanonical(*engine_, {}, preface).error().message(),
              HasSubstr("the chunk is empty"));
}

}  // namespace
}  // namespace kvcommons
