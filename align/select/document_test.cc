#include <gtest/gtest.h>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

std::vector<Position> Document(const std::vector<SelectChunk>& chunks,
                               const std::vector<float>& deviation, double budget) {
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = 10;
  request.check_cost_layers = 0;
  request.budget = budget;
  SelectEvidence evidence;
  evidence.key_deviation = deviation;
  return (*MakeSelectRule("document"))->Select(request, evidence)->rows;
}

TEST(DocumentRuleTest, TakesWholeChunksByMeanNotBySum) {
  // Means 1, 3; sums 4, 6 in a chunk of two rows.
  EXPECT_EQ(Document({{0, 4}, {4, 6}}, {1, 1, 1, 1, 3, 3}, 2.0 / 6), (std::vector<Position>{4, 5}));
}

TEST(DocumentRuleTest, WhatIsLeftGoesToTheBestWindowOfTheNext) {
  EXPECT_EQ(Document({{0, 4}, {4, 6}}, {0, 2, 2, 0, 3, 3}, 4.0 / 6),
            (std::vector<Position>{1, 2, 4, 5}));
}

TEST(DocumentRuleTest, AChunkThatDoesNotFitGivesItsBestWindow) {
  EXPECT_EQ(Document({{0, 3}, {5, 8}}, {1, 1, 1, 0, 5, 4}, 2.0 / 6), (std::vector<Position>{6, 7}));
}

}  // namespace
}  // namespace kvcommons
