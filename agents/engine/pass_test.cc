// Passes over chosen rows: the mask (I5, I6), many runs, small ubatches, the hook, the probe,
// refusals.

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "agents/engine/engine_testing.h"

namespace kvcommons {
namespace {

std::span<const TokenId> Head(std::size_t count) { return std::span(LongText()).first(count); }

// Rows of a prefill of other tokens: wrong rows, so that a pass that reads them shows.
std::vector<std::byte> ForeignRows(Engine& engine, std::uint32_t count) {
  engine.Clear();
  const Status status = engine.RunRest(std::span(LongText()).subspan(500, count));
  EXPECT_TRUE(status.ok()) << status.ToString();
  return Rows(engine, 0, count);
}

void PlaceAll(Engine& engine, const std::vector<std::byte>& rows, std::uint32_t count) {
  const PlaceSpan span{0, count, 0, rows.data(), count, 0};
  ASSERT_TRUE(engine.Place(std::span(&span, 1)).ok());
}

// What a pass must equal: the same runs one at a time, left to right, everything to the right of a
// run taken away while it runs.
std::vector<float> RunByRun(Engine& engine, const std::vector<std::byte>& rows,
                            std::span<const TokenId> prompt, const std::vector<TokenRun>& runs) {
  const auto count = static_cast<std::uint32_t>(prompt.size());
  std::vector<std::byte> merged = rows;
  const PlaneLayout planes = engine.profile().planes();
  for (const TokenRun& run : runs) {
    const PlaceSpan left{0, static_cast<std::uint32_t>(run.begin), 0, merged.data(), count, 0};
    engine.Clear();
    if (run.begin > 0) {
      EXPECT_TRUE(engine.Place(std::span(&left, 1)).ok());
    }
    EXPECT_TRUE(engine.Run(prompt, std::span(&run, 1)).ok());
    const auto fresh_count = static_cast<std::uint32_t>(run.end - run.begin);
    const std::vector<std::byte> fresh = Rows(engine, run.begin, fresh_count);
    for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
      const std::size_t row = planes.row_bytes[plane];
      std::copy_n(fresh.data() + planes.PlaneOffset(plane, fresh_count), fresh_count * row,
                  merged.data() + planes.PlaneOffset(plane, count) +
                      static_cast<std::size_t>(run.begin) * row);
    }
  }
  return Copy(engine.Logits(0));
}

class Pass : public testing::TestWithParam<TestEngine> {
 protected:
  void SetUp() override { KVC_NEEDS_MODEL(); }
  double kl_limit() const {
    return GetParam() == TestEngine::kExactFlash ? 2e-3 : 1e-7;  // CPU flash casts to fp16
  }
};

TEST_P(Pass, OfAllRowsEqualsAPrefill_I6) {
  Engine& engine = SharedEngine(GetParam());
  constexpr std::uint32_t kTokens = 120;
  ASSERT_TRUE(engine.RunRest(Head(kTokens)).ok());
  const std::vector<float> wanted = Copy(engine.Logits(0));
  const std::vector<std::byte> foreign = ForeignRows(engine, kTokens);
  PlaceAll(engine, foreign, kTokens);
  const TokenRun all{0, kTokens};
  ASSERT_TRUE(engine.Run(Head(kTokens), std::span(&all, 1)).ok());
  EXPECT_LT(Kl(wanted, engine.Logits(0)), kl_limit());
  EXPECT_EQ(engine.held_tokens(), kTokens);
}

TEST_P(Pass, OfManyRunsEqualsTheSameRunByRun) {
  Engine& engine = SharedEngine(GetParam());
  constexpr std::uint32_t kTokens = 120;
  const std::vector<std::byte> foreign = ForeignRows(engine, kTokens);
  const std::vector<TokenRun> runs{{0, 3}, {10, 11}, {12, 13}, {14, 40}, {77, 80}, {100, 120}};
  const std::vector<float> wanted = RunByRun(engine, foreign, Head(kTokens), runs);
  PlaceAll(engine, foreign, kTokens);
  ASSERT_TRUE(engine.Run(Head(kTokens), runs).ok());
  EXPECT_EQ(engine.computed_rows(), 54U);
  EXPECT_LT(Kl(wanted, engine.Logits(0)), kl_limit());
}

TEST_P(Pass, InTheMiddleLeavesTheRowsToItsRight) {
  Engine& engine = SharedEngine(GetParam());
  const std::vector<std::byte> foreign = ForeignRows(engine, 60);
  PlaceAll(engine, foreign, 60);
  const std::vector<std::byte> right = Rows(engine, 30, 30);
  const std::vector<TokenRun> runs{{5, 8}, {20, 30}};
  ASSERT_TRUE(engine.Run(Head(60), runs, 0).ok());
  EXPECT_EQ(engine.logit_count(), 0U);
  EXPECT_EQ(engine.held_tokens(), 60U);
  EXPECT_EQ(Rows(engine, 30, 30), right);
  EXPECT_NE(Rows(engine, 20, 10), Rows(engine, 30, 10));
  ASSERT_TRUE(engine.RunToken(5).ok()) << "and the sequence goes on";
  EXPECT_EQ(engine.held_end(), 61);
}

TEST_P(Pass, ALaterTokenChangesNoEarlierRow_I5) {
  Engine& engine = SharedEngine(GetParam());
  const std::vector<std::byte> foreign = ForeignRows(engine, 90);
  std::vector<TokenId> prompt(Head(90).begin(), Head(90).end());
  const std::vector<TokenRun> runs{{3, 9}, {30, 50}, {70, 71}, {80, 90}};
  PlaceAll(engine, foreign, 90);
  ASSERT_TRUE(engine.Run(prompt, runs).ok());
  const std::vector<std::byte> before = Rows(engine, 0, 84);
  const std::vector<float> logits = Copy(engine.Logits(0));
  prompt[84] = prompt[84] + 1;
  PlaceAll(engine, foreign, 90);
  ASSERT_TRUE(engine.Run(prompt, runs).ok());
  EXPECT_EQ(Rows(engine, 0, 84), before) << "bytes";
  EXPECT_GT(Kl(logits, engine.Logits(0)), 1e-9) << "but the answer changes";
}

TEST_P(Pass, OfHundredsOfRunsEqualsTheSameInTwoPasses) {
  Engine& engine = SharedEngine(GetParam());
  constexpr std::uint32_t kTokens = 520;
  const std::vector<std::byte> foreign = ForeignRows(engine, kTokens);
  std::vector<TokenRun> runs;
  for (Position p = 1; p < 520; p += 2) runs.push_back({p, p + 1});
  PlaceAll(engine, foreign, kTokens);
  const auto first = std::span(runs).first(130);
  ASSERT_TRUE(engine.Run(Head(kTokens), first, 0).ok());
  // Placed again, so that llama.cpp's own positions are the true ones.
  PlaceAll(engine, Rows(engine, 0, kTokens), kTokens);
  ASSERT_TRUE(engine.Run(Head(kTokens), std::span(runs).subspan(130)).ok());
  const std::vector<float> wanted = Copy(engine.Logits(0));
  PlaceAll(engine, foreign, kTokens);
  ASSERT_TRUE(engine.Run(Head(kTokens), runs).ok());
  EXPECT_EQ(engine.computed_rows(), 260U);
  EXPECT_EQ(engine.held_tokens(), kTokens);
  EXPECT_LT(Kl(wanted, engine.Logits(0)), kl_limit());
}

// llama.cpp takes what a pass computes in between for rows at its end.
TEST_P(Pass, WhatFollowsOneInTheMiddleStandsAtItsOwnPosition) {
  Engine& engine = SharedEngine(GetParam());
  engine.Clear();
  ASSERT_TRUE(engine.RunRest(Head(130)).ok());
  const std::vector<float> wanted = Copy(engine.Logits(0));
  const std::vector<std::byte> rows = Rows(engine, 0, 130);
  engine.Clear();
  ASSERT_TRUE(engine.RunRest(Head(120)).ok());
  const std::vector<TokenRun> runs{{7, 8}, {20, 44}, {90, 91}};
  ASSERT_TRUE(engine.Run(Head(120), runs, 0).ok());
  const auto follows = [&] {
    EXPECT_EQ(engine.held_end(), 120);
    for (std::size_t i = 120; i < 129; ++i) ASSERT_TRUE(engine.RunToken(LongText()[i]).ok());
    ASSERT_TRUE(engine.RunToken(LongText()[129]).ok());
    EXPECT_LT(Kl(wanted, engine.Logits(0)), kl_limit());
    for (const std::uint32_t layer : {0U, 29U}) {
      for (const bool value : {false, true}) {
        for (const std::uint32_t row : {30U, 90U, 129U}) {
          const auto held = RowOf(engine, Rows(engine, 0, 130), 130, layer, value, row);
          const auto plain = RowOf(engine, rows, 130, layer, value, row);
          for (std::size_t i = 0; i < held.size(); ++i) {
            ASSERT_NEAR(held[i], plain[i], 2e-2 * (1 + std::abs(plain[i])))
                << layer << value << row;
          }
        }
      }
    }
  };
  follows();
  ASSERT_TRUE(engine.RemoveFrom(120).ok());
  follows();
  // Cut within what was computed in between: the rest goes on behind it.
  ASSERT_TRUE(engine.RemoveFrom(30).ok());
  EXPECT_EQ(engine.held_tokens(), 30U);
  ASSERT_TRUE(engine.RunRest(Head(120)).ok());
  follows();
}

INSTANTIATE_TEST_SUITE_P(Engines, Pass,
                         testing::Values(TestEngine::kExact, TestEngine::kExactFlash,
                                         TestEngine::kExactSmallUbatch, TestEngine::kExactByState));

TEST(PassLimits, WrongTokensAndRunsAreRefusedByName) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kWorker);
  ASSERT_TRUE(engine.RunRest(Head(10)).ok());
  std::vector<TokenId> prompt(Head(12).begin(), Head(12).end());
  const auto vocabulary = static_cast<TokenId>(engine.vocabulary_size());
  for (const TokenId wrong : {-1, vocabulary}) {
    prompt[11] = wrong;
    const Status status = engine.RunRest(prompt);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_THAT(status.message(), testing::AllOf(testing::HasSubstr("token 11"),
                                                 testing::HasSubstr(std::to_string(wrong)),
                                                 testing::HasSubstr("49151")));
    EXPECT_EQ(engine.held_tokens(), 10U) << "a refusal changes nothing";
    EXPECT_FALSE(engine.Detokenize(prompt));
    EXPECT_FALSE(engine.RunToken(wrong).ok());
  }
  prompt[11] = vocabulary - 1;
  EXPECT_TRUE(engine.RunRest(prompt).ok()) << "at the limit";
  const TokenRun run{12, 13};
  EXPECT_EQ(engine.Run(prompt, std::span(&run, 1)).code(), Code::kInvalidArgument);
  const std::vector<TokenId> long_prompt(engine.context_tokens() + 1, 1);
  EXPECT_EQ(engine.RunRest(long_prompt).code(), Code::kInvalidArgument);
  const TokenRun last{11, 12};
  EXPECT_EQ(engine.Run(prompt, std::span(&last, 1), 2).code(), Code::kInvalidArgument)
      << "more logits than rows";
}

