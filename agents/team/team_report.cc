#include "agents/team/team_report.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <tuple>
#include <utility>

namespace kvcommons {
namespace {

using Json = nlohmann::json;
constexpr const char* kMeans[] = {"kl", "kl_first", "top1", "charged", "uncorrected"};
constexpr const char* kMedians[] = {"ttft_ms", "blend_ms", "place_ms", "compute_ms"};

// Numbers by name; one a request.
using Series = std::map<std::string, std::vector<double>>;

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// 5 % and 95 % of the means of as many, drawn with repeats.
std::pair<double, double> Interval(const std::vector<double>& values, std::uint64_t seed) {
  constexpr std::size_t kResamples = 2000;
  std::mt19937_64 random(seed);
  std::vector<double> means(kResamples);
  for (double& mean : means) {
    double sum = 0;
    for (std::size_t i = 0; i < values.size(); ++i) sum += values[random() % values.size()];
    mean = sum / static_cast<double>(values.size());
  }
  std::sort(means.begin(), means.end());
  return {means[kResamples / 20], means[kResamples - kResamples / 20 - 1]};
}

Json RowOf(const std::string& agent, const std::string& mode, const Series& series,
           std::uint64_t seed) {
  Json row = {{"agent", agent}, {"mode", mode}, {"cases", series.at("kl").size()}};
  for (const char* field : kMeans) row[field] = Mean(series.at(field));
  std::tie(row["kl_low"], row["kl_high"]) = Interval(series.at("kl"), seed);
  for (const char* field : kMedians) row[field] = Median(series.at(field));
  row["ttft_dense_ms"] = Median(series.at("ttft_dense_ms"));
  row["base_ms"] = Median(series.at("base_ms"));
  return row;
}

}  // namespace

Json TeamRowsOf(const std::vector<Json>& lines, std::uint64_t seed) {
  std::vector<std::string> agents, modes;
  std::map<std::pair<std::string, std::string>, Series> by_agent;
  std::map<std::string, Series> of_all;
  const auto note = [](std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const Json& line : lines) {
    std::map<std::string, Series> of_request;
    for (const Json& agent : line["agents"]) {
      if (!agent.contains("modes")) continue;
      note(agents, agent["agent"]);
      for (const Json& one : agent["modes"]) {
        note(modes, one["mode"]);
        for (Series* series :
             {&by_agent[{agent["agent"], one["mode"]}], &of_request[one["mode"]]}) {
          for (const char* field : kMeans) (*series)[field].push_back(one[field]);
          for (const char* field : kMedians) (*series)[field].push_back(one[field]);
          (*series)["ttft_dense_ms"].push_back(agent["ttft_dense_ms"]);
          const std::string mode = one["mode"];
          const bool reuses = mode != "dense" && mode != "exact" && mode != "control";
          (*series)["base_ms"].push_back(reuses ? agent["base_ms"].get<double>() : 0.0);
        }
      }
    }
    for (const auto& [mode, series] : of_request) {
      for (const auto& [field, values] : series) of_all[mode][field].push_back(Mean(values));
    }
  }
  Json rows = Json::array();
  for (const std::string& agent : agents) {
    for (const std::string& mode : modes) {
      const auto found = by_agent.find({agent, mode});
      if (found != by_agent.end()) rows.push_back(RowOf(agent, mode, found->second, seed));
    }
  }
  for (const std::string& mode : modes) rows.push_back(RowOf("all", mode, of_all.at(mode), seed));
  return rows;
}

std::string TeamTable(const Json& rows) {
  std::string table =
      "agent            mode           cases      KL  90 %            first  top-1  charged   bare "
      "  dense  "
      "  TTFT   base   gain\n";
  for (const Json& row : rows) {
    char line[256];
    const double dense = row["ttft_dense_ms"], ttft = row["ttft_ms"], base = row["base_ms"];
    std::snprintf(
        line, sizeof line,
        "%-16.16s %-14.14s %5d  %6.4f  %6.4f, %6.4f  %6.4f  %5.3f    %5.3f  %5.0f  %6.0f  %6.0f "
        "%6.0f  %4.1fx\n",
        row["agent"].get<std::string>().c_str(), row["mode"].get<std::string>().c_str(),
        row["cases"].get<int>(), row["kl"].get<double>(), row["kl_low"].get<double>(),
        row["kl_high"].get<double>(), row["kl_first"].get<double>(), row["top1"].get<double>(),
        row["charged"].get<double>(), row["uncorrected"].get<double>(), dense, ttft, base,
        dense / (ttft + base));
    table += line;
  }
  return table;
}

}  // namespace kvcommons
