#include <gtest/gtest.h>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

class DeviationRuleTest : public testing::Test {
 protected:
  DeviationRuleTest() {
    request_.chunks = chunks_;
    request_.layer_count = 10;
    request_.check_cost_layers = 0;
    request_.budget = 0.5;
    evidence_.key_deviation = key_;
    evidence_.value_deviation = value_;
    evidence_.value_deviation_l1 = value_l1_;
    evidence_.attention_received = received_;
  }
  std::vector<Position> Rows(std::string_view name) {
    return (*MakeSelectRule(name))->Select(request_, evidence_)->rows;
  }

  const std::vector<SelectChunk> chunks_{{4, 6}, {8, 10}};
  const std::vector<float> key_{1, 2, 3, 4}, value_{4, 3, 2, 1}, value_l1_{1, 1, 2, 5},
      received_{9, 1, 5, 1};
  SelectRequest request_;
  SelectEvidence evidence_;
};

TEST_F(DeviationRuleTest, DeviationIsOfValues) {
  EXPECT_EQ(Rows("deviation"), (std::vector<Position>{4, 5}));
}

TEST_F(DeviationRuleTest, DeviationKIsOfKeys) {
  EXPECT_EQ(Rows("deviation-k"), (std::vector<Position>{8, 9}));
}

TEST_F(DeviationRuleTest, DhdWeighsByTheAttentionThatARowReceives) {
  // 9, 1, 10, 5
  EXPECT_EQ(Rows("dhd"), (std::vector<Position>{4, 8}));
}

TEST_F(DeviationRuleTest, LookingAtTheCheckLayerIsPaidFirst) {
  request_.check_cost_layers = 2;
  // (0.5 · 10 − 2) · 4 / (10 − 2) = 1.5 rows
  EXPECT_EQ(Rows("deviation"), (std::vector<Position>{4}));
}

}  // namespace
}  // namespace kvcommons