TEST(PassLimits, AFullContextIsAnAnswer) {
  KVC_NEEDS_MODEL();
  EngineOptions options;
  options.model_path = TestModel();
  options.context_tokens = 200;  // rounded up to 256
  options.measure_costs = false;
  auto engine = Engine::Open(options);
  ASSERT_TRUE(engine) << engine.error().ToString();
  EXPECT_EQ((*engine)->context_tokens(), 256U);
  ASSERT_TRUE((*engine)->RunRest(Head(256)).ok()) << "exactly the context";
  EXPECT_EQ((*engine)->RunToken(1).code(), Code::kExhausted);
  const auto rest = (*engine)->Generate(5);
  ASSERT_TRUE(rest);
  EXPECT_LE(rest->size(), 1U);
  ASSERT_TRUE((*engine)->RemoveFrom(250).ok());
  EXPECT_EQ((*engine)->held_end(), 250);
  EXPECT_TRUE((*engine)->RunRest(Head(256)).ok());
}

// 600 rows are 512 and 88; 40 rows behind them are filled up to a tile (pass_padding.h).
TEST(PassPaddingTest, APaddedPassEqualsThePlainOneAndLeavesNothingBehind) {
  KVC_NEEDS_MODEL();
  std::vector<float> plain;
  for (const TestEngine kind : {TestEngine::kExact, TestEngine::kExactFlash}) {
    Engine& engine = SharedEngine(kind);
    ASSERT_TRUE(engine.RunRest(Head(600)).ok());
    std::vector<std::size_t> rows_seen;
    engine.SetLayerHook([&](const LayerView& view) { rows_seen.push_back(view.cells.size()); });
    const TokenRun rest{600, 640};
    ASSERT_TRUE(engine.Run(Head(640), std::span(&rest, 1), 40).ok());
    engine.SetLayerHook({});
    EXPECT_THAT(rows_seen, testing::Each(40U)) << "padding is no row of the pass";
    EXPECT_EQ(engine.computed_rows(), 40U);
    EXPECT_EQ(engine.held_tokens(), 640U);
    for (std::uint32_t row = 0; row < 40; ++row) {
      const std::vector<float> logits = Copy(engine.Logits(row));
      if (kind == TestEngine::kExact) {
        plain.insert(plain.end(), logits.begin(), logits.end());
      } else {
        const auto wanted = std::span(plain).subspan(row * logits.size(), logits.size());
        EXPECT_LT(Kl(wanted, logits), 1e-5) << "row " << row;
      }
    }
  }
}

