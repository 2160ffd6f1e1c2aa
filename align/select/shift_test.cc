#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ShiftRuleTest : public testing::Test {
 protected:
  ShiftRuleTest() {
    request_.chunks = chunks_;
    request_.layer_count = 8;
    request_.check_cost_layers = 0;
  }
  std::vector<Position> Rows(double budget, const std::vector<float>& key,
                             const std::vector<float>& value) {
    request_.budget = budget;
    evidence_.key_deviation = key;
    evidence_.value_deviation = value;
    return (*MakeSelectRule("shift"))->Select(request_, evidence_)->rows;
  }

  const std::vector<SelectChunk> chunks_{{10, 13}, {20, 23}};
  SelectRequest request_;
  SelectEvidence evidence_;
};

TEST_F(ShiftRuleTest, ProbesAreTheBestOfKeysAndTheBestOfValues) {
  // Keys name rows 12, 10, 11; values, a thousandth in size, name rows 21, 22, 20.
  EXPECT_THAT(Rows(2.0 / 6, {8, 7, 9, 1, 3, 2}, {.001F, .002F, .003F, .007F, .009F, .008F}),
              ElementsAre(12, 21));
  EXPECT_THAT(Rows(4.0 / 6, {8, 7, 9, 1, 3, 2}, {.001F, .002F, .003F, .007F, .009F, .008F}),
              ElementsAre(10, 12, 21, 22));
}

TEST_F(ShiftRuleTest, ARowThatBothRankingsNameIsOneProbe) {
  EXPECT_THAT(Rows(2.0 / 6, {0, 9, 8, 0, 0, 0}, {0, 9, 0, 0, 0, 8}), ElementsAre(11, 12));
}

TEST_F(ShiftRuleTest, RowsThatDivergeAlikeAreTakenFromTheFront) {
  EXPECT_THAT(Rows(0.5, {1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}), ElementsAre(10, 11, 12));
}

TEST_F(ShiftRuleTest, ItAloneHasACompletionOfItsOwn) {
  for (const std::string_view name : SelectRuleNames()) {
    EXPECT_EQ((*MakeSelectRule(name))->Needs(8).own_completion, name == "shift") << name;
  }
}

TEST_F(ShiftRuleTest, ItNeedsBothDeviations) {
  request_.budget = 0.5;
  const std::vector<float> key(6, 1.0F), value(5, 1.0F);
  evidence_.key_deviation = key;
  evidence_.value_deviation = value;
  const auto selection = (*MakeSelectRule("shift"))->Select(request_, evidence_);
  ASSERT_FALSE(selection.has_value());
  EXPECT_THAT(selection.error().message(), HasSubstr("value_deviation has 5 values"));
}

}  // namespace
}  // namespace kvcommons
