#include "align/load_controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace kvcommons {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

// A model of which one layer's prefill of `rows` takes `prefill_ms`, and no attention term.
LoadRequest RequestOf(std::uint32_t layers, std::int64_t rows, double prefill_ms,
                      std::int64_t bytes_per_token_layer) {
  LoadRequest request;
  request.costs.prefill_us_per_token = prefill_ms * 1000 * layers / static_cast<double>(rows);
  request.costs.attention_us_per_token_k = 0;
  request.layer_count = layers;
  request.reused_rows = rows;
  request.bytes_per_token_layer = bytes_per_token_layer;
  return request;
}

// Of which one layer of the request takes `load_ms`.
LoadTier TierOf(const LoadRequest& request, double load_ms, double cost_per_byte = 0) {
  return {
      static_cast<double>(request.reused_rows * request.bytes_per_token_layer) / (load_ms * 1000),
      cost_per_byte};
}

// The paper's: 15 % of a layer are 3 ms, so the layer is 20; 2 · 4096 fp16 numbers a row.
LoadRequest Llama7B() { return RequestOf(32, 4096, 20, 16384); }
// 15 % are 7 ms; 2 · 1024 fp16 numbers a row.
LoadRequest Llama70B() { return RequestOf(80, 4096, 7 / 0.15, 4096); }

TEST(LoadControllerTest, Llama7BFromNvmeRecomputesFourFifthsForNothing) {
  const LoadRequest request = Llama7B();
  const auto plan = PlanLoad(request, TierOf(request, 16));
  ASSERT_TRUE(plan.has_value());
  EXPECT_NEAR(plan->equal_ratio, 0.8, 1e-9);
  EXPECT_EQ(plan->rows, 3277);  // ⌈0.8 · 4096⌉
  LoadRequest least = request;
  least.max_ratio = 0.15;
  const auto at_least = PlanLoad(least, TierOf(request, 16));
  EXPECT_NEAR(at_least->compute_us[3], 3000, 5);
  // Recompute is hidden: all but the last layer's work takes no time of its own.
  EXPECT_NEAR(at_least->total_us, 32 * 16000 + 3000, 10);
  EXPECT_NEAR(plan->total_us, 32 * 16000 + 16000, 200);
}

TEST(LoadControllerTest, Llama70BLoadsFasterThanTheLeastRecomputeSoTheRatioIsNotRaised) {
  const LoadRequest request = Llama70B();
  const auto plan = PlanLoad(request, TierOf(request, 4));
  ASSERT_TRUE(plan.has_value());
  EXPECT_NEAR(plan->equal_ratio, 4 * 0.15 / 7, 1e-9);
  EXPECT_EQ(plan->rows, 615);  // ⌈0.15 · 4096⌉
  EXPECT_NEAR(plan->stall_us[0], 4000, 1);
  EXPECT_THAT(std::vector<double>(plan->stall_us.begin() + 1, plan->stall_us.end()), Each(0.0));
}

