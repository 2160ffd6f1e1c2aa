// What a team's run is reported as: hits apart from what everything came to.

#include "agents/team/team_run_report.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

using Json = nlohmann::json;

Json Call(const char* agent, int anchored, double ttft_ms) {
  return {{"agent", agent},
          {"mode", anchored > 0 ? "mean+seg" : "exact"},
          {"anchored", anchored},
          {"reason", anchored > 0 ? "corrected" : "few_deposits"},
          {"ttft_ms", ttft_ms},
          {"plan_ms", 1},
          {"gate_ms", 2},
          {"weights_ms", 3},
          {"blend_ms", 4},
          {"place_ms", 5},
          {"last_ms", 6},
          {"base_ms", anchored > 0 ? 0 : 100},
          {"charged", anchored > 0 ? 0.1 : 1},
          {"answer_base_ms", 7},
          {"finish_ms", 8}};
}

TEST(TeamRunReport, HitsAreShownApartAndAllCallsAreChargedForWhatTheyTook) {
  Json first = Call("solver", 0, 1000), second = Call("solver", 40, 100);
  Json third = Call("solver", 40, 120);
  for (Json* call : {&second, &third}) {
    (*call)["ttft_dense_ms"] = 900;
    (*call)["ttft_exact_ms"] = 800;
    (*call)["kl_first"] = (*call)["kl"] = call == &second ? 0.01 : 0.03;
    (*call)["top1"] = 1;
    (*call)["same_answer"] = call == &second;
  }
  const Json report =
      TeamRunReport({{{"agents", {first}}}, {{"agents", {second}}}, {{"agents", {third}}}});
  ASSERT_EQ(report["agents"].size(), 1u);
  const Json& solver = report["agents"][0];
  EXPECT_EQ(solver["calls"], 3);
  EXPECT_EQ(solver["hits"], 2);
  EXPECT_EQ(solver["mode"], "mean+seg");
  EXPECT_EQ(solver["reason"], "corrected");
  EXPECT_EQ(solver["ttft_ms"], 120);  // the upper of two
  EXPECT_NEAR(solver["ttft_all_ms"], (1000 + 100 + 100 + 120) / 3.0 + 15, 1e-9);
  EXPECT_EQ(solver["base_ms"], 0);
  EXPECT_NEAR(solver["kl"], 0.02, 1e-12);
  EXPECT_NEAR(solver["charged"], 0.1, 1e-12);
  for (const char* field : {"ttft_dense_ms", "ttft_exact_ms", "gate_ms", "weights_ms", "blend_ms",
                            "place_ms", "last_ms", "top1"}) {
    EXPECT_TRUE(solver.contains(field)) << field;
  }
  EXPECT_NEAR(report["reuse_rate"], 2 / 3.0, 1e-12);
  EXPECT_EQ(report["answer_agreement"], 0.5);
  EXPECT_EQ(report["cases"], 3);
}

TEST(TeamRunReport, WithoutAHitTheCallsThemselvesAreShownAndNothingIsMadeUp) {
  const Json report = TeamRunReport({{{"agents", {Call("judge", 0, 500)}}}});
  const Json& judge = report["agents"][0];
  EXPECT_EQ(judge["hits"], 0);
  EXPECT_EQ(judge["mode"], "exact");
  EXPECT_EQ(judge["reason"], "few_deposits");
  EXPECT_EQ(judge["ttft_ms"], 500);
  for (const char* field : {"kl", "top1", "ttft_dense_ms", "ttft_exact_ms"}) {
    EXPECT_FALSE(judge.contains(field)) << field;
  }
  EXPECT_FALSE(report.contains("answer_agreement"));
  EXPECT_EQ(report["reuse_rate"], 0);
}

}  // namespace
}  // namespace kvcommons
