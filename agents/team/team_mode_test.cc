#include "agents/team/team_mode.h"

#include <gmock/gmock.h>

namespace kvcommons {
namespace {

using testing::HasSubstr;

TEST(TeamMode, NamesSayWhatIsCorrectedAndWhatIsComputed) {
  const auto mean = ParseTeamMode("mean+seg+b4");
  ASSERT_TRUE(mean);
  EXPECT_EQ(mean->name, "mean+seg+b4");
  EXPECT_TRUE(mean->reuses && mean->computes_text);
  EXPECT_EQ(mean->slots, SlotCorrection::kMean);
  EXPECT_EQ(ParseTeamMode("trust+seg")->slots, SlotCorrection::kTrustedMean);
  EXPECT_EQ(mean->first_rows, 4u);
  const auto anchors = ParseTeamMode("C");
  ASSERT_TRUE(anchors);
  EXPECT_EQ(anchors->slots, SlotCorrection::kAnchors);
  EXPECT_FALSE(anchors->computes_text);
  EXPECT_TRUE(ParseTeamMode("C+seg")->computes_text);
  for (const char* name : {"turn", "mean", "trust", "R"}) {
    EXPECT_FALSE(ParseTeamMode(name)->computes_text) << name;
  }
  EXPECT_EQ(ParseTeamMode("R")->slots, SlotCorrection::kPublishedAnchors);
  EXPECT_EQ(ParseTeamMode("rotate")->slots, SlotCorrection::kNone);
  EXPECT_FALSE(ParseTeamMode("dense")->exact_prefix);
  EXPECT_TRUE(ParseTeamMode("exact")->exact_prefix);
  EXPECT_FALSE(ParseTeamMode("exact")->reuses);
}

TEST(TeamMode, UnknownNamesAreRefusedWithTheKnownOnes) {
  for (const char* name :
       {"", "median", "c", "dense+b4", "exact+b1", "C+b", "C+b4x", "C+bx", "+b4"}) {
    const auto mode = ParseTeamMode(name);
    ASSERT_FALSE(mode) << name;
    EXPECT_THAT(mode.error().message(), HasSubstr("known are dense, exact, rotate")) << name;
  }
}

TEST(TeamMode, RowsThatARuleChoosesAreAShareOfContentsWhoseTextIsComputed) {
  EXPECT_EQ(ParseTeamMode("trust+seg+d10")->design_percent, 10U);
  EXPECT_EQ(ParseTeamMode("trust+seg+d10")->slots, SlotCorrection::kTrustedMean);
  EXPECT_EQ(ParseTeamMode("compose")->design_percent, 17U);
  EXPECT_EQ(ParseTeamMode("compose")->slots, SlotCorrection::kNone);
  EXPECT_EQ(ParseTeamMode("compose")->name, "compose");
  EXPECT_TRUE(ParseTeamMode("rotate+d100"));
  EXPECT_EQ(ParseTeamMode("rotate+d101").error().message(),
            "percent behind +d are 101; the limit is 1 to 100");
  for (const char* name : {"mean+d10", "rotate+b4+d10", "dense+d10", "compose+b4"}) {
    EXPECT_FALSE(ParseTeamMode(name)) << name;
  }
}

TEST(TeamMode, FirstRowsAreLimited) {
  EXPECT_TRUE(ParseTeamMode("C+b1024"));
  EXPECT_EQ(ParseTeamMode("C+b1025").error().message(),
            "rows behind +b are 1025; the limit is 1 to 1024");
  EXPECT_EQ(ParseTeamMode("C+b0").error().message(),
            "rows behind +b are 0; the limit is 1 to 1024");
}

}  // namespace
}  // namespace kvcommons
