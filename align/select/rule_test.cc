// What holds for every rule, whatever it looks at.

#include "align/select/rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

// A prompt of three chunks with fresh rows between them, and evidence of every kind.
struct Prompt {
  explicit Prompt(std::uint64_t seed, std::uint32_t layers = 12) : random(seed) {
    request.layer_count = layers;
    request.check_cost_layers = 1.25;
    request.seed = seed;
    Position at = 3;
    for (int i = 0; i < 3; ++i) {
      const auto rows = static_cast<Position>(20 + random() % 40);
      chunks.push_back({at, at + rows});
      at += rows + static_cast<Position>(random() % 5);
    }
    request.chunks = chunks;
    const std::size_t rows = request.reused_rows();
    for (auto* array : {&key, &value, &value_l1, &received}) Fill(*array, rows);
    for (const SelectChunk& chunk : chunks) {
      const auto count = static_cast<std::size_t>(chunk.end - chunk.begin);
      Fill(loadings_values.emplace_back(), count * 4);
    }
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      loadings.push_back({4, loadings_values[i], 0.1F * static_cast<float>(i)});
    }
    evidence.key_deviation = key;
    evidence.value_deviation = value;
    evidence.value_deviation_l1 = value_l1;
    evidence.attention_received = received;
    evidence.loadings = loadings;
  }
  Prompt(const Prompt&) = delete;
  Prompt& operator=(const Prompt&) = delete;

  Result<Selection> Select(std::string_view name) {
    const auto rule = MakeSelectRule(name);
    const std::size_t layers = (*rule)->Needs(request.layer_count).question_layers.size();
    Fill(question, layers * request.reused_rows());
    evidence.question_attention = question;
    return (*rule)->Select(request, evidence);
  }

  void Fill(std::vector<float>& array, std::size_t count) {
    array.resize(count);
    for (float& x : array) x = static_cast<float>(random() % 10'000) / 1e4F;
  }

  std::mt19937_64 random;
  std::vector<SelectChunk> chunks;
  std::vector<float> key, value, value_l1, received, question;
  std::vector<std::vector<float>> loadings_values;
  std::vector<ChunkLoadings> loadings;
  SelectRequest request;
  SelectEvidence evidence;
};

class EveryRule : public testing::TestWithParam<std::string_view> {};

TEST_P(EveryRule, StaysWithinItsChargedBudgetAndSelectsReusedRowsOnly) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    for (const double budget : {0.12, 0.17, 0.3, 0.5, 1.0}) {
      Prompt prompt(seed);
      prompt.request.budget = budget;
      const auto selection = prompt.Select(GetParam());
      ASSERT_TRUE(selection.has_value()) << selection.error().ToString();
      ASSERT_EQ(selection->rows.size(), selection->depth.size());
      EXPECT_TRUE(std::is_sorted(selection->rows.begin(), selection->rows.end()));
      EXPECT_EQ(std::set<Position>(selection->rows.begin(), selection->rows.end()).size(),
                selection->rows.size());
      for (std::size_t i = 0; i < selection->rows.size(); ++i) {
        const Position row = selection->rows[i];
        EXPECT_TRUE(std::any_of(
            prompt.chunks.begin(), prompt.chunks.end(),
            [row](const SelectChunk& chunk) { return row >= chunk.begin && row < chunk.end; }))
            << "seed " << seed << ", row " << row;
        EXPECT_GE(selection->depth[i], 1U);
        EXPECT_LE(selection->depth[i], prompt.request.layer_count);
      }
      if (GetParam() != "all") {
        EXPECT_LE(ChargedBudget(prompt.request, *selection), budget + 1e-9) << "seed " << seed;
      }
    }
  }
}

TEST_P(EveryRule, SpendsWhatItMaySpend) {
  Prompt prompt(7);
  prompt.request.budget = 0.5;
  const auto selection = prompt.Select(GetParam());
  ASSERT_TRUE(selection.has_value());
  if (GetParam() == "none") {
    EXPECT_TRUE(selection->rows.empty());
    return;
  }
  // `relaxed` pays for depths, and one more rank in every layer may not fit.
  const double slack = GetParam() == "relaxed" ? 0.1 : 0.02;
  EXPECT_GE(ChargedBudget(prompt.request, *selection), 0.5 - slack);
}

TEST_P(EveryRule, GivesTheSameForTheSame) {
  Prompt first(11), second(11);
  first.request.budget = second.request.budget = 0.3;
  const auto a = first.Select(GetParam()), b = second.Select(GetParam());
  ASSERT_TRUE(a.has_value() && b.has_value());
  EXPECT_EQ(a->rows, b->rows);
  EXPECT_EQ(a->depth, b->depth);
}

