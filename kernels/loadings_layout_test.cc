// Where loadings lie: no two values share a place, nothing lies beyond the end.

#include "kernels/loadings_layout.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace kvcommons {
namespace {

TEST(LoadingsLayoutTest, EveryPlaneAndTheMeanHaveTheirRowsAndThenTheirResidue) {
  const LoadingsLayout layout{.planes = 6, .rows = 4, .rank = 2};
  ASSERT_EQ(layout.Bytes(), (6u + 1) * (4 * 2 + 1) * 4);
  std::vector<float> floats(layout.Bytes() / sizeof(float));
  std::iota(floats.begin(), floats.end(), 0.0f);
  float next = 0;
  for (std::size_t plane = 0; plane <= layout.mean(); ++plane) {
    const auto values = layout.Plane(floats.data(), plane);
    ASSERT_EQ(values.size(), 8u);
    for (const float value : values) EXPECT_EQ(value, next++);
    EXPECT_EQ(layout.Residue(floats.data(), plane), next++);
  }
  EXPECT_EQ(next, static_cast<float>(floats.size()));
}

TEST(LoadingsLayoutTest, LoadingsBeginAtTheNextMultipleOf64) {
  EXPECT_EQ(LoadingsLayout::OffsetBytes(0), 0u);
  EXPECT_EQ(LoadingsLayout::OffsetBytes(1), 64u);
  EXPECT_EQ(LoadingsLayout::OffsetBytes(64), 64u);
  EXPECT_EQ(LoadingsLayout::OffsetBytes(65), 128u);
  EXPECT_EQ(LoadingsLayout::BlockBytes(65, 12), 140u);
}

TEST(LoadingsLayoutTest, ABlockWithoutLoadingsIsItsPlanesAlone) {
  EXPECT_EQ((LoadingsLayout{.planes = 6, .rows = 4, .rank = 0}).Bytes(), 0u);
  EXPECT_EQ(LoadingsLayout::BlockBytes(65, 0), 65u);
}

}  // namespace
}  // namespace kvcommons