TEST(PassPaddingTest, PaddedPassesFillAContextToItsEnd) {
  KVC_NEEDS_MODEL();
  EngineOptions options;
  options.model_path = TestModel();
  options.context_tokens = 768;
  options.flash = FlashAttention::kOn;
  options.measure_costs = false;
  auto engine = Engine::Open(options);
  ASSERT_TRUE(engine) << engine.error().ToString();
  ASSERT_TRUE((*engine)->RunRest(Head(600)).ok());
  for (Position at = 600; at < 768; at += 40) {
    const TokenRun run{at, std::min(at + 40, 768)};
    ASSERT_TRUE((*engine)->Run(Head(768), std::span(&run, 1)).ok()) << at;
  }
  EXPECT_EQ((*engine)->held_tokens(), 768U);
}

TEST(LayerHookTest, ChangesAreSeenByAttentionAndStay) {
  KVC_NEEDS_MODEL();
  for (const TestEngine kind : {TestEngine::kExact, TestEngine::kExactFlash}) {
    Engine& engine = SharedEngine(kind);
    ASSERT_TRUE(engine.RunRest(Head(40)).ok());
    const std::vector<float> plain = Copy(engine.Logits(0));
    ASSERT_TRUE(engine.RemoveFrom(30).ok());
    std::set<std::uint32_t> layers;
    engine.SetLayerHook([&](const LayerView& view) {
      EXPECT_EQ(view.positions.size(), 10U);
      EXPECT_EQ(view.positions.front(), 30);
      EXPECT_EQ(view.cells.size(), 10U);
      layers.insert(view.layer);
      if (view.layer != 12) return;
      std::vector<float> row(view.row_elements);
      const auto cell = static_cast<std::uint32_t>(view.cell_of_position[7]);
      view.ReadValue(cell, row);
      for (float& x : row) x = 4 * x + 1;
      view.WriteValue(cell, row);
      view.ReadKey(cell, row);
      for (float& x : row) x = 0.5F;
      view.WriteKey(cell, row);
    });
    ASSERT_TRUE(engine.RunRest(Head(40)).ok());
    engine.SetLayerHook({});
    EXPECT_EQ(layers.size(), 30U);
    EXPECT_GT(Kl(plain, engine.Logits(0)), 1e-4);
    const std::vector<std::byte> row = Rows(engine, 7, 1);
    EXPECT_THAT(RowOf(engine, row, 1, 12, false, 0), testing::Each(0.5F));
    EXPECT_THAT(RowOf(engine, row, 1, 11, false, 0), testing::Not(testing::Each(0.5F)));
  }
}

