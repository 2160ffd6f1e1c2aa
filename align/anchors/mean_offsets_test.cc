#include "align/anchors/mean_offsets.h"

#include <gmock/gmock.h>

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
  EXPECT_EQ(mean.bytes(), 4u * (3 + 3 + 6));
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

}  // namespace
}  // namespace kvcommons
