#include "align/anchors/mean_offsets.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <vector>

namespace kvcommons {
namespace {

using testing::ElementsAre;

// Two planes, of one and of two elements a row.
TEST(MeanOffsets, EveryPositionIsTheMeanOfTheContentsThatReachIt) {
  MeanOffsets mean({1, 2});
  mean.Add(std::vector<float>{2, 4, /**/ 1, 1, 3, 3}, 2);
  mean.Add(std::vector<float>{4, /**/ 5, 7}, 1);
  mean.Add(std::vector<float>{6, 8, 9, /**/ 0, 1, 1, 1, 6, 6}, 3);
  EXPECT_THAT(mean.counts(), ElementsAre(3, 2, 1));
  EXPECT_THAT(mean.plane(0), ElementsAre(4, 6, 9));
  EXPECT_THAT(mean.plane(1), ElementsAre(2, 3, 2, 2, 6, 6));
  EXPECT_EQ(mean.rows(), 3u);
  EXPECT_EQ(mean.bytes(), 4u * (3 + 3 + 6 + 2 * 3));
}

TEST(MeanOffsets, PositionsThatFewContentsReachedAreNotCovered) {
  MeanOffsets mean({1});
  EXPECT_EQ(mean.CoveredRows(1), 0u);
  mean.Add(std::vector<float>{1, 1, 1}, 3);
  mean.Add(std::vector<float>{1, 1}, 2);
  EXPECT_EQ(mean.CoveredRows(1), 3u);
  EXPECT_EQ(mean.CoveredRows(2), 2u);
  EXPECT_EQ(mean.CoveredRows(3), 0u);
}

TEST(MeanOffsets, ACopyIsASnapshot) {
  MeanOffsets mean({1});
  mean.Add(std::vector<float>{1}, 1);
  const MeanOffsets before = mean;
  mean.Add(std::vector<float>{3}, 1);
  EXPECT_THAT(before.plane(0), ElementsAre(1));
  EXPECT_THAT(mean.plane(0), ElementsAre(2));
}

TEST(MeanOffsets, AnEmptyContentAddsNothing) {
  MeanOffsets mean({1});
  mean.Add({}, 0);
  EXPECT_EQ(mean.rows(), 0u);
}

TEST(MeanOffsets, AMeanIsTrustedAsFarAsItIsMoreThanChance) {
  MeanOffsets mean({4, 4});
  const std::vector<float> one = {1, 1, 1, 1, 2, -2, 0, 0}, two = {1, 1, 1, 1, -2, 2, 0, 0};
  mean.Add(one, 1);
  EXPECT_EQ(mean.Trust(0, 0), 0.0F) << "one offset says nothing of how far others lie";
  mean.Add(two, 1);
  EXPECT_EQ(mean.Trust(0, 0), 1.0F) << "all are equal";
  EXPECT_EQ(mean.Trust(1, 0), 0.0F) << "they have nothing in common";
  // |m|² = 4, s = 8, v = 4 · 3 ÷ 2 = 6: (4 − 6 ÷ 3) ÷ 4.
  MeanOffsets half({4});
  half.Add(std::vector<float>{3, 0, 0, 0}, 1);
  half.Add(std::vector<float>{3, 2, 0, 1}, 1);
  half.Add(std::vector<float>{0, -2, 0, -1}, 1);
  const float square = 4, mean_square = (9.0F + 14.0F + 5.0F) / 3;
  const float apart = (mean_square - square) * 3 / 2;
  EXPECT_NEAR(half.Trust(0, 0), std::max(0.0F, (square - apart / 3) / square), 1e-6F);
}

}  // namespace
}  // namespace kvcommons
