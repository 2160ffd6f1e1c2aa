#include "align/cost_model.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

CostModel RoundNumbers() {
  CostModel costs;
  costs.prefill_us_per_token = 100;
  costs.attention_us_per_token_k = 10;
  costs.place_us_per_token = 3;
  costs.rotate_us_per_token = 2;
  return costs;
}

TEST(CostModelTest, ARowCostsMoreTheMoreRowsItReads) {
  EXPECT_DOUBLE_EQ(RoundNumbers().ComputeUs(5, 0), 500);
  EXPECT_DOUBLE_EQ(RoundNumbers().ComputeUs(5, 2000), 600);
}

TEST(CostModelTest, NoRowsCostNothing) {
  EXPECT_DOUBLE_EQ(RoundNumbers().ComputeUs(0, 5000), 0);
  EXPECT_DOUBLE_EQ(RoundNumbers().PlaceUs(0, true), 0);
}

TEST(CostModelTest, RotationComesOnTopOfPlacing) {
  EXPECT_DOUBLE_EQ(RoundNumbers().PlaceUs(7, false), 21);
  EXPECT_DOUBLE_EQ(RoundNumbers().PlaceUs(7, true), 35);
}

TEST(CostModelTest, SpansOfAPromptAddUpToItsPrefill) {
  const CostModel costs = RoundNumbers();
  const double whole = costs.ComputeUs(1000, 500);
  const double parts = costs.ComputeUs(300, 150) + costs.ComputeUs(700, 650);
  EXPECT_NEAR(parts, whole, 1e-9 * whole);
}

TEST(CostModelTest, LongPromptsDoNotOverflow) {
  EXPECT_GT(RoundNumbers().ComputeUs(1 << 24, 1 << 23), 1e12);
}

}  // namespace
}  // namespace kvcommons
