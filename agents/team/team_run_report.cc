#include "agents/team/team_run_report.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <numeric>

namespace kvcommons {
namespace {

using Json = nlohmann::json;

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<double> Values(const std::vector<Json>& calls, const char* field) {
  std::vector<double> values;
  for (const Json& call : calls) {
    if (call.contains(field)) values.push_back(call[field]);
  }
  return values;
}

std::string MostFrequent(const std::vector<Json>& calls, const char* field) {
  std::map<std::string, int> counts;
  for (const Json& call : calls) ++counts[call[field].get<std::string>()];
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return most->first;
}

Json RowOf(const std::string& agent, const std::vector<Json>& calls) {
  std::vector<Json> hits;
  std::vector<double> all_ms;
  for (const Json& call : calls) {
    if (call["anchored"] != 0) hits.push_back(call);
    all_ms.push_back(call["ttft_ms"].get<double>() + call["base_ms"].get<double>() +
                     call["answer_base_ms"].get<double>() + call["finish_ms"].get<double>());
  }
  const std::vector<Json>& shown = hits.empty() ? calls : hits;
  Json row = {{"agent", agent},
              {"mode", MostFrequent(shown, "mode")},
              {"reason", MostFrequent(shown, "reason")},
              {"calls", calls.size()},
              {"hits", hits.size()},
              {"ttft_all_ms", Mean(all_ms)}};
  for (const char* field :
       {"ttft_ms", "plan_ms", "gate_ms", "weights_ms", "blend_ms", "place_ms", "last_ms"}) {
    row[field] = Median(Values(shown, field));
  }
  row["base_ms"] = Median(Values(calls, "base_ms"));
  row["charged"] = Mean(Values(shown, "charged"));
  for (const char* field : {"ttft_dense_ms", "ttft_exact_ms"}) {
    if (const auto values = Values(shown, field); !values.empty()) row[field] = Median(values);
  }
  for (const char* field : {"kl", "kl_first", "top1"}) {
    if (const auto values = Values(shown, field); !values.empty()) row[field] = Mean(values);
  }
  return row;
}

}  // namespace

Json TeamRunReport(const std::vector<Json>& lines) {
  std::vector<std::string> agents;
  std::map<std::string, std::vector<Json>> calls;
  double hits = 0, all = 0;
  std::vector<double> same;
  for (const Json& line : lines) {
    for (const Json& call : line["agents"]) {
      const std::string agent = call["agent"];
      if (!calls.contains(agent)) agents.push_back(agent);
      calls[agent].push_back(call);
      all += 1;
      hits += call["anchored"] != 0 ? 1 : 0;
      if (call.contains("same_answer")) same.push_back(call["same_answer"].get<bool>() ? 1 : 0);
    }
  }
  Json report = {{"agents", Json::array()}, {"cases", lines.size()}};
  for (const std::string& agent : agents) report["agents"].push_back(RowOf(agent, calls[agent]));
  report["reuse_rate"] = all == 0 ? 0 : hits / all;
  if (!same.empty()) report["answer_agreement"] = Mean(same);
  return report;
}

std::string TeamRunTable(const Json& report) {
  std::string table =
      "agent            mode           reason         hits   dense   exact    TTFT  all   gain"
      "      KL   top-1  charged\n";
  const auto number = [](const Json& row, const char* field, const char* format) {
    char text[32];
    if (!row.contains(field)) return std::string("      -");
    std::snprintf(text, sizeof text, format, row[field].get<double>());
    return std::string(text);
  };
  for (const Json& row : report["agents"]) {
    char line[256];
    const std::string hits =
        std::to_string(row["hits"].get<int>()) + "/" + std::to_string(row["calls"].get<int>());
    std::string gain = "    -";
    if (row.contains("ttft_dense_ms")) {
      char text[16];
      std::snprintf(text, sizeof text, "%4.1fx",
                    row["ttft_dense_ms"].get<double>() / row["ttft_ms"].get<double>());
      gain = text;
    }
    std::snprintf(line, sizeof line, "%-16.16s %-14.14s %-13.13s %6s %s %s %s %s %s %s %s  %s\n",
                  row["agent"].get<std::string>().c_str(), row["mode"].get<std::string>().c_str(),
                  row["reason"].get<std::string>().c_str(), hits.c_str(),
                  number(row, "ttft_dense_ms", "%7.0f").c_str(),
                  number(row, "ttft_exact_ms", "%7.0f").c_str(),
                  number(row, "ttft_ms", "%7.0f").c_str(),
                  number(row, "ttft_all_ms", "%4.0f").c_str(), gain.c_str(),
                  number(row, "kl", "%7.4f").c_str(), number(row, "top1", "%7.3f").c_str(),
                  number(row, "charged", "%6.2f").c_str());
    table += line;
  }
  return table;
}

}  // namespace kvcommons
