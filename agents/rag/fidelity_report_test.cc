#include "agents/rag/fidelity_report.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

using Json = nlohmann::json;

Json Row(const char* variant, const char* rule, double kl, double ttft_ms = 10) {
  return {{"variant", variant}, {"rule", rule},   {"completion", false},
          {"budget", 0.0},      {"charged", 0.1}, {"kl", kl},
          {"top1", 1.0},        {"cosine", 1.0},  {"ttft_ms", ttft_ms}};
}

Json Line(const char* id, double sink, double system, double rule, bool timed = false) {
  return {{"id", id},
          {"setting", "s"},
          {"timed", timed},
          {"tokens", 100},
          {"full_ms", 50.0},
          {"prep_ms", Json::object()},
          {"rows",
           {Row("sink", "none", sink), Row("system", "none", system), Row("mean", "query", rule)}}};
}

Json RowNamed(const Json& rows, const char* rule, const char* variant) {
  for (const Json& row : rows) {
    if (row.at("rule") == rule && row.at("variant") == variant) return row;
  }
  return Json();
}

TEST(FidelityRows, RecoveredIsOfTheSumsOverCases) {
  const Json rows = FidelityRows({Line("a", 1, 0.5, 0.1), Line("b", 3, 1.5, 0.5)}, 1);
  ASSERT_EQ(rows.size(), 3U);
  const Json row = RowNamed(rows, "query", "mean");
  EXPECT_DOUBLE_EQ(row.at("kl"), 0.3);
  EXPECT_DOUBLE_EQ(row.at("recovered"), 1 - 0.6 / 4);
  EXPECT_DOUBLE_EQ(row.at("recovered_system"), 1 - 0.6 / 2);
  EXPECT_EQ(row.at("cases"), 2);
  EXPECT_DOUBLE_EQ(RowNamed(rows, "none", "sink").at("recovered"), 0);
  // Two cases: every draw lies between the better and the worse.
  EXPECT_GE(row.at("kl_low").get<double>(), 0.1);
  EXPECT_LE(row.at("kl_high").get<double>(), 0.5);
}

TEST(FidelityRows, ACaseFromTwoRunsIsOneCase) {
  Json second = Line("a", 1, 1, 0.2);
  second["rows"].push_back(Row("mean", "design", 0.1));
  const Json rows = FidelityRows({Line("a", 1, 1, 0.4), second}, 1);
  EXPECT_EQ(RowNamed(rows, "query", "mean").at("cases"), 1);
  EXPECT_DOUBLE_EQ(RowNamed(rows, "query", "mean").at("kl"), 0.2);  // the later
  EXPECT_DOUBLE_EQ(RowNamed(rows, "design", "mean").at("kl"), 0.1);
}

TEST(FidelityRows, WhatPreparingTookIsOfWhicheverRunPrepared) {
  Json first = Line("a", 1, 1, 0.4, true), second = first;
  first["prep_ms"] = {{"mean", 70.0}};
  second["prep_ms"] = {{"near", 30.0}};
  EXPECT_DOUBLE_EQ(RowNamed(FidelityRows({first, second}, 1), "query", "mean").at("prep_ms"), 70);
}

TEST(FidelityRows, PreparationIsPaidAfterSoManyPrompts) {
  Json line = Line("a", 1, 1, 0.4, true);  // 50 ms in full, 10 composed
  line["prep_ms"] = {{"mean", 120.0}};
  EXPECT_DOUBLE_EQ(RowNamed(FidelityRows({line}, 1), "query", "mean").at("prep_paid_after"), 3);
  line["full_ms"] = 10.0;
  EXPECT_TRUE(RowNamed(FidelityRows({line}, 1), "query", "mean").at("prep_paid_after").is_null());
}

