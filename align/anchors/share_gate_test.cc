// The test vectors of specs: KVCOMM §15 that concern the gate (TV2, TV5), its limits, and the
// defects of the published code that it does not have (D8, D14).

#include "align/anchors/share_gate.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

namespace kvcommons {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pointwise;

std::vector<std::size_t> Counted(std::vector<double> weights, AnchorProfile profile) {
  return CountedAnchors(weights, {.profile = profile});
}

MATCHER(IsNearPair, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) < 1e-6; }

TEST(ShareGate, TwoAnchorsThatAreAboutAsNearMakeAContentNew) {
  const std::vector<double> distances{std::sqrt(0.07), std::sqrt(0.72)};
  const ShareDecision decision = DecideByDistances(distances, {});
  EXPECT_THAT(decision.weights, Pointwise(IsNearPair(), {0.641976, 0.358024}));
  EXPECT_NEAR(decision.entropy_bits, 0.941030, 1e-6);
  EXPECT_NEAR(decision.limit_bits, 0.3, 1e-12);
  EXPECT_EQ(decision.reason, ShareReason::kSpread);
  EXPECT_THAT(decision.counted, IsEmpty());
  EXPECT_EQ(DecideByDistances(distances, {.gamma = 0.99}).reason, ShareReason::kNear);
}

TEST(ShareGate, AnAnchorThatIsClearlyNearestIsSharedAndCounted) {
  const std::vector<double> distances{0.1, 5, 4.254409};
  const ShareDecision decision = DecideByDistances(distances, {});
  EXPECT_THAT(decision.weights, Pointwise(IsNearPair(), {0.977382, 0.007278, 0.015340}));
  EXPECT_NEAR(decision.entropy_bits, 0.176398, 1e-6);
  EXPECT_NEAR(decision.limit_bits, 0.475489, 1e-6);
  EXPECT_EQ(decision.reason, ShareReason::kNear);
  EXPECT_THAT(decision.counted, ElementsAre(0));
  const ShareDecision published =
      DecideByDistances(distances, {.profile = AnchorProfile::kPublished});
  EXPECT_THAT(published.counted, ElementsAre(0, 2, 1));
}

TEST(ShareGate, LargeDistancesHaveWeightsToo) {
  const std::vector<double> distances{532, 533, 540};
  const ShareDecision decision = DecideByDistances(distances, {});
  EXPECT_THAT(decision.weights, Pointwise(IsNearPair(), {0.730879, 0.268875, 0.000245}));
  EXPECT_NEAR(decision.entropy_bits, 0.843030, 1e-6);
  EXPECT_EQ(decision.reason, ShareReason::kSpread);
}

TEST(ShareGate, AWeightOfZeroAddsNoEntropy) {
  const ShareDecision decision = DecideByDistances(std::vector<double>{0, 2000}, {});
  EXPECT_EQ(decision.weights[1], 0);
  EXPECT_EQ(decision.entropy_bits, 0);
  EXPECT_EQ(decision.reason, ShareReason::kNear);
}

TEST(ShareGate, ADistanceThatIsNoNumberMakesTheContentNew) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const ShareDecision decision = DecideByDistances(std::vector<double>{0, bad}, {.gamma = 1});
    EXPECT_EQ(decision.reason, ShareReason::kNotANumber);
  }
}

TEST(ShareGate, TheLimitItselfPasses) {
  for (std::size_t anchors = 2; anchors <= 40; ++anchors) {
    const ShareDecision decision =
        DecideByDistances(std::vector<double>(anchors, 7.5), {.gamma = 1});
    EXPECT_NEAR(decision.entropy_bits, decision.limit_bits, 1e-12) << anchors;
    EXPECT_EQ(decision.reason, ShareReason::kNear) << anchors;
  }
}

TEST(ShareGate, FewAnchorsDecideBeforeAnyRowIsComputed) {
  EXPECT_EQ(DecideByCounts(0, 0, 4), ShareReason::kFewAnchors);
  EXPECT_EQ(DecideByCounts(1, 1, 4), ShareReason::kFewAnchors);
  EXPECT_EQ(DecideByCounts(3, 1, 4), ShareReason::kFewLong);
  EXPECT_EQ(DecideByCounts(2, 2, 4), std::nullopt);
  EXPECT_EQ(DecideByCounts(0, 0, 0), ShareReason::kEmpty);
}

TEST(ShareGate, TheAnchorThatReachesTheNucleusCountsAndASharpMatchRewardsNobodyElse) {
  const AnchorProfile ours = AnchorProfile::kCorrected;
  EXPECT_THAT(Counted({.95, .03, .02}, ours), ElementsAre(0));
  EXPECT_THAT(Counted({.6, .25, .1, .05}, ours), ElementsAre(0, 1, 2));
  EXPECT_THAT(Counted({.85, .1, .05}, ours), ElementsAre(0, 1));
  EXPECT_THAT(Counted({.5, .5}, ours), ElementsAre(0, 1));
}

TEST(ShareGate, ThePublishedCountingLeavesItOutAndRewardsAllInstead) {
  const AnchorProfile published = AnchorProfile::kPublished;
  EXPECT_THAT(Counted({.95, .03, .02}, published), ElementsAre(0, 1, 2));
  EXPECT_THAT(Counted({.6, .25, .1, .05}, published), ElementsAre(0, 1));
  EXPECT_THAT(Counted({.85, .1, .05}, published), ElementsAre(0));
  EXPECT_THAT(Counted({.5, .5}, published), ElementsAre(0));
}

TEST(ShareGate, AnchorsAreCountedByWeightAndNotByPlace) {
  EXPECT_THAT(Counted({.1, .85, .05}, AnchorProfile::kCorrected), ElementsAre(1, 0));
}

}  // namespace
}  // namespace kvcommons
