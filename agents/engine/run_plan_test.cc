#include "agents/engine/run_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace kvcommons {
namespace {

std::vector<std::int32_t> Held(std::size_t tokens, std::vector<Position> holes = {}) {
  std::vector<std::int32_t> cells(tokens);
  for (std::size_t i = 0; i < tokens; ++i) cells[i] = static_cast<std::int32_t>(i);
  for (const Position hole : holes) cells[static_cast<std::size_t>(hole)] = -1;
  return cells;
}

std::vector<std::pair<Position, Position>> Pairs(const std::vector<TokenRun>& runs) {
  std::vector<std::pair<Position, Position>> pairs;
  for (const TokenRun& run : runs) pairs.emplace_back(run.begin, run.end);
  return pairs;
}

TEST(RunPlan, JoinsAdjacentRuns) {
  const std::vector<TokenRun> runs{{2, 4}, {4, 6}, {8, 9}};
  const auto plan = PlanRuns(runs, 10, Held(10), 0, 250);
  ASSERT_TRUE(plan);
  EXPECT_THAT(Pairs(*plan), testing::ElementsAre(testing::Pair(2, 6), testing::Pair(8, 9)));
}

TEST(RunPlan, JoinsTheClosestRunsWhereThereAreTooMany) {
  const std::vector<TokenRun> runs{{0, 1}, {5, 6}, {7, 8}, {20, 21}, {23, 24}};
  const auto plan = PlanRuns(runs, 30, Held(30), 0, 3);
  ASSERT_TRUE(plan);
  EXPECT_THAT(Pairs(*plan), testing::ElementsAre(testing::Pair(0, 1), testing::Pair(5, 8),
                                                 testing::Pair(20, 24)));
}

TEST(RunPlan, KeepsAsManyRunsAsAllowed) {
  std::vector<TokenRun> runs;
  for (Position i = 0; i < 250; ++i) runs.push_back({2 * i, 2 * i + 1});
  EXPECT_EQ(PlanRuns(runs, 500, Held(500), 0, 250)->size(), 250U);
  runs.push_back({500, 501});
  EXPECT_EQ(PlanRuns(runs, 501, Held(501), 0, 250)->size(), 250U);
}

TEST(RunPlan, RefusesRunsOutOfOrderEmptyOrBeyondThePrompt) {
  const auto cells = Held(10);
  using Runs = std::vector<TokenRun>;
  const std::vector<Runs> bad{Runs{},        Runs{{4, 4}},         Runs{{4, 3}},
                              Runs{{-1, 3}}, Runs{{5, 6}, {2, 3}}, Runs{{2, 5}, {4, 6}},
                              Runs{{9, 11}}};
  for (const Runs& runs : bad) {
    const auto plan = PlanRuns(runs, 10, cells, 0, 250);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code(), Code::kInvalidArgument) << plan.error().ToString();
  }
}

TEST(RunPlan, RefusesToAttendToAPositionThatNobodyHolds) {
  const std::vector<TokenRun> runs{{2, 3}, {6, 7}};
  const auto plan = PlanRuns(runs, 10, Held(10, {4}), 0, 250);
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message(), testing::HasSubstr("position 4"));
  EXPECT_TRUE(PlanRuns(runs, 10, Held(10, {2, 6, 8}), 0, 250)) << "computed rows need not be held";
}

TEST(RunPlan, StartsWhereTheCallerSays) {
  const std::vector<TokenRun> runs{{5, 8}};
  EXPECT_TRUE(PlanRuns(runs, 8, Held(10, {0, 1, 2, 3, 4}), 5, 250));
  EXPECT_FALSE(PlanRuns(runs, 8, Held(10, {0, 1, 2, 3, 4}), 0, 250));
}

}  // namespace
}  // namespace kvcommons
