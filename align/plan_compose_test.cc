// Plans of composed prompts: exact rows, canonical rows of a library's chunks, and what is
// computed.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "align/plan.h"

namespace kvcommons {
namespace {

struct Composition {
  Composition() : tokens(400) { std::iota(tokens.begin(), tokens.end(), 0); }

  std::vector<TokenId> tokens;
  Position exact_tokens = 0;
  std::vector<ChunkOffer> chunks;
  ComposeOptions options;
  CostModel costs;

  Result<Plan> Make() const {
    PlanInput input;
    input.tokens = tokens;
    input.exact_tokens = exact_tokens;
    input.chunks = chunks;
    input.policy = Policy::kCompose;
    input.compose = options;
    input.costs = costs;
    return MakePlan(input);
  }
};

TEST(ComposeTest, ChunksThatALibraryHoldsAreCanonicalAndTheRestIsComputed) {
  Composition composition;
  composition.chunks = {
      {20, 120, RootKind::kNear}, {120, 200, RootKind::kEmpty}, {210, 300, RootKind::kMean}};
  const Plan plan = composition.Make().value();
  EXPECT_EQ(Explain(plan),
            "[0, 20) compute: between_chunks\n"
            "[20, 120) canonical: canonical_near, chunk 0 from row 0, moved by 20, generation 1\n"
            "[120, 210) compute: not_in_library, generation 1\n"
            "[210, 300) canonical: canonical_mean, chunk 2 from row 0, moved by 210, generation 1\n"
            "[300, 400) compute: between_chunks, generation 1\n");
  EXPECT_EQ(plan.canonical_rows, 190);
  EXPECT_EQ(plan.moved_rows, 0);
  EXPECT_EQ(plan.computed_rows, 210);
  EXPECT_EQ(plan.exact_end, 20);  // the first canonical row ends what is exact (I3)
}

TEST(ComposeTest, ExactRowsComeFirstAndAChunkGoesOnBehindThem) {
  Composition composition;
  composition.exact_tokens = 64;
  composition.chunks = {{0, 30, RootKind::kMean}, {30, 130, RootKind::kMean}};
  EXPECT_EQ(Explain(composition.Make().value()),
            "[0, 64) exact: exact_chain\n"
            "[64, 130) canonical: canonical_mean, chunk 1 from row 34, moved by 30, generation 1\n"
            "[130, 400) compute: between_chunks, generation 1\n");
}

// I4.
TEST(ComposeTest, TheLastTokenIsComputedAlsoWithinAChunk) {
  Composition composition;
  composition.chunks = {{300, 400, RootKind::kSystem}};
  const Plan plan = composition.Make().value();
  EXPECT_EQ(plan.spans.back().begin, 399);
  EXPECT_EQ(plan.spans.back().kind, SpanKind::kCompute);
}

TEST(ComposeTest, NeighbouringChunksStayApart) {
  Composition composition;
  composition.chunks = {{0, 100, RootKind::kMean}, {100, 200, RootKind::kMean}};
  const Plan plan = composition.Make().value();
  ASSERT_EQ(plan.spans.size(), 3u);
  EXPECT_EQ(plan.spans[1].chunk, 1u);
  EXPECT_EQ(plan.spans[1].delta, 100);
  EXPECT_EQ(plan.exact_end, 0);  // canonical rows are not exact, wherever they are placed
}

TEST(ComposeTest, ShortChunksAreComputed) {
  Composition composition;
  composition.chunks = {{20, 35, RootKind::kMean}, {100, 116, RootKind::kMean}};
  EXPECT_EQ(composition.Make().value().canonical_rows, 16);
}

// I11.
TEST(ComposeTest, CanonicalRowsThatCostMoreThanPrefillAreComputed) {
  Composition composition;
  composition.chunks = {{20, 120, RootKind::kMean}};
  composition.costs.place_us_per_token = 5000;
  const Plan plan = composition.Make().value();
  EXPECT_EQ(plan.canonical_rows, 0);
  EXPECT_EQ(plan.predicted_us, plan.prefill_us);
}

// I11.
TEST(ComposeTest, WhatIsComputedAgainAllTheSameIsPartOfWhatReuseCosts) {
  Composition composition;
  composition.chunks = {{20, 220, RootKind::kMean}};
  composition.costs.place_us_per_token = 20;
  composition.costs.prefill_us_per_token = 200;
  composition.costs.attention_us_per_token_k = 0;
  composition.costs.rotate_us_per_token = composition.costs.lookup_us = 0;
  composition.costs.run_us = 0;
  const double without = composition.Make().value().predicted_us;
  composition.options.recompute_share = 0.89;
  const Plan cheaper = composition.Make().value();
  EXPECT_EQ(cheaper.canonical_rows, 200);
  EXPECT_NEAR(cheaper.predicted_us - without, 0.89 * 200 * 200, 1e-6);
  composition.options.recompute_share = 0.9;
  EXPECT_EQ(composition.Make().value().canonical_rows, 0);
}

TEST(ComposeTest, ARecomputeShareOutOfItsLimitsIsRefused) {
  for (const double share : {-0.01, 1.01, std::nan("")}) {
    Composition composition;
    composition.options.recompute_share = share;
    const auto plan = composition.Make();
    ASSERT_FALSE(plan.has_value()) << share;
    EXPECT_EQ(plan.error().message(),
              "recompute_share is " + std::to_string(share) + "; the limit is 0 to 1");
  }
  Composition composition;
  composition.options.recompute_share = 1;
  EXPECT_TRUE(composition.Make().has_value());
}

TEST(ComposeTest, ChunksOutOfOrderOrOutOfThePromptAreRefused) {
  const auto message = [](std::vector<ChunkOffer> chunks) {
    Composition composition;
    composition.chunks = std::move(chunks);
    const auto plan = composition.Make();
    return plan ? "" : plan.error().message();
  };
  EXPECT_EQ(message({{0, 400, RootKind::kMean}}), "");
  EXPECT_EQ(message({{0, 401, RootKind::kMean}}),
            "chunks[0] is [0, 401); it must lie in [0, 400) and not be empty");
  EXPECT_EQ(message({{0, 10, RootKind::kMean}, {9, 20, RootKind::kMean}}),
            "chunks[1] is [9, 20); it must lie in [10, 400) and not be empty");
  EXPECT_EQ(message({{5, 5, RootKind::kMean}}),
            "chunks[0] is [5, 5); it must lie in [0, 400) and not be empty");
}

}  // namespace
}  // namespace kvcommons
