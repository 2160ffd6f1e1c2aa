#include "align/complete/shift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
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

TEST(ShiftLoadingsTest, AreTheWeightsOfBothPlanesSideBySide) {
  const std::vector<float> key{16, 4, 1, 0}, value{1, 1, 0, 25};
  const std::vector<std::size_t> probes{0, 1};
  const auto loadings = ShiftLoadings(key, value, probes);
  ASSERT_TRUE(loadings.has_value());
  EXPECT_THAT(*loadings, ElementsAre(0, 0, 0, 0, 1.0F / 3, 0, 0, 1));
  EXPECT_THAT(ShiftedRows(*loadings), ElementsAre(2, 3));
}

TEST(ShiftLoadingsTest, RefuseWhatWeightsRefuseAndPlanesOfUnequalLength) {
  const std::vector<float> three{1, 2, 3}, two{1, 2}, bad{1, NAN, 3};
  EXPECT_THAT(ShiftLoadings(three, two, {}).error().message(),
              HasSubstr("value_deviation has 2 rows; key_deviation has 3"));
  EXPECT_THAT(ShiftLoadings(bad, three, {}).error().message(), HasSubstr("deviation[1] is"));
  EXPECT_THAT(ShiftLoadings(three, bad, {}).error().message(), HasSubstr("deviation[1] is"));
}

TEST(ShiftLoadingsTest, WithoutProbesNoRowMoves) {
  const std::vector<float> deviation{1, 2, 3};
  EXPECT_THAT(ShiftedRows(*ShiftLoadings(deviation, deviation, {})), IsEmpty());
}

TEST(ShiftGainTest, KeepsThePlanesApart) {
  const std::vector<float> mean{1, 2, 3, 4};
  EXPECT_THAT(ShiftGain(mean), ElementsAre(1, 2, 0, 0, 0, 0, 3, 4));
}

TEST(ShiftTest, RowsThatErrOneWayAsFarAsTheyDivergeAreRecoveredWithinTheProbes) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  // Keys in the first half of the columns, values in the second: each errs by a strength of its
  // own. The first rows diverge most: the probes.
  constexpr std::size_t kRows = 30, kColumns = 6, kProbes = 7;
  std::vector<double> direction(kColumns);
  std::array<std::vector<double>, kShiftRank> strength;
  std::array<std::vector<float>, kShiftRank> deviation;
  for (double& x : direction) x = normal(random);
  for (std::size_t plane = 0; plane < kShiftRank; ++plane) {
    for (std::size_t i = 0; i < kRows; ++i) strength[plane].push_back(std::abs(normal(random)));
    std::sort(strength[plane].rbegin(), strength[plane].rend());
    for (const double x : strength[plane]) deviation[plane].push_back(static_cast<float>(x * x));
  }
  const auto error = [&](std::size_t row, std::size_t column) {
    return strength[column < kColumns / 2 ? 0 : 1][row] * direction[column];
  };
  std::vector<float> residuals;
  std::vector<std::size_t> probes;
  for (std::size_t i = 0; i < kProbes; ++i) {
    probes.push_back(i);
    for (std::size_t c = 0; c < kColumns; ++c) residuals.push_back(static_cast<float>(error(i, c)));
  }
  const auto mean = MeanResidual(residuals, kColumns);
  const auto loadings = ShiftLoadings(deviation[0], deviation[1], probes);
  ASSERT_TRUE(mean.has_value() && loadings.has_value());
  const std::vector<float> gain = ShiftGain(*mean);
  for (std::size_t i = 0; i < kRows; ++i) {
    for (std::size_t c = 0; c < kColumns; ++c) {
      double moved = 0;
      for (std::size_t k = 0; k < kShiftRank; ++k) {
        moved += double{(*loadings)[i * kShiftRank + k]} * gain[k * kColumns + c];
      }
      EXPECT_NEAR(moved, i < kProbes ? 0 : error(i, c), 1e-5 * (1 + std::abs(direction[c])));
    }
  }
}

}  // namespace
}  // namespace kvcommons
