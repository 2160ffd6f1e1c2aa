// Composition on a real model: what must hold whatever rule and completion do.

#include "agents/rag/compose.h"

#include <gmock/gmock.h>

#include <array>
#include <cmath>

#include "agents/rag/compose_testing.h"

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

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

// Gate 6: a rule that coins beat is worth nothing.
TEST_F(Compose, DesignBeatsRandomRowsAtTheSameChargedBudget) {
  double coins = 0;
  constexpr int kSeeds = 5;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    coins += KlOf({"random", 0.3, true, seed}) / kSeeds;
  }
  EXPECT_LT(KlOf({"design", 0.3, true, 1}), coins);
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

// Slow, so that passes meet rows that are not there yet: writes a layer many times over.
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

TEST_F(Compose, PlacingSlowlyBesideAPassOfManyRunsGivesTheSameBits) {
  // Some 350 runs in two chunks.
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
    EXPECT_EQ(ran->recomputed, 700U);
    EXPECT_EQ(engine_->computed_rows(), 700U + tail_.size()) << "one pass, and no row besides";
    EXPECT_EQ(ran->stall_ms.size(), beside ? engine_->profile().layer_count : 0);
    logits.push_back(Copy(engine_->Logits(0)));
  }
  EXPECT_EQ(logits[1], logits[0]);
}

TEST_F(Compose, TheQuestionMayBeginBehindFreshRowsThatTheLookComputesToo) {
  const std::uint32_t layers = engine_->profile().layer_count;
  std::vector<std::vector<float>> logits;
  // The whole tail; its last token, named, and from beyond the end.
  for (const Position question : {0, 161, 1000}) {
    Composer composer = MakeComposer(question);
    const auto ran = composer.Run({"query", 0.5, false, 1});
    ASSERT_TRUE(ran.has_value()) << ran.error().ToString();
    const double looked = 12.0 * (std::ceil(0.9 * layers) + 1);
    EXPECT_LE(std::abs(ran->charged - (ran->recomputed * layers + looked) / (120.0 * layers)), 0.02)
        << question;
    logits.push_back(Copy(engine_->Logits(0)));
  }
  EXPECT_NE(logits[1], logits[0]) << "other rows are chosen";
  EXPECT_EQ(logits[2], logits[1]);
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
