#include "agents/rag/auto_budget.h"

#include <gmock/gmock.h>

namespace kvcommons {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::uint32_t kLayers = 30;
constexpr Position kReused = 2000;

class AutoBudgetTest : public testing::Test {
 protected:
  AutoBudgetTest() {
    profile_.layer_count = kLayers;
    profile_.kv_head_count = 3;
    profile_.head_dim = 64;
    costs_.prefill_us_per_token = 300;
    costs_.attention_us_per_token_k = 0;
    costs_.place_us_per_token = 20;
    costs_.rotate_us_per_token = 10;
    request_.chunks = {&chunk_, 1};
    request_.layer_count = kLayers;
  }

  BudgetChoice Choose(const std::string& rule, std::uint32_t fresh_rows = 0) {
    const SelectNeeds needs = MakeSelectRule(rule).value()->Needs(kLayers);
    if (!needs.question_layers.empty()) {
      request_.question_cost_row_layers = question_tokens_ * (needs.question_layers.back() + 1.0);
    }
    const auto choice = ChooseBudget(limits_, costs_, profile_, request_, needs, fresh_rows);
    EXPECT_TRUE(choice.has_value()) << choice.error().ToString();
    return choice.value_or(BudgetChoice{});
  }

  const SelectChunk chunk_{100, 100 + kReused};
  AutoBudget limits_;
  CostModel costs_;
  ModelProfile profile_;
  SelectRequest request_;
  double question_tokens_ = 20;
};

TEST_F(AutoBudgetTest, LoadingThatIsHiddenByTheLeastGetsTheLeast) {
  costs_.place_us_per_token = costs_.rotate_us_per_token = 1;
  const BudgetChoice choice = Choose("boundary");
  EXPECT_NEAR(choice.ratio, 0.15, 1e-9);
  EXPECT_NEAR(choice.equal_ratio, 2.0 / 302, 1e-9);
  EXPECT_EQ(choice.tier, "memory");
  EXPECT_THAT(choice.why, HasSubstr("the least; it hides loading"));
}

TEST_F(AutoBudgetTest, SlackBehindASlowLoadIsSpentOnRecompute) {
  costs_.place_us_per_token = 90;  // with rotation, a third of prefill
  const BudgetChoice choice = Choose("boundary");
  EXPECT_NEAR(choice.equal_ratio, 100.0 / 400, 1e-9);  // r0 = t_i ÷ (t_c + t_i)
  EXPECT_NEAR(choice.ratio, 0.25, 1e-3);
  EXPECT_NEAR(choice.load_us, 0.75 * 100 * kReused / kLayers, 10);
  EXPECT_THAT(choice.why, HasSubstr("as much as hides loading"));
  limits_.most_ratio = 0.2;
  EXPECT_NEAR(Choose("boundary").ratio, 0.2, 1e-9);
  EXPECT_THAT(Choose("boundary").why, HasSubstr("the most"));
}

TEST_F(AutoBudgetTest, TheCheapestTierThatRecomputeHidesIsNamedOnceTheDiskIsKnown) {
  // 15 % of 300 us a row hide 85 % of a row's load where it takes up to 52.9 us.
  const double row_bytes = static_cast<double>(profile_.planes().BlockBytes(1));
  costs_.place_us_per_token = costs_.rotate_us_per_token = 10;
  EXPECT_EQ(Choose("boundary").cheapest_tier, "");
  EXPECT_THAT(Choose("boundary").why, Not(HasSubstr("cheapest")));
  limits_.disk_bytes_per_us = row_bytes / 50;
  EXPECT_EQ(Choose("boundary").cheapest_tier, "disk");
  EXPECT_THAT(Choose("boundary").why, HasSubstr("MB/s: disk"));
  limits_.disk_bytes_per_us = row_bytes / 60;
  EXPECT_EQ(Choose("boundary").cheapest_tier, "memory");
  costs_.place_us_per_token = 50;  // a disk that is faster is held up by placing
  limits_.disk_bytes_per_us = row_bytes;
  EXPECT_EQ(Choose("boundary").cheapest_tier, "none");
}

TEST_F(AutoBudgetTest, RowsThatAreComputedAnywayHideLoading) {
  costs_.place_us_per_token = 90;
  EXPECT_EQ(Choose("boundary", 2000).equal_ratio, 0);
}

TEST_F(AutoBudgetTest, BehindALookAtTheQuestionMoreRecomputeHidesNothing) {
  costs_.place_us_per_token = 90;
  const BudgetChoice choice = Choose("design");
  EXPECT_NEAR(choice.equal_ratio, 100.0 / 300, 1e-9);  // All rows are placed: r·t_c = t_i.
  EXPECT_NEAR(choice.ratio, 0.15, 1e-9);
  EXPECT_THAT(choice.why, HasSubstr("beside the look"));
  limits_.least_ratio = 0.1501;  // 300.2 rows: never fewer than that
  EXPECT_NEAR(Choose("design").ratio, 301.0 / kReused, 1e-9);
}

TEST_F(AutoBudgetTest, ALookThatTakesTooMuchOfTheBudgetIsLeftOut) {
  costs_.place_us_per_token = 90;
  EXPECT_TRUE(Choose("design").looks_at_question);
  question_tokens_ = 400;  // 0.19 of everything, beside 0.15
  const BudgetChoice without = Choose("design");
  EXPECT_FALSE(without.looks_at_question);
  EXPECT_NEAR(without.ratio, 0.25, 1e-3);  // As any rule whose rows are known before.
  EXPECT_NEAR(without.budget, without.ratio, 1e-9);
  EXPECT_TRUE(Choose("query").looks_at_question);  // It cannot do without.
}

TEST_F(AutoBudgetTest, TheLookIsPredictedToo) {
  const double fresh_us = 100 * costs_.prefill_us_per_token;
  const double without = Choose("boundary", 100).total_us;
  // Up to layer 27 of 30; the same recompute, beside the same fresh rows.
  EXPECT_NEAR(Choose("design", 100).total_us - without, fresh_us * 28 / 30, 0.1 * fresh_us);
}

TEST_F(AutoBudgetTest, TheBudgetBuysTheRatioWhateverTheRuleSpendsOnLooking) {
  const std::vector<float> scores(kReused, 1.0F), attention(std::size_t{kLayers} * kReused, 1.0F);
  SelectEvidence evidence;
  evidence.key_deviation = evidence.value_deviation = evidence.value_deviation_l1 = scores;
  evidence.question_attention = attention;
  for (const char* rule : {"boundary", "random", "deviation", "query"}) {
    request_.check_cost_layers = 1.156;
    const BudgetChoice choice = Choose(rule);
    SelectRequest request = request_;
    request.budget = choice.budget;
    const auto selection = MakeSelectRule(rule).value()->Select(request, evidence);
    ASSERT_TRUE(selection.has_value()) << selection.error().ToString();
    EXPECT_EQ(selection->rows.size(), 300U) << rule;  // 15 % of 2,000
    EXPECT_EQ(choice.ratio, 0.15) << rule;
  }
}

TEST_F(AutoBudgetTest, WhatCannotBeChosenIsRefusedByName) {
  const auto refused = [](AutoBudget limits, const char* rule) {
    return CheckAutoBudget(limits, rule).message();
  };
  EXPECT_TRUE(CheckAutoBudget({}, "design").ok());
  EXPECT_THAT(refused({}, "none"), HasSubstr("rule 'none' takes no budget"));
  EXPECT_THAT(refused({}, "all"), HasSubstr("rule 'all' takes no budget"));
  EXPECT_THAT(refused({0.15, 1.5}, "design"), HasSubstr("most_ratio is 1.5"));
  EXPECT_THAT(refused({0.4, 0.3}, "design"), HasSubstr("least_ratio is 0.4"));
  EXPECT_THAT(refused({-0.1, 0.3}, "design"), HasSubstr("least_ratio is -0.1"));
  EXPECT_THAT(refused({0.1, 0.3, -1}, "design"), HasSubstr("disk_bytes_per_us is -1"));
}

TEST(ParseBudget, IsAutoOrANumberFrom0To1) {
  EXPECT_EQ(ParseBudget("auto").value(), std::nullopt);
  EXPECT_EQ(ParseBudget("0.17").value(), 0.17);
  EXPECT_EQ(ParseBudget("1").value(), 1);
  for (const char* text : {"", "automatic", "0.1x", "1.01", "-0.1", "nan"}) {
    const auto budget = ParseBudget(text);
    ASSERT_FALSE(budget.has_value()) << text;
    EXPECT_THAT(budget.error().message(), HasSubstr("budget is '" + std::string(text) + "'"));
  }
}

}  // namespace
}  // namespace kvcommons
