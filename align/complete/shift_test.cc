#include "align/complete/shift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace kvcommons {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(MeanResidualTest, IsTheMeanOfEveryColumn) {
  const std::vector<float> residuals{1, 10, 3, 30, 5, -10};
  EXPECT_THAT(*MeanResidual(residuals, 2), ElementsAre(3, 10));
}

TEST(MeanResidualTest, WithoutProbesThereIsNone) { EXPECT_THAT(*MeanResidual({}, 4), IsEmpty()); }

TEST(MeanResidualTest, RefusesHalfARowNotANumberAndColumnsOutOfLimits) {
  const std::vector<float> half{1, 2, 3}, bad{1, NAN};
  EXPECT_THAT(MeanResidual(half, 2).error().message(), HasSubstr("residuals has 3 numbers"));
  EXPECT_THAT(MeanResidual(bad, 2).error().message(), HasSubstr("residuals[1] is not finite"));
  EXPECT_THAT(MeanResidual({}, 0).error().message(), HasSubstr("columns is 0"));
  EXPECT_TRUE(MeanResidual({}, kMaxShiftColumns).has_value());
  EXPECT_FALSE(MeanResidual({}, kMaxShiftColumns + 1).has_value());
}

TEST(ShiftWeightsTest, AreRelativeToTheProbesAndAtMostOne) {
  // Divergences 4, 2, 1, 0, 5; the probes' mean is 3.
  const std::vector<float> deviation{16, 4, 1, 0, 25};
  const std::vector<std::size_t> probes{0, 1};
  const auto weights = ShiftWeights(deviation, probes);
  ASSERT_TRUE(weights.has_value());
  EXPECT_THAT(*weights, ElementsAre(0, 0, 1.0F / 3, 0, 1));
}

TEST(ShiftWeightsTest, AChunkWithoutProbesOrWithoutDivergenceIsLeftAlone) {
  const std::vector<float> deviation{1, 2, 3}, none{0, 0, 5};
  const std::vector<std::size_t> probes{0, 1};
  EXPECT_THAT(*ShiftWeights(deviation, {}), Each(0.0F));
  EXPECT_THAT(*ShiftWeights(none, probes), Each(0.0F));
}

TEST(ShiftWeightsTest, RefusesProbesThatAreNotOfTheChunkOrNotInOrder) {
  const std::vector<float> deviation{1, 2, 3};
  for (const std::vector<std::size_t>& probes :
       {std::vector<std::size_t>{3}, std::vector<std::size_t>{1, 1},
        std::vector<std::size_t>{2, 0}}) {
    const auto weights = ShiftWeights(deviation, probes);
    ASSERT_FALSE(weights.has_value());
    EXPECT_THAT(weights.error().message(), HasSubstr("indices ascend and are below 3"));
  }
  EXPECT_TRUE(ShiftWeights(deviation, std::vector<std::size_t>{2}).has_value());
}

TEST(ShiftWeightsTest, RefusesADeviationThatIsNoSumOfSquares) {
  for (const float bad : {-1.0F, NAN, std::numeric_limits<float>::infinity()}) {
    const std::vector<float> deviation{1, bad};
    EXPECT_THAT(ShiftWeights(deviation, {}).error().message(), HasSubstr("deviation[1] is"));
  }
}

TEST(ShiftTest, RowsThatErrOneWayAsFarAsTheyDivergeAreRecoveredWithinTheProbes) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  constexpr std::size_t kRows = 30, kColumns = 6, kProbes = 7;
  std::vector<double> direction(kColumns), strength(kRows);
  for (double& x : direction) x = normal(random);
  for (double& x : strength) x = std::abs(normal(random));
  std::sort(strength.rbegin(), strength.rend());  // The first rows diverge most: the probes.
  std::vector<float> deviation, residuals;
  std::vector<std::size_t> probes;
  for (std::size_t i = 0; i < kRows; ++i) {
    deviation.push_back(static_cast<float>(strength[i] * strength[i]));
    if (i >= kProbes) continue;
    probes.push_back(i);
    for (const double d : direction) residuals.push_back(static_cast<float>(strength[i] * d));
  }
  const auto mean = MeanResidual(residuals, kColumns);
  const auto weights = ShiftWeights(deviation, probes);
  ASSERT_TRUE(mean.has_value() && weights.has_value());
  for (std::size_t i = kProbes; i < kRows; ++i) {
    std::vector<float> row(kColumns, 2.0F);
    AddShift((*weights)[i], *mean, row);
    for (std::size_t c = 0; c < kColumns; ++c) {
      EXPECT_NEAR(row[c], 2 + strength[i] * direction[c], 1e-5 * (1 + std::abs(direction[c])));
    }
  }
}

TEST(ShiftTest, AWeightOfZeroChangesNoBit) {
  std::vector<float> row{0.1F, -3.7F};
  const std::vector<float> before = row, mean{5, 6};
  AddShift(0, mean, row);
  EXPECT_EQ(row, before);
}

}  // namespace
}  // namespace kvcommons
