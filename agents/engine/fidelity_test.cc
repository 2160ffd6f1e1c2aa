#include "agents/engine/fidelity.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvcommons {
namespace {

TEST(FidelityTest, EqualLogitsHaveNoDivergenceWhateverTheirOffset) {
  const std::vector<float> a = {1.0f, -2.0f, 0.5f};
  const std::vector<float> b = {101.0f, 98.0f, 100.5f};
  EXPECT_NEAR(KlDivergence(a, b), 0.0, 1e-6);
}

// p = (3/4, 1/4), q = (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2).
TEST(FidelityTest, DivergenceOfTwoCoinsIsTheOneByHand) {
  const std::vector<float> p = {std::log(3.0f), 0.0f};
  const std::vector<float> q = {0.0f, 0.0f};
  EXPECT_NEAR(KlDivergence(p, q), 0.75 * std::log(1.5) + 0.25 * std::log(0.5), 1e-7);
}

TEST(FidelityTest, LargeLogitsDoNotOverflow) {
  const std::vector<float> p = {1e4f, 0.0f};
  const std::vector<float> q = {0.0f, 1e4f};
  EXPECT_NEAR(KlDivergence(p, q), 1e4, 1.0);
}

TEST(FidelityTest, LogitsThatAreNoNumbersAreFartherThanAnyAndNeverAgree) {
  const float nan = std::nanf("");
  for (const std::vector<float>& broken :
       {std::vector<float>{nan, 0.0f}, {0.0f, nan}, {nan, nan}}) {
    EXPECT_EQ(KlDivergence({{1.0f, 0.0f}}, broken), kNoDistributionKl);
    EXPECT_EQ(Compare({{1.0f, 0.0f}}, {broken}).top1_agreement, 0);
  }
  EXPECT_EQ(KlDivergence({{0.0f, 1.0f}}, std::vector<float>{1e9f, 0.0f}), kNoDistributionKl);
}

TEST(FidelityTest, AgreementCountsPositionsWithTheSameTopToken) {
  const Fidelity fidelity = Compare({{1, 0}, {0, 1}}, {{2, 0}, {1, 0}});
  EXPECT_EQ(fidelity.positions, 2u);
  EXPECT_DOUBLE_EQ(fidelity.top1_agreement, 0.5);
  EXPECT_GT(fidelity.kl_max, fidelity.kl_mean);
}

}  // namespace
}  // namespace kvcommons