TEST(AttentionProbeTest, SumsToOneAndFlashEqualsSoftMax) {
  KVC_NEEDS_MODEL();
  const std::vector<Position> rows{2, 25, 39};
  const std::vector<std::uint32_t> layers{0, 13, 29};
  std::vector<AttentionWeights> seen[2];
  for (int i = 0; i < 2; ++i) {
    Engine& engine = SharedEngine(i == 0 ? TestEngine::kExact : TestEngine::kExactFlash);
    ASSERT_TRUE(engine.RunRest(Head(20)).ok());
    ASSERT_TRUE(engine.ProbeAttention({rows, layers}).ok());
    // Row 2 in a run of its own, row 25 sees it through the patched mask.
    const std::vector<TokenRun> runs{{2, 3}, {20, 40}};
    ASSERT_TRUE(engine.Run(Head(40), runs).ok());
    seen[i] = engine.probed();
    ASSERT_TRUE(engine.RunToken(1).ok());
    EXPECT_TRUE(engine.probed().empty()) << "one pass only";
  }
  ASSERT_EQ(seen[0].size(), 9U);
  ASSERT_EQ(seen[1].size(), 9U);
  for (std::size_t i = 0; i < 9; ++i) {
    const AttentionWeights& exact = seen[0][i];
    const AttentionWeights& flash = seen[1][i];
    EXPECT_EQ(exact.layer, layers[i / 3]);
    EXPECT_EQ(exact.row, rows[i % 3]);
    ASSERT_EQ(exact.head_count, 9U);
    ASSERT_EQ(exact.weights.size(), flash.weights.size());
    const auto columns = static_cast<std::ptrdiff_t>(exact.row) + 1;
    for (std::ptrdiff_t head = 0; head < 9; ++head) {
      for (const auto& weights : {exact.weights, flash.weights}) {
        const auto line = weights.begin() + head * columns;
        EXPECT_NEAR(std::accumulate(line, line + columns, 0.0), 1, 1e-5);
      }
    }
    for (std::size_t w = 0; w < exact.weights.size(); ++w) {
      ASSERT_NEAR(exact.weights[w], flash.weights[w], 2e-2);
    }
  }
}

