#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

using ::testing::ElementsAre;

// Four rows, three layers. Best of layer 0: row 12, of layer 1: row 10, of layer 2: row 13.
class RelaxedRuleTest : public testing::Test {
 protected:
  RelaxedRuleTest() {
    request_.chunks = chunks_;
    request_.layer_count = 3;
    evidence_.question_attention = attention_;
  }
  Selection Select(double budget) {
    request_.budget = budget;
    return *(*MakeSelectRule("relaxed"))->Select(request_, evidence_);
  }

  const std::vector<SelectChunk> chunks_{{10, 14}};
  const std::vector<float> attention_{0, 1, 9, 2, 9, 1, 2, 0, 1, 0, 2, 9};
  SelectRequest request_;
  SelectEvidence evidence_;
};

TEST_F(RelaxedRuleTest, ARowIsActiveUpToTheDeepestLayerThatNamesIt) {
  const Selection selection = Select(0.5);  // 6 of 12 row-layers
  EXPECT_THAT(selection.rows, ElementsAre(10, 12, 13));
  EXPECT_THAT(selection.depth, ElementsAre(2U, 1U, 3U));
  EXPECT_NEAR(ChargedBudget(request_, selection), 0.5, 1e-12);
}

TEST_F(RelaxedRuleTest, WhatTheBudgetIsShortOfForAllLayersGoesToTheDeepest) {
  const Selection selection = Select(0.49);  // 5.88 row-layers, where one row a layer needs 6
  EXPECT_THAT(selection.rows, ElementsAre(10, 13));
  EXPECT_THAT(selection.depth, ElementsAre(2U, 3U));
}

TEST_F(RelaxedRuleTest, OnAnEngineThatRunsAllLayersTheBudgetBuysRowsOfAllLayers) {
  request_.whole_depth = true;
  const Selection selection = Select(0.5);
  EXPECT_THAT(selection.rows, ElementsAre(10, 13));
  EXPECT_THAT(selection.depth, ElementsAre(3U, 3U));
  EXPECT_NEAR(ChargedBudget(request_, selection), 0.5, 1e-12);
}

}  // namespace
}  // namespace kvcommons
