#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

using ::testing::ElementsAre;

TEST(QueryRuleTest, TakesTheRowsWithTheLargestMeanOverLayers) {
  const std::vector<SelectChunk> chunks{{0, 4}};
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = 2;
  request.budget = 0.5;
  // Row 0 is first in layer 0 alone, rows 1 and 3 have the larger means.
  const std::vector<float> attention{0.5F, 0.4F, 0.0F, 0.1F, 0.0F, 0.3F, 0.1F, 0.6F};
  SelectEvidence evidence;
  evidence.question_attention = attention;
  EXPECT_THAT((*MakeSelectRule("query"))->Select(request, evidence)->rows, ElementsAre(1, 3));
}

TEST(QueryRuleTest, AsksForAllLayersAndTheAnchoredOneForThreeInTheMiddle) {
  EXPECT_EQ((*MakeSelectRule("query"))->Needs(30).question_layers.size(), 30U);
  const SelectNeeds needs = (*MakeSelectRule("query-anchored"))->Needs(30);
  EXPECT_THAT(needs.question_layers, ElementsAre(14U, 15U, 16U));
  EXPECT_TRUE(needs.anchored_question);
}

}  // namespace
}  // namespace kvcommons
