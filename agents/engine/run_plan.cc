#include "agents/engine/run_plan.h"

#include <algorithm>
#include <string>

namespace kvcommons {
namespace {

std::string Text(const TokenRun& run) {
  return "[" + std::to_string(run.begin) + ", " + std::to_string(run.end) + ")";
}

}  // namespace

std::vector<TokenRun> JoinClosest(std::vector<TokenRun> runs, std::size_t max_runs) {
  if (runs.size() <= max_runs) return runs;
  std::vector<std::size_t> by_gap;  // i: the gap before runs[i]
  for (std::size_t i = 1; i < runs.size(); ++i) by_gap.push_back(i);
  const auto gap = [&runs](std::size_t i) { return runs[i].begin - runs[i - 1].end; };
  std::stable_sort(by_gap.begin(), by_gap.end(),
                   [&gap](std::size_t a, std::size_t b) { return gap(a) < gap(b); });
  std::vector<bool> joined(runs.size(), false);
  for (std::size_t i = 0; i < runs.size() - max_runs; ++i) joined[by_gap[i]] = true;
  std::vector<TokenRun> result;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (joined[i]) {
      result.back().end = runs[i].end;
    } else {
      result.push_back(runs[i]);
    }
  }
  return result;
}

Result<std::vector<TokenRun>> PlanRuns(std::span<const TokenRun> runs, std::size_t prompt_tokens,
                                       std::span<const std::int32_t> cell_of_position,
                                       Position first, std::size_t max_runs) {
  if (runs.empty()) return Fail(InvalidArgument("runs is empty; at least 1 row must be computed"));
  std::vector<TokenRun> plan;
  Position at = first;
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
  return JoinClosest(std::move(plan), max_runs);
}

}  // namespace kvcommons
