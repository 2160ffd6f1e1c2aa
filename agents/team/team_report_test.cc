#include "agents/team/team_report.h"

#include <gmock/gmock.h>

namespace kvcommons {
namespace {

using Json = nlohmann::json;

Json Line(double solver_kl, double judge_kl) {
  const auto agent = [](const char* name, double kl) {
    const Json mode = {{"mode", "C"},        {"kl", kl},        {"kl_first", 2 * kl},
                       {"top1", 1.0},        {"charged", 0.25}, {"uncorrected", 4},
                       {"blend_ms", 1.0},    {"place_ms", 2.0}, {"compute_ms", 3.0},
                       {"ttft_ms", 100 * kl}};
    return Json{{"agent", name}, {"ttft_dense_ms", 50.0}, {"base_ms", 7.0}, {"modes", {mode}}};
  };
  return {{"id", "x"}, {"agents", {agent("solver", solver_kl), agent("judge", judge_kl)}}};
}

Json Find(const Json& rows, const std::string& agent) {
  for (const Json& row : rows) {
    if (row["agent"] == agent) return row;
  }
  return Json();
}

TEST(TeamReport, MeansAreOverRequestsAndAllAgentsOfOneCountOnce) {
  const Json rows = TeamRowsOf({Line(0.1, 0.3), Line(0.3, 0.5), Line(0.2, 0.1)}, 1);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_NEAR(Find(rows, "solver")["kl"], 0.2, 1e-12);
  EXPECT_NEAR(Find(rows, "judge")["kl"], 0.3, 1e-12);
  const Json all = Find(rows, "all");
  EXPECT_NEAR(all["kl"], 0.25, 1e-12);
  EXPECT_EQ(all["cases"], 3);
  EXPECT_NEAR(all["kl_first"], 0.5, 1e-12);
  EXPECT_NEAR(all["ttft_ms"], 20, 1e-9);  // Of 20, 40 and 15.
  EXPECT_LE(all["kl_low"], all["kl"]);
  EXPECT_GE(all["kl_high"], all["kl"]);
  EXPECT_LT(all["kl_low"], all["kl_high"]);
  EXPECT_EQ(TeamRowsOf({Line(0.1, 0.3), Line(0.3, 0.5), Line(0.2, 0.1)}, 1), rows);
}

TEST(TeamReport, EqualRequestsHaveAnIntervalOfOnePoint) {
  const Json all = Find(TeamRowsOf({Line(0.1, 0.3), Line(0.1, 0.3)}, 1), "all");
  EXPECT_EQ(all["kl_low"], all["kl_high"]);
}

TEST(TeamReport, AnAgentThatAnsweredNothingHasNoRow) {
  Json line = Line(0.1, 0.3);
  line["agents"][1].erase("modes");
  const Json rows = TeamRowsOf({line}, 1);
  EXPECT_TRUE(Find(rows, "judge").is_null());
  EXPECT_NEAR(Find(rows, "all")["kl"], 0.1, 1e-12);
}

TEST(TeamReport, TheTableHasALineARow) {
  const std::string table = TeamTable(TeamRowsOf({Line(0.1, 0.3)}, 1));
  EXPECT_THAT(table, testing::HasSubstr("solver           C                  1  0.1000"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4);
}

}  // namespace
}  // namespace kvcommons
