#include "agents/rag/fidelity_report.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <random>

#include "agents/rag/fidelity_samples.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

struct Row {
  Json row;
  const Json* line;  // that it came with: whether it was timed, and what full prefill did
};

struct Case {
  std::map<FidelityKey, Row> rows;
  Json prep_ms = Json::object();  // of all lines
};

struct Group {
  std::map<std::string, Case> cases;  // by id
};

const FidelityKey sink_key{"sink", "none", false, 0}, system_key{"system", "none", false, 0};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Json MedianOrNull(const std::vector<double>& values) {
  return values.empty() ? Json() : Json(Median(values));
}

// After how many prompts preparation has paid for itself, by medians; null where it never does.
Json PaidAfter(const std::vector<double>& prepare, const std::vector<double>& full,
               const std::vector<double>& ttft) {
  if (prepare.empty() || ttft.empty() || Median(ttft) >= Median(full)) return Json();
  return Median(prepare) / (Median(full) - Median(ttft));
}

// 1 − Σ kl ÷ Σ base.
double Recovered(const std::vector<double>& kl, const std::vector<double>& base) {
  double sum = 0, base_sum = 0;
  for (std::size_t i = 0; i < kl.size(); ++i) {
    sum += kl[i];
    base_sum += base[i];
  }
  return base_sum > 0 ? 1 - sum / base_sum : 0;
}

struct Interval {
  double low, high;
};

// 90 % over cases; `of` gets the indices that one round drew.
template <typename Of>
Interval Bootstrap(std::size_t cases, std::uint64_t seed, Of of) {
  constexpr int kRounds = 1000;
  std::mt19937_64 random(seed);
  std::vector<double> values;
  std::vector<std::size_t> drawn(cases);
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t& index : drawn) index = random() % cases;
    values.push_back(of(drawn));
  }
  std::sort(values.begin(), values.end());
  return {values[kRounds / 20], values[kRounds - 1 - kRounds / 20]};
}

std::vector<double> Drawn(const std::vector<double>& values,
                          const std::vector<std::size_t>& drawn) {
  std::vector<double> result;
  for (const std::size_t index : drawn) result.push_back(values[index]);
  return result;
}

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

Json RowOf(const std::string& name, const Group& group, const FidelityKey& key,
           std::uint64_t seed) {
  std::vector<double> kl, sink, system, top1, cosine, charged, tokens;
  std::vector<double> ttft, stall, full, prepare, ratio, f1, f1_full;
  std::size_t answerable = 0, failed = 0;
  for (const auto& entry : group.cases) {
    const Case& one = entry.second;
    const auto row = one.rows.find(key);
    if (row == one.rows.end()) continue;
    const Json& line = *row->second.line;
    const auto number = [&](const char* field) { return row->second.row.at(field).get<double>(); };
    kl.push_back(number("kl"));
    sink.push_back(one.rows.at(sink_key).row.at("kl"));
    system.push_back(one.rows.at(system_key).row.at("kl"));
    top1.push_back(number("top1"));
    cosine.push_back(number("cosine"));
    charged.push_back(number("charged"));
    tokens.push_back(line.at("tokens"));
    const std::string& variant = std::get<0>(key);
    if (line.at("timed").get<bool>()) {
      ttft.push_back(number("ttft_ms"));
      // Older lines are of rows that were all placed before.
      stall.push_back(row->second.row.value("stall_ms_total", 0.0));
      full.push_back(line.at("full_ms"));
      ratio.push_back(full.back() / ttft.back());
      if (one.prep_ms.contains(variant)) prepare.push_back(one.prep_ms.at(variant));
    }
    if (row->second.row.contains("f1") && line.contains("f1_full")) {
      if (line.at("right_without_context").get<bool>()) {
        ++answerable;
      } else if (!line.at("full_right").get<bool>()) {
        ++failed;
      } else {
        f1.push_back(number("f1"));
        f1_full.push_back(line.at("f1_full"));
      }
    }
  }
  const Interval of_kl =
      Bootstrap(kl.size(), seed, [&](const auto& drawn) { return Mean(Drawn(kl, drawn)); });
  const Interval of_sink = Bootstrap(kl.size(), seed, [&](const auto& drawn) {
    return Recovered(Drawn(kl, drawn), Drawn(sink, drawn));
  });
  const Interval of_system = Bootstrap(kl.size(), seed, [&](const auto& drawn) {
    return Recovered(Drawn(kl, drawn), Drawn(system, drawn));
  });
  const auto& [variant, rule, completion, budget] = key;
  return {{"setting", name},
          {"tokens", Mean(tokens)},
          {"variant", variant},
          {"rule", rule},
          {"completion", completion},
          {"budget", budget},
          {"charged", Mean(charged)},
          {"kl", Mean(kl)},
          {"kl_low", of_kl.low},
          {"kl_high", of_kl.high},
          {"top1", Mean(top1)},
          {"cosine", Mean(cosine)},
          {"recovered", Recovered(kl, sink)},
          {"recovered_low", of_sink.low},
          {"recovered_high", of_sink.high},
          {"recovered_system", Recovered(kl, system)},
          {"recovered_system_low", of_system.low},
          {"recovered_system_high", of_system.high},
          {"f1", f1.empty() ? Json() : Json(Mean(f1))},
          {"f1_full", f1.empty() ? Json() : Json(Mean(f1_full))},
          {"f1_cases", f1.size()},
          {"right_without_context", answerable},
          {"full_failed", failed},
          {"ttft_full_ms", MedianOrNull(full)},
          {"ttft_ms", MedianOrNull(ttft)},
          {"stall_ms_total", MedianOrNull(stall)},
          {"faster", MedianOrNull(ratio)},
          {"prep_ms", MedianOrNull(prepare)},
          {"prep_paid_after", PaidAfter(prepare, full, ttft)},
          {"timed_cases", ttft.size()},
          {"cases", kl.size()}};
}

}  // namespace

