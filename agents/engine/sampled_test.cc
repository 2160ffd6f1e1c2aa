#include "agents/engine/sampled.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvcommons {
namespace {

TEST(IsSampled, TakesTheShareThatIsAskedFor) {
  for (const double share : {0.0, 0.01, 0.3, 1.0}) {
    int count = 0;
    for (std::uint64_t i = 0; i < 100'000; ++i) count += IsSampled(1, i, share) ? 1 : 0;
    EXPECT_NEAR(count / 1e5, share, 4 * std::sqrt(share * (1 - share) / 1e5)) << share;
  }
}

TEST(IsSampled, DependsOnSeedAndIndexAlone) {
  int same = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(IsSampled(7, i, 0.5), IsSampled(7, i, 0.5));
    same += IsSampled(7, i, 0.5) == IsSampled(8, i, 0.5) ? 1 : 0;
  }
  EXPECT_NEAR(same, 500, 80);
}

}  // namespace
}  // namespace kvcommons
