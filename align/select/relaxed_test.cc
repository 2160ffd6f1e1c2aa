#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

using ::testing::ElementsAre;

TEST(RelaxedRuleTest, ARowIsActiveUpToTheDeepestLayerThatNamesIt) {
  const std::vector<SelectChunk> chunks{{10, 14}};
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = 3;
  request.budget = 0.5;  // 6 of 12 row-layers
  // Best of layer 0: row 12, of layer 1: row 10, of layer 2: row 13.
  const std::vector<float> attention{0, 1, 9, 2, 9, 1, 2, 0, 1, 0, 2, 9};
  SelectEvidence evidence;
  evidence.question_attention = attention;
  const auto selection = (*MakeSelectRule("relaxed"))->Select(request, evidence);
  ASSERT_TRUE(selection.has_value());
  EXPECT_THAT(selection->rows, ElementsAre(10, 12, 13));
  EXPECT_THAT(selection->depth, ElementsAre(2U, 1U, 3U));
  EXPECT_NEAR(ChargedBudget(request, *selection), 0.5, 1e-12);
}

TEST(RelaxedRuleTest, WhatTheBudgetIsShortOfForAllLayersGoesToTheDeepest) {
  const std::vector<SelectChunk> chunks{{0, 4}};
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = 3;
  request.budget = 0.49;  // 5.88 of 12 row-layers, 6 are needed
  const std::vector<float> attention{0, 1, 9, 2, 9, 1, 2, 0, 1, 0, 2, 9};
  SelectEvidence evidence;
  evidence.question_attention = attention;
  const auto selection = (*MakeSelectRule("relaxed"))->Select(request, evidence);
  ASSERT_TRUE(selection.has_value());
  EXPECT_THAT(selection->rows, ElementsAre(0, 3));
  EXPECT_THAT(selection->depth, ElementsAre(2U, 3U));
}

TEST(RelaxedRuleTest, OnAnEngineThatRunsAllLayersTheBudgetBuysRowsOfAllLayers) {
  const std::vector<SelectChunk> chunks{{0, 4}};
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = 3;
  request.budget = 0.5;
  request.whole_depth = true;
  const std::vector<float> attention{0, 1, 9, 2, 9, 1, 2, 0, 1, 0, 2, 9};
  SelectEvidence evidence;
  evidence.question_attention = attention;
  const auto selection = (*MakeSelectRule("relaxed"))->Select(request, evidence);
  ASSERT_TRUE(selection.has_value());
  EXPECT_THAT(selection->rows, ElementsAre(0, 3));
  EXPECT_THAT(selection->depth, ElementsAre(3U, 3U));
  EXPECT_NEAR(ChargedBudget(request, *selection), 0.5, 1e-12);
}

}  // namespace
}  // namespace kvcommons
