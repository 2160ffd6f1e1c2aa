#include "agents/engine/run_plan.h"

#include <string>

namespace kvcommons {
namespace {

std::string Text(const TokenRun& run) {
  return "[" + std::to_string(run.begin) + ", " + std::to_string(run.end) + ")";
}

}  // namespace

Result<std::vector<TokenRun>> PlanRuns(std::span<const TokenRun> runs, std::size_t prompt_tokens,
                                       std::span<const std::int32_t> cell_of_position) {
  if (runs.empty()) return Fail(InvalidArgument("runs is empty; at least 1 row must be computed"));
  std::vector<TokenRun> plan;
  Position at = 0;
  for (const TokenRun& run : runs) {
    if (run.begin < at || run.end <= run.begin) {
      return Fail(InvalidArgument("run " + Text(run) +
                                  " is empty or out of order; runs ascend from " +
                                  std::to_string(at)));
    }
    if (static_cast<std::size_t>(run.end) > prompt_tokens) {
      return Fail(InvalidArgument("run " + Text(run) + " ends beyond the prompt; the limit is " +
                                  std::to_string(prompt_tokens)));
    }
    for (Position p = at; p < run.begin; ++p) {
      const auto index = static_cast<std::size_t>(p);
      if (index >= cell_of_position.size() || cell_of_position[index] < 0) {
        return Fail(InvalidArgument(
            "run " + Text(run) + " would attend to position " + std::to_string(p) +
            ", which is neither held nor computed; place it or add it to the runs"));
      }
    }
    at = run.end;
    if (!plan.empty() && plan.back().end == run.begin) {
      plan.back().end = run.end;
    } else {
      plan.push_back(run);
    }
  }
  return plan;
}

}  // namespace kvcommons
