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
  const auto plan = PlanRuns(runs, 10, Held(10));
  ASSERT_TRUE(plan);
  EXPECT_THAT(Pairs(*plan), testing::ElementsAre(testing::Pair(2, 6), testing::Pair(8, 9)));
}

TEST(RunPlan, RefusesRunsOutOfOrderEmptyOrBeyondThePrompt) {
  const auto cells = Held(10);
  using Runs = std::vector<TokenRun>;
  const std::vector<Runs> bad{Runs{},        Runs{{4, 4}},         Runs{{4, 3}},
                              Runs{{-1, 3}}, Runs{{5, 6}, {2, 3}}, Runs{{2, 5}, {4, 6}},
                              Runs{{9, 11}}};
  for (const Runs& runs : bad) {
    const auto plan = PlanRuns(runs, 10, cells);
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code(), Code::kInvalidArgument) << plan.error().ToString();
  }
}

TEST(RunPlan, RefusesToAttendToAPositionThatNobodyHolds) {
  const std::vector<TokenRun> runs{{2, 3}, {6, 7}};
  const auto plan = PlanRuns(runs, 10, Held(10, {4}));
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message(), testing::HasSubstr("position 4"));
  EXPECT_TRUE(PlanRuns(runs, 10, Held(10, {2, 6, 8}))) << "computed rows need not be held";
}

}  // namespace
}  // namespace kvcommons