TEST(LoadControllerTest, AStaticSelectionDoesNotTransferWhatItComputes) {
  LoadRequest request = RequestOf(10, 10'000, 20, 1000);
  request.selected_rows_load = false;
  const auto plan = PlanLoad(request, TierOf(request, 5));
  ASSERT_TRUE(plan.has_value());
  EXPECT_NEAR(plan->equal_ratio, 5.0 / (20 + 5), 1e-12);
  EXPECT_EQ(plan->rows, 2000);
  EXPECT_NEAR(plan->load_us, 0.8 * 5000, 1e-6);
  EXPECT_NEAR(plan->compute_us[4], plan->load_us, 1e-6);
}

TEST(LoadControllerTest, RowsThatAreComputedAnywayHideLoadingToo) {
  LoadRequest request = RequestOf(10, 10'000, 20, 1000);
  request.fresh_rows = 1000;  // 2 ms a layer
  const auto plan = PlanLoad(request, TierOf(request, 10));
  EXPECT_NEAR(plan->equal_ratio, (10.0 - 2) / 20, 1e-12);
  request.fresh_rows = 9000;
  EXPECT_EQ(PlanLoad(request, TierOf(request, 10))->equal_ratio, 0);
}

TEST(LoadControllerTest, TheRatioKeepsWithinItsLimitsAndTheBudget) {
  LoadRequest request = RequestOf(10, 1000, 20, 1000);
  const LoadTier slow = TierOf(request, 16), fast = TierOf(request, 0.1);
  request.max_ratio = 0.5;
  EXPECT_EQ(PlanLoad(request, slow)->rows, 500);
  request.floor_ratio = 0.4;
  EXPECT_EQ(PlanLoad(request, fast)->rows, 400);
  request.quality_ratio = 0.9;  // r_max is the caller's last word
  EXPECT_EQ(PlanLoad(request, fast)->rows, 500);
  request.budget = 0.35;
  EXPECT_EQ(PlanLoad(request, slow)->rows, 350);
  request.check_cost_layers = 1;  // (0.35 · 10 − 1) · 1000 / (10 − 1)
  EXPECT_EQ(PlanLoad(request, slow)->rows, 277);
  request.budget = 0.09;
  EXPECT_THAT(PlanLoad(request, slow).error().message(), HasSubstr("spends 0.1"));
}

TEST(LoadControllerTest, ALoadSlowerThanPrefillIsSaidAndNeverAsksForMoreThanAllRows) {
  const LoadRequest request = RequestOf(10, 1000, 20, 1000);
  const auto plan = PlanLoad(request, TierOf(request, 60));
  EXPECT_NEAR(plan->equal_ratio, 3, 1e-9);
  EXPECT_EQ(plan->rows, 1000);
}

TEST(LoadControllerTest, LayersThatTheRuleLooksAtComputeAllRows) {
  LoadRequest request = RequestOf(10, 1000, 20, 1000);
  request.check_cost_layers = 1.25;
  const auto plan = PlanLoad(request, TierOf(request, 4));
  EXPECT_NEAR(plan->compute_us[0], 20'000, 1e-6);
  EXPECT_NEAR(plan->compute_us[1], 5000, 1e-6);
  EXPECT_NEAR(plan->compute_us[2], plan->ratio * 20'000, 1e-6);
}

// A loader and a worker on one clock: the loader begins a layer when the worker begins the one
// before, the worker when both are done. Returns when the last layer is computed.
double BySimulation(const LoadPlan& plan, std::vector<double>& stall_us) {
  double worker = 0, loader = plan.load_us;
  stall_us.clear();
  for (const double compute_us : plan.compute_us) {
    const bool last = stall_us.size() + 1 == plan.compute_us.size();
    stall_us.push_back(std::max(0.0, loader - worker));
    const double begin = std::max(worker, loader);
    worker = begin + compute_us;
    loader = last ? begin : begin + plan.load_us;
  }
  // Told of the layer before the wait, but for the first, which waits for itself.
  const double first = stall_us.front();
  stall_us.erase(stall_us.begin());
  stall_us.push_back(0);
  stall_us.front() += first;
  return worker;
}

TEST(LoadControllerTest, TimeAndStallsAreThoseOfALoaderOneLayerAhead) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto between = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  for (int i = 0; i < 200; ++i) {
    LoadRequest request =
        RequestOf(static_cast<std::uint32_t>(1 + random() % 40),
                  1 + static_cast<std::int64_t>(random() % 5000), between(1, 50), 4096);
    request.fresh_rows = static_cast<std::int64_t>(random() % 200);
    request.selected_rows_load = random() % 2 == 0;
    request.check_cost_layers = std::min<double>(request.layer_count, between(0, 3));
    const auto plan = PlanLoad(request, TierOf(request, between(0.1, 60)));
    ASSERT_TRUE(plan.has_value());
    std::vector<double> stall_us;
    const double total_us = BySimulation(*plan, stall_us);
    EXPECT_NEAR(plan->total_us, total_us, 1e-9 * total_us);
    for (std::size_t layer = 0; layer < stall_us.size(); ++layer) {
      EXPECT_NEAR(plan->stall_us[layer], stall_us[layer], 1e-9 * total_us);
    }
  }
}

TEST(LoadControllerTest, TheCheapestTierThatHidesIsTakenAndNoneIsAnAnswer) {
  const LoadRequest request = Llama70B();  // 7 ms to hide behind
  const std::vector<LoadTier> tiers{TierOf(request, 0.5, 10), TierOf(request, 4, 3),
                                    TierOf(request, 7, 1), TierOf(request, 7.1, 0.1)};
  EXPECT_EQ(*CheapestHiddenTier(request, tiers), 2U);
  EXPECT_EQ(*CheapestHiddenTier(request, std::span(tiers).last(1)), std::nullopt);
  const std::vector<LoadTier> alike{TierOf(request, 4, 1), TierOf(request, 2, 1),
                                    TierOf(request, 2, 1)};
  EXPECT_EQ(*CheapestHiddenTier(request, alike), 1U);
}

TEST(LoadControllerTest, Llama7BOnNvmeIsNotHiddenAtTheLeastRatio) {
  const LoadRequest request = Llama7B();
  const std::vector<LoadTier> tiers{TierOf(request, 1, 10), TierOf(request, 16, 1)};
  EXPECT_EQ(*CheapestHiddenTier(request, tiers), 0U);
}

TEST(LoadControllerTest, EveryFieldHasALimit) {
  const LoadRequest good = RequestOf(10, 1000, 20, 1000);
  const LoadTier tier = TierOf(good, 1);
  const auto says = [&](auto change, const char* message) {
    LoadRequest request = good;
    change(request);
    const auto plan = PlanLoad(request, tier);
    ASSERT_FALSE(plan.has_value()) << message;
    EXPECT_THAT(plan.error().message(), HasSubstr(message));
  };
  says([](LoadRequest& r) { r.layer_count = 0; }, "layer_count is 0");
  says([](LoadRequest& r) { r.layer_count = 4097; }, "layer_count is 4097");
  says([](LoadRequest& r) { r.reused_rows = 0; }, "reused_rows is 0");
  says([](LoadRequest& r) { r.reused_rows = kMaxLoadRows + 1; }, "reused_rows is 16777217");
  says([](LoadRequest& r) { r.fresh_rows = -1; }, "fresh_rows is -1");
  says([](LoadRequest& r) { r.fresh_rows = kMaxLoadRows + 1; }, "fresh_rows is 16777217");
  says([](LoadRequest& r) { r.bytes_per_token_layer = 0; }, "bytes_per_token_layer is 0");
  says([](LoadRequest& r) { r.bytes_per_token_layer = (1 << 24) + 1; }, "bytes_per_token_layer");
  says([](LoadRequest& r) { r.budget = 1.01; }, "budget is 1.01");
  says([](LoadRequest& r) { r.budget = NAN; }, "budget is nan");
  says([](LoadRequest& r) { r.check_cost_layers = 10.1; }, "check_cost_layers is 10.1");
  says([](LoadRequest& r) { r.quality_ratio = -0.1; }, "quality_ratio is -0.1");
  says([](LoadRequest& r) { r.max_ratio = 1.1; }, "max_ratio is 1.1");
  says([](LoadRequest& r) { r.max_ratio = 0.2, r.floor_ratio = 0.3; }, "floor_ratio is 0.3");
  says([](LoadRequest& r) { r.costs.prefill_us_per_token = 0; }, "costs give 0");
  LoadRequest largest = good;
  largest.layer_count = 4096;
  largest.reused_rows = largest.fresh_rows = kMaxLoadRows;
  largest.bytes_per_token_layer = kMaxBytesPerTokenLayer;
  const auto plan = PlanLoad(largest, tier);
  ASSERT_TRUE(plan.has_value());
  EXPECT_TRUE(std::isfinite(plan->total_us));
}

TEST(LoadControllerTest, TiersHaveLimits) {
  const LoadRequest request = RequestOf(10, 1000, 20, 1000);
  for (const double bad : {0.0, -1.0, double{NAN}, std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(PlanLoad(request, {bad, 0}).error().message(), HasSubstr("tier.bytes_per_us is"));
  }
  EXPECT_THAT(CheapestHiddenTier(request, std::vector<LoadTier>{{1, -1}}).error().message(),
              HasSubstr("tiers[0].cost_per_byte is -1"));
  EXPECT_TRUE(CheapestHiddenTier(request, std::vector<LoadTier>(16, {1, 1})).has_value());
  EXPECT_THAT(CheapestHiddenTier(request, std::vector<LoadTier>(17, {1, 1})).error().message(),
              HasSubstr("tiers has 17; the limit is 1 to 16"));
  EXPECT_FALSE(CheapestHiddenTier(request, {}).has_value());
}

}  // namespace
}  // namespace kvcommons
