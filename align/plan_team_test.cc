// Plans of a team's prompts: exact rows, corrected rows of slots, and what is computed between.

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "align/plan.h"

namespace kvcommons {
namespace {

struct Request {
  std::vector<TokenId> tokens = std::vector<TokenId>(1000);
  Position exact_tokens = 0;
  std::vector<SlotOffer> slots = {{100, 300, 0}, {350, 800, 0}};
  CostModel costs;

  PlanInput input() const {
    PlanInput input;
    input.tokens = tokens;
    input.exact_tokens = exact_tokens;
    input.slots = slots;
    input.policy = Policy::kTeam;
    input.costs = costs;
    return input;
  }
};

std::string Explained(const Request& request) {
  const auto plan = MakePlan(request.input());
  return plan ? Explain(*plan) : plan.error().message();
}

TEST(PlanTeamTest, SlotsAreReusedAndTheTextBetweenIsComputed) {
  const Request request;
  EXPECT_EQ(Explained(request),
            "[0, 100) compute: between_slots\n"
            "[100, 300) anchored: corrected, slot 0 from row 0, generation 1\n"
            "[300, 350) compute: between_slots, generation 1\n"
            "[350, 800) anchored: corrected, slot 1 from row 0, generation 1\n"
            "[800, 1000) compute: between_slots, generation 1\n");
  const Plan plan = *MakePlan(request.input());
  EXPECT_EQ(plan.anchored_rows, 650);
  EXPECT_EQ(plan.computed_rows, 350);
  EXPECT_EQ(plan.exact_end, 100);  // I3: what is behind is approximate
}

TEST(PlanTeamTest, TheExactChainComesFirstAndASlotGoesOnBehindIt) {
  Request request;
  request.exact_tokens = 180;
  EXPECT_EQ(Explained(request),
            "[0, 180) exact: exact_chain\n"
            "[180, 300) anchored: corrected, slot 0 from row 80, generation 1\n"
            "[300, 350) compute: between_slots, generation 1\n"
            "[350, 800) anchored: corrected, slot 1 from row 0, generation 1\n"
            "[800, 1000) compute: between_slots, generation 1\n");
}

TEST(PlanTeamTest, FirstRowsOfASlotAreComputedUnlessTheyAreExact) {
  Request request;
  request.slots = {{100, 300, 16}, {350, 800, 16}};
  request.exact_tokens = 110;
  const Plan plan = *MakePlan(request.input());
  EXPECT_EQ(plan.anchored_rows, 650 - 32);
  EXPECT_EQ(plan.exact_rows, 110);
  request.slots[0].first_rows = std::numeric_limits<std::uint32_t>::max();
  EXPECT_EQ(MakePlan(request.input())->anchored_rows, 450 - 16);
}

TEST(PlanTeamTest, TheLastTokenIsComputedAlsoWithinASlot) {
  Request request;
  request.slots = {{100, 1000, 0}};
  EXPECT_EQ(MakePlan(request.input())->spans.back().begin, 999);
}

TEST(PlanTeamTest, WhatIsNoFasterThanTheExactChainAloneIsRefused) {
  Request request;
  request.exact_tokens = 100;
  request.costs.lookup_us = 0;
  request.costs.run_us = 0;
  request.costs.attention_us_per_token_k = 0;
  request.costs.prefill_us_per_token = 23;  // place 3 + blend 20
  EXPECT_EQ(Explained(request),
            "[0, 100) exact: exact_chain\n"
            "[100, 1000) compute: not_worth_it\n");
  request.costs.prefill_us_per_token = 23.01;
  EXPECT_EQ(MakePlan(request.input())->anchored_rows, 650);
  // The second slot splits off a run of computed rows; the first goes on behind exact ones.
  request.costs.run_us = 10;
  EXPECT_EQ(MakePlan(request.input())->anchored_rows, 200);
}

TEST(PlanTeamTest, SlotsOutOfOrderOrRangeAreRefused) {
  Request request;
  request.slots = {{100, 300, 0}, {299, 400, 0}};
  EXPECT_EQ(Explained(request),
            "slots[1] is [299, 400); it must lie in [300, 1000) and not be empty");
  request.slots = {{100, 1001, 0}};
  EXPECT_EQ(Explained(request),
            "slots[0] is [100, 1001); it must lie in [0, 1000) and not be empty");
  request.slots = {{100, 100, 0}};
  EXPECT_EQ(Explained(request),
            "slots[0] is [100, 100); it must lie in [0, 1000) and not be empty");
}

}  // namespace
}  // namespace kvcommons
