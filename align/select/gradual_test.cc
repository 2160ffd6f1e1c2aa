#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GradualRuleTest : public testing::Test {
 protected:
  GradualRuleTest() {
    for (int i = 0; i < 100; ++i) value_.push_back(static_cast<float>((i * 37) % 100));
    request_.chunks = chunks_;
    request_.layer_count = 16;
    request_.check_cost_layers = 1.25;
    evidence_.value_deviation = value_;
  }
  Selection Select(double budget) {
    request_.budget = budget;
    return *(*MakeSelectRule("deviation-gradual"))->Select(request_, evidence_);
  }
  static std::vector<std::size_t> RowsByLayer(const Selection& selection, std::uint32_t layers) {
    std::vector<std::size_t> rows(layers, 0);
    for (const std::uint32_t depth : selection.depth) {
      for (std::uint32_t layer = 0; layer < depth; ++layer) ++rows[layer];
    }
    return rows;
  }

  const std::vector<SelectChunk> chunks_{{5, 105}};
  std::vector<float> value_;
  SelectRequest request_;
  SelectEvidence evidence_;
};

TEST_F(GradualRuleTest, RowsFallFromHalfMoreToTheTargetOverTheFirstQuarter) {
  // Looking takes 1.25 · 100 row-layers. 20 rows at the end: 30, 26, 23, then 20 in 13 layers, of
  // which the check layer's are counted in part: (125 + 30 · 0.75 + 26 + 23 + 12 · 20) / 1600.
  const auto rows = RowsByLayer(Select(0.28), 16);
  EXPECT_THAT(rows, ElementsAre(30, 30, 26, 23, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20));
  EXPECT_NEAR(ChargedBudget(request_, Select(0.28)),
              (1.25 * 100 + 30 * 0.75 + 26 + 23 + 12 * 20) / 1600, 1e-12);
}

TEST_F(GradualRuleTest, ARowThatDeviatesMoreIsNeverDroppedEarlier) {
  const Selection selection = Select(0.3);
  const auto depth_of = [&](Position row) {
    const auto at = std::find(selection.rows.begin(), selection.rows.end(), row);
    return at == selection.rows.end()
               ? 0U
               : selection.depth[static_cast<std::size_t>(at - selection.rows.begin())];
  };
  for (Position a = 0; a < 100; ++a) {
    for (Position b = 0; b < 100; ++b) {
      if (value_[static_cast<std::size_t>(a)] > value_[static_cast<std::size_t>(b)]) {
        EXPECT_GE(depth_of(5 + a), depth_of(5 + b));
      }
    }
  }
}

TEST_F(GradualRuleTest, AtEqualChargeItEndsWithFewerRowsThanDeviationAndStartsWithMore) {
  request_.budget = 0.28;
  const auto flat = (*MakeSelectRule("deviation"))->Select(request_, evidence_)->rows.size();
  const auto rows = RowsByLayer(Select(0.28), 16);
  EXPECT_LT(rows.back(), flat);
  EXPECT_GT(rows.front(), flat);
}

TEST_F(GradualRuleTest, OneMoreRowAtTheEndWouldNotFit) {
  for (const double budget : {0.1, 0.17, 0.28, 0.5, 0.9}) {
    // A row more in all 16 layers, and half a row more in the first four, rounded up.
    const double step = (14.75 + 0.75 + 2 + 2) / 1600;
    EXPECT_LE(ChargedBudget(request_, Select(budget)), budget + 1e-12);
    EXPECT_GT(ChargedBudget(request_, Select(budget)), budget - step);
  }
}

TEST_F(GradualRuleTest, OnAnEngineThatRunsAllLayersItIsDeviationToARow) {
  request_.whole_depth = true;
  for (const double budget : {0.1, 0.17, 0.28, 0.5}) {
    const Selection selection = Select(budget);
    EXPECT_THAT(selection.depth, testing::Each(16U));
    EXPECT_LE(ChargedBudget(request_, selection), budget + 1e-12);
    const auto flat = (*MakeSelectRule("deviation"))->Select(request_, evidence_)->rows;
    EXPECT_GE(selection.rows.size() + 1, flat.size());
    EXPECT_TRUE(
        std::includes(flat.begin(), flat.end(), selection.rows.begin(), selection.rows.end()));
  }
}

TEST_F(GradualRuleTest, AWholeBudgetIsEveryRowInEveryLayer) {
  const Selection selection = Select(1);
  EXPECT_EQ(selection.rows.size(), 100U);
  EXPECT_THAT(selection.depth, testing::Each(16U));
}

TEST_F(GradualRuleTest, ModelsOfOneToFourLayersHaveNoLayerTooMany) {
  for (std::uint32_t layers = 1; layers <= 4; ++layers) {
    request_.layer_count = layers;
    request_.check_cost_layers = 0.5;
    for (const std::uint32_t depth : Select(0.8).depth) {
      EXPECT_GE(depth, 1U);
      EXPECT_LE(depth, layers);
    }
    EXPECT_LE(ChargedBudget(request_, Select(0.8)), 0.8 + 1e-12);
  }
}

TEST_F(GradualRuleTest, ABudgetBelowTheLookingIsRefusedWithBoth) {
  request_.budget = 0.07;  // 1.25 of 16 layers are 0.078
  const auto selection = (*MakeSelectRule("deviation-gradual"))->Select(request_, evidence_);
  ASSERT_FALSE(selection.has_value());
  EXPECT_THAT(selection.error().message(), HasSubstr("rule 'deviation-gradual' spends 0.078125"));
}

}  // namespace
}  // namespace kvcommons