TEST(FidelityRows, TimesComeFromTimedCasesOnly) {
  Json rows = FidelityRows({Line("a", 1, 1, 0.4)}, 1);
  EXPECT_TRUE(RowNamed(rows, "query", "mean").at("ttft_ms").is_null());
  rows = FidelityRows({Line("a", 1, 1, 0.4), Line("b", 1, 1, 0.4, true)}, 1);
  EXPECT_DOUBLE_EQ(RowNamed(rows, "query", "mean").at("faster"), 5);
  EXPECT_EQ(RowNamed(rows, "query", "mean").at("timed_cases"), 1);
}

TEST(FidelityRows, TimesAreOfTheLineThatARowCameWith) {
  // The rule was measured beside other work, the controls alone, later.
  Json timed = Line("a", 1, 1, 0.4, true);
  timed["rows"].erase(2);
  timed["full_ms"] = 80.0;
  const Json rows = FidelityRows({Line("a", 1, 1, 0.4), timed}, 1);
  EXPECT_TRUE(RowNamed(rows, "query", "mean").at("ttft_ms").is_null());
  EXPECT_DOUBLE_EQ(RowNamed(rows, "none", "sink").at("faster"), 8);
}

TEST(FidelityRows, StallsAreTheMedianOfTimedCasesAndNoneInLinesThatHaveNone) {
  std::vector<Json> lines;
  for (const double stall_ms : {3.0, 1.0, 2.0}) {
    lines.push_back(Line(std::to_string(stall_ms).c_str(), 1, 1, 0.4, true));
    lines.back()["rows"][2]["stall_ms_total"] = stall_ms;
  }
  const Json rows = FidelityRows(lines, 1);
  EXPECT_DOUBLE_EQ(RowNamed(rows, "query", "mean").at("stall_ms_total"), 2);
  EXPECT_DOUBLE_EQ(RowNamed(rows, "none", "sink").at("stall_ms_total"), 0);
  const Json untimed = FidelityRows({Line("a", 1, 1, 0.4)}, 1);
  EXPECT_TRUE(RowNamed(untimed, "query", "mean").at("stall_ms_total").is_null());
}

TEST(FidelityRows, QuestionsThatProveNothingAreReportedApart) {
  const auto with_answers = [](const char* id, bool guessed, bool right) {
    Json line = Line(id, 1, 1, 0.4);
    line["f1_full"] = 0.8;
    line["right_without_context"] = guessed;
    line["full_right"] = right;
    for (Json& row : line["rows"]) row["f1"] = 0.6;
    return line;
  };
  const Json rows = FidelityRows({with_answers("a", false, true), with_answers("b", true, true),
                                  with_answers("c", false, false)},
                                 1);
  const Json row = RowNamed(rows, "query", "mean");
  EXPECT_EQ(row.at("f1_cases"), 1);
  EXPECT_EQ(row.at("right_without_context"), 1);
  EXPECT_EQ(row.at("full_failed"), 1);
  EXPECT_DOUBLE_EQ(row.at("f1"), 0.6);
}

TEST(FidelityRows, ACaseWithoutItsControlsIsLeftOut) {
  Json line = Line("a", 1, 1, 0.4);
  line["rows"].erase(0);
  EXPECT_TRUE(FidelityRows({line}, 1).empty());
  EXPECT_TRUE(FidelityRows({}, 1).empty());
}

TEST(RefusedRows, SaysWhatWasRefusedInHowManyCasesAndWhy) {
  Json line = Line("a", 1, 1, 0.4);
  line["refused"] = {{{"variant", "near"},
                      {"rule", "dhd"},
                      {"completion", true},
                      {"budget", 0.02},
                      {"why", "looking costs more"}}};
  EXPECT_EQ(
      RefusedRows({line, line, Line("b", 1, 1, 0.4)}),
      "not measured in 2 cases: near, rule dhd at 0.02 with completion: looking costs more\n");
  EXPECT_EQ(RefusedRows({Line("b", 1, 1, 0.4)}), "");
}

}  // namespace
}  // namespace kvcommons
