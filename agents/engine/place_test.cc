// Rows in and out of the cache: bits, rotation, order, refusals.

#include <gmock/gmock.h>

#include <cmath>

#include "agents/engine/engine_testing.h"

namespace kvcommons {
namespace {

std::span<const TokenId> Head(std::size_t count) { return std::span(LongText()).first(count); }

bool IsExact(TestEngine kind) {
  return kind != TestEngine::kWorker && kind != TestEngine::kByState;
}

class Place : public testing::TestWithParam<TestEngine> {
 protected:
  void SetUp() override { KVC_NEEDS_MODEL(); }
};

TEST_P(Place, WithoutAMoveGivesTheSameBits) {
  Engine& engine = SharedEngine(GetParam());
  ASSERT_TRUE(engine.RunRest(Head(100)).ok());
  const std::vector<std::byte> rows = Rows(engine, 0, 100);
  // In pieces, from inside a block, with a hole.
  const std::vector<PlaceSpan> spans{{0, 40, 0, rows.data(), 100, 0},
                                     {40, 9, 0, rows.data(), 100, 40},
                                     {60, 40, 0, rows.data(), 100, 60}};
  ASSERT_TRUE(engine.Place(spans).ok());
  EXPECT_EQ(engine.held_tokens(), 89U);
  EXPECT_EQ(engine.held_end(), 100);
  for (const PlaceSpan& span : spans) {
    const std::vector<std::byte> back = Rows(engine, span.begin, span.count);
    const std::vector<std::byte> whole = Rows(engine, span.begin, 1);
    for (std::uint32_t layer : {0U, 29U}) {
      for (const bool value : {false, true}) {
        for (std::uint32_t token : {0U, span.count - 1}) {
          EXPECT_EQ(RowOf(engine, back, span.count, layer, value, token),
                    RowOf(engine, rows, 100, layer, value, span.first_row + token));
        }
      }
    }
  }
  EXPECT_EQ(engine.ReadRows(50, 1, std::vector<std::byte>(100000).data()).code(), Code::kNotFound);
}

TEST_P(Place, OfAWholePromptGivesTheLogitsOfAPrefill) {
  Engine& engine = SharedEngine(GetParam());
  ASSERT_TRUE(engine.RunRest(Head(100)).ok());
  const std::vector<std::byte> rows = Rows(engine, 0, 99);
  const std::vector<float> wanted = Copy(engine.Logits(0));
  const PlaceSpan span{0, 99, 0, rows.data(), 99, 0};
  ASSERT_TRUE(engine.Place(std::span(&span, 1)).ok());
  ASSERT_TRUE(engine.RunRest(Head(100)).ok());
  // Matrix products of other shapes round differently; quantised weights and fp16 more.
  EXPECT_LT(Kl(wanted, engine.Logits(0)), IsExact(GetParam()) ? 1e-4 : 5e-3);
}

TEST_P(Place, LayerByLayerEqualsAllAtOnce) {
  Engine& engine = SharedEngine(GetParam());
  ASSERT_TRUE(engine.RunRest(Head(70)).ok());
  const std::vector<std::byte> rows = Rows(engine, 0, 70);
  const PlaceSpan span{5, 65, 3, rows.data(), 70, 2};
  ASSERT_TRUE(engine.Place(std::span(&span, 1)).ok());
  const std::vector<std::byte> wanted = Rows(engine, 5, 65);
  const std::uint32_t layers = engine.profile().layer_count;
  ASSERT_TRUE(engine.PlaceClaim(std::span(&span, 1)).ok());
  ASSERT_TRUE(engine.PlaceLayers(std::span(&span, 1), 7, layers).ok());
  ASSERT_TRUE(engine.PlaceLayers(std::span(&span, 1), 0, 7).ok());
  EXPECT_EQ(Rows(engine, 5, 65), wanted);
}

TEST_P(Place, ReadsBackWhatAPassComputedBehindPlacedRows) {
  Engine& engine = SharedEngine(GetParam());
  ASSERT_TRUE(engine.RunRest(Head(80)).ok());
  const std::vector<std::byte> rows = Rows(engine, 0, 80);
  const PlaceSpan span{0, 60, 0, rows.data(), 80, 0};
  ASSERT_TRUE(engine.Place(std::span(&span, 1)).ok());
  ASSERT_TRUE(engine.RunRest(Head(80)).ok());
  const std::vector<std::byte> again = Rows(engine, 0, 80);
  const float tolerance = IsExact(GetParam()) ? 0.05F : 0.3F;
  for (std::uint32_t layer : {0U, 15U, 29U}) {
    for (const bool value : {false, true}) {
      const auto a = RowOf(engine, rows, 80, layer, value, 79);
      const auto b = RowOf(engine, again, 80, layer, value, 79);
      for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, Place,
                         testing::Values(TestEngine::kExact, TestEngine::kExactFlash,
                                         TestEngine::kWorker, TestEngine::kByState,
                                         TestEngine::kExactByState));

TEST(PlaceByState, EqualsPlacingInMemoryBitForBit) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kWorker);
  ASSERT_TRUE(engine.RunRest(Head(200)).ok());
  const std::vector<std::byte> rows = Rows(engine, 0, 200);
  const std::vector<PlaceSpan> spans{{0, 50, 0, rows.data(), 200, 0},
                                     {57, 120, 7, rows.data(), 200, 50}};
  const std::vector<TokenRun> runs{{50, 57}, {177, 200}};
  ASSERT_TRUE(engine.Place(spans).ok());
  ASSERT_TRUE(engine.Run(Head(200), runs).ok());
  const std::vector<std::byte> wanted = Rows(engine, 0, 200);
  const std::vector<float> logits = Copy(engine.Logits(0));

  Engine& by_state = SharedEngine(TestEngine::kByState);
  ASSERT_TRUE(by_state.Place(spans).ok());
  ASSERT_TRUE(by_state.Run(Head(200), runs).ok());
  EXPECT_EQ(Rows(by_state, 0, 200), wanted);
  EXPECT_EQ(Copy(by_state.Logits(0)), logits);
}

TEST(PlaceByState, AHookAndAProbeAreRefused) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kByState);
  const Position row = 0;
  const std::uint32_t layer = 0;
  EXPECT_EQ(engine.ProbeAttention({{row}, {layer}}).code(), Code::kUnsupported);
  engine.SetLayerHook([](const LayerView&) {});
  EXPECT_EQ(engine.RunRest(Head(3)).code(), Code::kUnsupported);
}

