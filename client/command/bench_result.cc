#include "client/command/bench_result.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "client/command/table.h"

namespace kvcommons {
namespace {

using nlohmann::json;

std::string SpreadOf(const std::vector<double>& samples, int digits) {
  const auto [least, most] = std::minmax_element(samples.begin(), samples.end());
  return FormatNumber(*least, digits) + ".." + FormatNumber(*most, digits);
}

std::string GoalText(const BenchResult& result) {
  const std::string sign = result.better == Better::kHigher ? ">= " : "<= ";
  switch (result.goal_of) {
    case GoalOf::kRatio:
      return "ratio " + sign + FormatNumber(result.goal, 2);
    case GoalOf::kDifference:
      return "bound + " + FormatNumber(result.goal, 0) + " " + result.unit;
    case GoalOf::kValue:
      return sign + FormatNumber(result.goal, 1) + " " + result.unit;
  }
  return "";
}

}  // namespace

double MedianOf(std::vector<double> samples) {
  KVC_ASSERT(!samples.empty());
  std::sort(samples.begin(), samples.end());
  const std::size_t middle = samples.size() / 2;
  return samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
}

double BenchResult::value() const { return MedianOf(values); }

std::optional<double> BenchResult::bound() const {
  return bounds.empty() ? std::nullopt : std::optional(MedianOf(bounds));
}

std::optional<double> BenchResult::ratio() const {
  return bounds.empty() ? std::nullopt : std::optional(value() / *bound());
}

bool BenchResult::reached() const {
  const double figure = goal_of == GoalOf::kRatio        ? *ratio()
                        : goal_of == GoalOf::kDifference ? value() - *bound()
                                                         : value();
  return better == Better::kHigher ? figure >= goal : figure <= goal;
}

json ToJson(const BenchResult& result) {
  json object = {{"name", result.name},
                 {"value", result.value()},
                 {"unit", result.unit},
                 {"bound", nullptr},
                 {"bound_name", nullptr},
                 {"ratio", nullptr},
                 {"goal", result.goal},
                 {"better", result.better == Better::kHigher ? "higher" : "lower"},
                 {"batch_blocks", result.batch_blocks},
                 {"reached", result.reached()},
                 {"samples", result.values},
                 {"bound_samples", result.bounds},
                 {"note", result.note}};
  if (!result.bounds.empty()) {
    object["bound"] = *result.bound();
    object["bound_name"] = result.bound_name;
    object["ratio"] = *result.ratio();
  }
  return object;
}

void PrintTable(const std::vector<BenchResult>& results, std::ostream& out) {
  using Align = Table::Align;
  Table table({{"PATH"},
               {"MEDIAN", Align::kRight},
               {"UNIT"},
               {"MIN..MAX", Align::kRight},
               {"BOUND", Align::kRight},
               {"MIN..MAX", Align::kRight},
               {"RATIO", Align::kRight},
               {"GOAL"},
               {""},
               {"BOUND IS"}});
  for (const BenchResult& result : results) {
    const int digits = result.unit == "us" ? 1 : 3;
    const bool has_bound = !result.bounds.empty();
    table.AddRow({result.name, FormatNumber(result.value(), digits), result.unit,
                  SpreadOf(result.values, digits),
                  has_bound ? FormatNumber(*result.bound(), digits) : "-",
                  has_bound ? SpreadOf(result.bounds, digits) : "-",
                  has_bound ? FormatNumber(*result.ratio(), 2) : "-", GoalText(result),
                  result.reached() ? "reached" : "missed", result.bound_name});
  }
  table.Print(out);
  for (const BenchResult& result : results) {
    if (!result.note.empty()) out << result.name << ": " << result.note << '\n';
  }
}

}  // namespace kvcommons
