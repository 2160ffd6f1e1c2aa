// What one measurement of `kvcommons bench` answers, and how it is printed.

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

namespace kvcommons {

enum class Better { kHigher, kLower };
// What the goal is compared with: value / bound, value - bound, or the value alone.
enum class GoalOf { kRatio, kDifference, kValue };

struct BenchResult {
  std::string name;
  std::string unit;
  std::vector<double> values;  // one a repeat; the median is reported
  std::vector<double> bounds;  // empty: there is none
  std::string bound_name;
  double goal = 0;
  GoalOf goal_of = GoalOf::kRatio;
  Better better = Better::kHigher;
  std::uint32_t batch_blocks = 0;  // blocks that one repeat or call moves
  std::string note;                // figures beside it, for people

  double value() const;
  std::optional<double> bound() const;
  std::optional<double> ratio() const;
  bool reached() const;
};

// REQUIRES: not empty.
double MedianOf(std::vector<double> samples);

nlohmann::json ToJson(const BenchResult& result);
void PrintTable(const std::vector<BenchResult>& results, std::ostream& out);

}  // namespace kvcommons