// Layer 0's keys depend on token and position alone: llama.cpp's own at other positions are the
// truth.
TEST(PlaceMoved, KeysEqualLlamasOwnAtThosePositions) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kWorker);
  const auto chunk = std::span(LongText()).subspan(300, 64);
  ASSERT_TRUE(engine.RunRest(chunk).ok());
  const std::vector<std::byte> rows = Rows(engine, 0, 64);
  std::vector<TokenId> later(LongText().begin(), LongText().begin() + 300);
  later.insert(later.end(), chunk.begin(), chunk.end());
  engine.Clear();
  ASSERT_TRUE(engine.RunRest(later).ok());
  const std::vector<std::byte> own = Rows(engine, 300, 64);
  const PlaceSpan span{300, 64, 300, rows.data(), 64, 0};
  ASSERT_TRUE(engine.Place(std::span(&span, 1)).ok());
  const std::vector<std::byte> moved = Rows(engine, 300, 64);
  double difference = 0;
  double norm = 0;
  for (std::uint32_t token = 0; token < 64; ++token) {
    const auto a = RowOf(engine, own, 64, 0, false, token);
    const auto b = RowOf(engine, moved, 64, 0, false, token);
    for (std::size_t i = 0; i < a.size(); ++i) {
      difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
      norm += std::pow(static_cast<double>(a[i]), 2);
    }
    const auto own_value = RowOf(engine, own, 64, 0, true, token);
    const auto moved_value = RowOf(engine, moved, 64, 0, true, token);
    for (std::size_t i = 0; i < own_value.size(); ++i) {
      ASSERT_NEAR(own_value[i], moved_value[i], 2e-3) << "values do not turn";
    }
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-3) << "fp16 noise is 4e-4";
}

TEST(PlaceRefuses, WhatIsOutOfOrderOrOutOfRange) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kWorker);
  ASSERT_TRUE(engine.RunRest(Head(8)).ok());
  const std::vector<std::byte> rows = Rows(engine, 0, 8);
  const std::byte* block = rows.data();
  const auto context = static_cast<Position>(engine.context_tokens());
  const std::vector<std::vector<PlaceSpan>> bad{
      {{4, 4, 0, block, 8, 0}, {0, 4, 0, block, 8, 0}},  // out of order
      {{0, 4, 0, block, 8, 0}, {3, 4, 0, block, 8, 0}},  // overlap
      {{-1, 4, 0, block, 8, 0}},
      {{0, 0, 0, block, 8, 0}},
      {{context - 3, 4, 0, block, 8, 0}},  // one past the context
      {{0, 4, 0, block, 8, 5}},            // one past the block
      {{0, 4, 0, nullptr, 8, 0}},
      {{4, 4, 5, block, 8, 0}},  // origin before 0
      {{4, 4, -context, block, 8, 0}},
      {{4, 4, context, block, 8, 0}}};
  for (const std::vector<PlaceSpan>& spans : bad) {
    const Status status = engine.Place(spans);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.ToString();
    EXPECT_EQ(engine.held_tokens(), 8U) << "a refusal changes nothing";
  }
  const PlaceSpan last{context - 4, 4, 4 - context + 1, block, 8, 0};
  EXPECT_TRUE(engine.Place(std::span(&last, 1)).ok()) << "at the limit";
}

}  // namespace
}  // namespace kvcommons