Json FidelityRows(const std::vector<Json>& lines, std::uint64_t seed) {
  std::map<std::string, Group> groups;
  for (const Json& line : lines) {
    if (!line.is_object()) continue;
    Case& one = groups[line.at("setting")].cases[line.at("id")];
    for (const Json& row : line.at("rows")) one.rows[KeyOf(row)] = {row, &line};
    one.prep_ms.update(line.at("prep_ms"));
  }
  Json rows = Json::array();
  for (auto& [name, group] : groups) {
    std::erase_if(group.cases, [](const auto& entry) {
      return !entry.second.rows.contains(sink_key) || !entry.second.rows.contains(system_key);
    });
    std::map<FidelityKey, bool> keys;
    for (const auto& entry : group.cases) {
      for (const auto& row : entry.second.rows) keys[row.first] = true;
    }
    for (const auto& key : keys) rows.push_back(RowOf(name, group, key.first, seed));
  }
  return rows;
}

std::string FidelityTable(const Json& rows) {
  std::string table;
  char line[256];
  std::snprintf(line, sizeof line,
                "%-16s %-8s %-17s %-5s %6s %7s %9s %6s %7s %22s %10s %6s %8s %5s %5s\n", "setting",
                "variant", "rule", "compl", "budget", "charged", "KL", "top-1", "cosine",
                "recovered, 90 %", "of system", "faster", "stall ms", "paid", "cases");
  table += line;
  for (const Json& row : rows) {
    const auto number = [&](const char* field) { return row.at(field).get<double>(); };
    const auto timed = [&](const char* field) {
      return row.at(field).is_null() ? "-" : std::to_string(number(field)).substr(0, 5);
    };
    std::snprintf(
        line, sizeof line,
        "%-16s %-8s %-17s %-5s %6.2f %7.3f %9.4f %6.3f %7.4f %6.3f %7.3f,%6.3f %10.3f %6s "
        "%8s %5s %5zu\n",
        row.at("setting").get<std::string>().c_str(), row.at("variant").get<std::string>().c_str(),
        row.at("rule").get<std::string>().c_str(), row.at("completion").get<bool>() ? "on" : "-",
        number("budget"), number("charged"), number("kl"), number("top1"), number("cosine"),
        number("recovered"), number("recovered_low"), number("recovered_high"),
        number("recovered_system"), timed("faster").c_str(), timed("stall_ms_total").c_str(),
        timed("prep_paid_after").c_str(), row.at("cases").get<std::size_t>());
    table += line;
  }
  return table;
}

std::string RefusedRows(const std::vector<Json>& lines) {
  std::map<std::string, std::size_t> cases;  // by what was refused and why
  for (const Json& line : lines) {
    for (const Json& refused : line.value("refused", Json::array())) {
      char what[160];
      std::snprintf(what, sizeof what,
                    "%s, rule %s at %.3g%s: ", refused.at("variant").get<std::string>().c_str(),
                    refused.at("rule").get<std::string>().c_str(),
                    refused.at("budget").get<double>(),
                    refused.at("completion").get<bool>() ? " with completion" : "");
      ++cases[what + refused.value("why", "refused")];
    }
  }
  std::string text;
  for (const auto& [what, count] : cases) {
    text += "not measured in " + std::to_string(count) + " cases: " + what + "\n";
  }
  return text;
}

}  // namespace kvcommons