TEST(AttentionProbeTest, ASumIsTheSumOfItsRows) {
  KVC_NEEDS_MODEL();
  for (const TestEngine kind : {TestEngine::kExact, TestEngine::kExactFlash}) {
    Engine& engine = SharedEngine(kind);
    std::vector<std::vector<AttentionWeights>> seen;
    for (const bool sum : {false, true}) {
      engine.Clear();
      ASSERT_TRUE(engine.ProbeAttention({{30, 5, 39}, {3, 7}, sum, true}).ok());
      ASSERT_TRUE(engine.RunRest(Head(40)).ok());
      seen.push_back(engine.probed());
    }
    ASSERT_EQ(seen[0].size(), 6U);
    ASSERT_EQ(seen[1].size(), 2U);
    for (std::size_t layer = 0; layer < 2; ++layer) {
      const AttentionWeights& sum = seen[1][layer];
      EXPECT_EQ(sum.row, AttentionWeights::kSum);
      ASSERT_EQ(sum.columns, 40U);
      std::vector<float> weights(sum.weights.size(), 0), outputs(sum.outputs.size(), 0);
      for (std::size_t row = 0; row < 3; ++row) {
        const AttentionWeights& one = seen[0][3 * layer + row];
        for (std::uint32_t head = 0; head < one.head_count; ++head) {
          for (std::uint32_t column = 0; column < one.columns; ++column) {
            weights[head * 40 + column] += one.weights[head * one.columns + column];
          }
        }
        for (std::size_t e = 0; e < outputs.size(); ++e) outputs[e] += one.outputs[e];
      }
      for (std::size_t i = 0; i < weights.size(); ++i) {
        ASSERT_NEAR(sum.weights[i], weights[i], 1e-5);
      }
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        ASSERT_NEAR(sum.outputs[i], outputs[i], 1e-4);
      }
    }
  }
}