TEST_P(EveryRule, RefusesABudgetOutsideZeroToOne) {
  for (const double budget : {-0.01, 1.01, std::numeric_limits<double>::quiet_NaN()}) {
    Prompt prompt(1);
    prompt.request.budget = budget;
    const auto selection = prompt.Select(GetParam());
    ASSERT_FALSE(selection.has_value());
    EXPECT_EQ(selection.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(selection.error().message(), HasSubstr("the limit is 0 to 1"));
  }
}

TEST_P(EveryRule, RefusesChunksThatOverlapOrAreEmpty) {
  for (const SelectChunk bad : {SelectChunk{5, 5}, SelectChunk{2, 9}}) {
    Prompt prompt(1);
    prompt.request.budget = 0.5;
    prompt.chunks[1] = bad;
    const auto selection = prompt.Select(GetParam());
    ASSERT_FALSE(selection.has_value());
    EXPECT_THAT(selection.error().message(), HasSubstr("chunk 1 is ["));
  }
}

TEST_P(EveryRule, OfNoReusedRowsSelectsNone) {
  Prompt prompt(1);
  prompt.request.chunks = {};
  prompt.request.budget = 0.5;
  prompt.evidence = {};
  const auto selection = prompt.Select(GetParam());
  ASSERT_TRUE(selection.has_value()) << selection.error().ToString();
  EXPECT_TRUE(selection->rows.empty());
}

TEST_P(EveryRule, RefusesEvidenceOfAnotherLengthOrNotFinite) {
  const auto rule = MakeSelectRule(GetParam());
  const SelectNeeds needs = (*rule)->Needs(12);
  if (!needs.check_layer && needs.question_layers.empty()) return;
  for (const bool finite : {true, false}) {
    Prompt prompt(1);
    prompt.request.budget = 0.5;
    ASSERT_TRUE(prompt.Select(GetParam()).has_value());
    for (auto* array : {&prompt.key, &prompt.value, &prompt.value_l1, &prompt.question}) {
      if (array->empty()) continue;  // not this rule's
      if (finite) {
        array->push_back(0);
      } else {
        array->back() = INFINITY;
      }
    }
    prompt.evidence.key_deviation = prompt.key;
    prompt.evidence.value_deviation = prompt.value;
    prompt.evidence.value_deviation_l1 = prompt.value_l1;
    prompt.evidence.question_attention = prompt.question;
    EXPECT_EQ((*rule)->Select(prompt.request, prompt.evidence).error().code(),
              Code::kInvalidArgument);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, EveryRule,
                         testing::ValuesIn(SelectRuleNames().begin(), SelectRuleNames().end()),
                         [](const auto& tested) {
                           std::string name(tested.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(SelectRuleTest, AnUnknownNameIsRefusedWithTheKnownOnes) {
  const auto rule = MakeSelectRule("best");
  ASSERT_FALSE(rule.has_value());
  EXPECT_THAT(rule.error().message(), HasSubstr("'best'; known are none, all, random"));
}

TEST(SelectRuleTest, ABudgetBelowTheLookingIsRefusedWithBoth) {
  Prompt prompt(1);
  prompt.request.check_cost_layers = 2;
  prompt.request.budget = 0.1;  // 1.2 of 12 layers
  const auto selection = prompt.Select("deviation");
  ASSERT_FALSE(selection.has_value());
  EXPECT_THAT(selection.error().message(), HasSubstr("budget is 0.100000"));
  EXPECT_THAT(selection.error().message(), HasSubstr("0.166667"));
}

TEST(SelectRuleTest, TheQuestionsProbeIsChargedToTheRulesThatAskForIt) {
  for (const std::string_view name : {"query", "query-anchored", "relaxed", "design"}) {
    Prompt prompt(3);
    prompt.request.budget = 0.3;
    const auto without = prompt.Select(name);
    Prompt charged(3);
    charged.request.budget = 0.3;
    charged.request.question_cost_row_layers =
        0.1 * 12 * static_cast<double>(charged.request.reused_rows());
    const auto with = charged.Select(name);
    ASSERT_TRUE(without.has_value() && with.has_value());
    EXPECT_LT(with->rows.size(), without->rows.size()) << name;
    EXPECT_LE(ChargedBudget(charged.request, *with), 0.3 + 1e-9) << name;
  }
}

TEST(ChargedBudgetTest, CountsLookingOnceForRowsThatAreThenSelected) {
  // CacheBlend, §1.6: B = (2 + r(L − 2)) / L with two layers charged.
  const std::vector<SelectChunk> chunks{{0, 100}};
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = 32;
  Selection selection;
  for (Position row = 0; row < 15; ++row) selection.rows.push_back(row);
  selection.depth.assign(15, 32);
  selection.looked_layers = 2;
  EXPECT_NEAR(ChargedBudget(request, selection), (2 + 0.15 * 30) / 32, 1e-12);
}

}  // namespace
}  // namespace kvcommons