TEST(RunUpToTest, StopsBehindItsLayerAndLeavesNoRowOfItsOwn) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExact);
  engine.Clear();
  ASSERT_TRUE(engine.RunRest(Head(40)).ok());
  const std::vector<float> whole = Copy(engine.Logits(0));
  engine.Clear();
  ASSERT_TRUE(engine.RunRest(Head(30)).ok());
  std::vector<std::uint32_t> layers;
  engine.SetLayerHook([&](const LayerView& view) { layers.push_back(view.layer); });
  ASSERT_TRUE(engine.ProbeAttention({{35}, {4}}).ok());
  const TokenRun run{30, 40};
  ASSERT_TRUE(engine.RunUpTo(4, Head(40), {&run, 1}).ok());
  engine.SetLayerHook({});
  EXPECT_THAT(layers, testing::ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(engine.probed().size(), 1U);
  EXPECT_EQ(engine.held_end(), 30);
  EXPECT_EQ(engine.logit_count(), 0U);
  ASSERT_TRUE(engine.RunRest(Head(40)).ok());
  EXPECT_LT(Kl(whole, engine.Logits(0)), 1e-6);
  EXPECT_EQ(engine.RunUpTo(30, Head(40), {&run, 1}).code(), Code::kInvalidArgument);
}

TEST(HideInNextPassTest, RowsDoNotSeeWhatIsHiddenAndAProbeStillScoresIt) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExactFlash);
  const TokenRun last{39, 40};
  engine.Clear();
  ASSERT_TRUE(engine.RunRest(Head(40)).ok());
  const std::vector<float> open = Copy(engine.Logits(0));
  ASSERT_TRUE(engine.HideInNextPass({10, 11, 12, 39}).ok());
  ASSERT_TRUE(engine.ProbeAttention({{39}, {5}}).ok());
  ASSERT_TRUE(engine.Run(Head(40), {&last, 1}).ok());
  const std::vector<float> hidden = Copy(engine.Logits(0));
  EXPECT_GT(Kl(open, hidden), 1e-5);
  EXPECT_GT(engine.probed()[0].weights[11], 0);
  // What lies in hidden rows makes no difference.
  engine.SetLayerHook([&](const LayerView& view) {
    const std::vector<float> other(view.row_elements, 3);
    for (const std::size_t position : {10U, 11U, 12U}) {
      const auto cell = static_cast<std::uint32_t>(view.cell_of_position[position]);
      view.WriteKey(cell, other);
      view.WriteValue(cell, other);
    }
  });
  ASSERT_TRUE(engine.HideInNextPass({10, 11, 12}).ok());
  ASSERT_TRUE(engine.Run(Head(40), {&last, 1}).ok());
  engine.SetLayerHook({});
  EXPECT_LT(Kl(hidden, engine.Logits(0)), 1e-6);
  // One pass only.
  ASSERT_TRUE(engine.Run(Head(40), {&last, 1}).ok());
  EXPECT_GT(Kl(hidden, engine.Logits(0)), 1e-5);
  EXPECT_FALSE(engine.HideInNextPass({-1}).ok());
  EXPECT_FALSE(SharedEngine(TestEngine::kExact).HideInNextPass({1}).ok());
}

TEST(AttentionProbeTest, RefusesRowsAndLayersThatDoNotExist) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExact);
  const std::vector<Position> row{0};
  const std::vector<Position> bad_row{static_cast<Position>(engine.context_tokens())};
  const std::vector<std::uint32_t> layer{29};
  const std::vector<std::uint32_t> bad_layer{30};
  EXPECT_FALSE(engine.ProbeAttention({bad_row, layer}).ok());
  EXPECT_FALSE(engine.ProbeAttention({row, bad_layer}).ok());
  EXPECT_TRUE(engine.ProbeAttention({row, layer}).ok());
  EXPECT_TRUE(engine.ProbeAttention({}).ok());
}

}  // namespace
}  // namespace kvcommons
