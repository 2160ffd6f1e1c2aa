// A team over the schema: what it learns and for whom, what it reuses, and what it refuses.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "daemon/team_testing.h"

namespace kvcommons::testing {
namespace {

TEST_F(TeamRpcTest, AContentIsCorrectedByWhatEarlierOnesTaught) {
  TeamWorker worker(loop_.io, daemon_.socket());
  EXPECT_EQ(Run(worker, Question(1)), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(2)), "few_deposits, learned");
  const Tokens third = Question(3);
  worker.PutText(third);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto plan = worker.Plan(version.getVersion(), AskOf(third));
  ASSERT_EQ(MessageOf(plan), "");
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  EXPECT_TRUE(plan.getTeam().getReuses());
  EXPECT_EQ(plan.getReply().getAnchoredRows(), 40u);
  EXPECT_EQ(plan.getTeam().getSlots()[0].getDeposits(), 2u);
  ExpectRowsAreExact(worker, plan, PartsOf(third), 6 * kUlp16);
  // Nothing approximate is asked back (I3): only what stands before the question, to its last row.
  ASSERT_EQ(plan.getReply().getPieces().size(), 1u);
  EXPECT_EQ(plan.getReply().getPieces()[0].getBegin(), 16u);
  EXPECT_EQ(plan.getReply().getPieces()[0].getEnd(), kHead.size());
  worker.Commit(plan, PartsOf(third));
  auto again = worker.Plan(version.getVersion(), AskOf(third));
  EXPECT_EQ(again.getReply().getExactRows(), kHead.size());
  EXPECT_EQ(again.getReply().getComputedRows(), kTail.size());
  ExpectRowsAreExact(worker, again, PartsOf(third), 6 * kUlp16);
  EXPECT_EQ(worker.Deposit(plan).getSlots().size(), 0u);
}

TEST_F(TeamRpcTest, WithoutCorrectionContentsAreTurnedToTheirPlace) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const Tokens question = Question(1);
  worker.PutText(question);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(question);
  ask.correction = 0;
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_TRUE(plan.getTeam().getReuses());
  // The base has its own hundredths a row, and nothing of the agent's quarter.
  ExpectRowsAreExact(worker, plan, {{kHead, 0}, {question, 0}, {kTail, 0}}, 6 * kUlp16);
}

class TeamTextTest : public TeamRpcTest {
 protected:
  void PutTail(TeamWorker& worker) {
    const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    worker.PutSegment(version.getVersion(), 1, kTail, static_cast<Position>(kHead.size()));
  }
  // Its plan of the third question, the first two being learned from.
  auto PlanOfThird(TeamWorker& worker, const TeamWorker::Ask& ask) {
    worker.PutText(ask.contents[0]);
    const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    auto plan = worker.Plan(version.getVersion(), ask);
    EXPECT_EQ(MessageOf(plan), "");
    return plan;
  }
};

TEST_F(TeamTextTest, TextBetweenContentsIsCorrectedWhereThatIsAsked) {
  for (const auto correction : {std::uint8_t{1}, std::uint8_t{3}}) {
    TeamWorker worker(loop_.io, daemon_.socket(), "team" + std::to_string(correction));
    PutTail(worker);
    // Prompts that nobody computed before: they would be held.
    const auto question = [&](int which) { return Question(10 * correction + which); };
    auto ask = AskWithText(question(1));
    ask.correction = correction;
    EXPECT_EQ(Run(worker, question(1), ask), "few_deposits, learned, learned text");
    ask.contents = {question(2)};
    EXPECT_EQ(Run(worker, question(2), ask), "few_deposits, learned, learned text");
    ask.contents = {question(3)};
    auto plan = PlanOfThird(worker, ask);
    EXPECT_TRUE(plan.getTeam().getReuses()) << plan.getTeam().getReason().cStr();
    // All behind the first text but the last token.
    EXPECT_EQ(plan.getReply().getAnchoredRows(), 40u + kTail.size() - 1);
    EXPECT_EQ(plan.getReply().getComputedRows(), kHead.size() % 16 + 1);
    ASSERT_EQ(plan.getTeam().getTexts().size(), 1u);
    EXPECT_STREQ(plan.getTeam().getTexts()[0].getReason().cStr(), "corrected");
    EXPECT_EQ(plan.getTeam().getTexts()[0].getDeposits(), 2u);
    ExpectRowsAreExact(worker, plan, PartsOf(question(3)), 6 * kUlp16);
    const auto status = worker.Status();
    ASSERT_EQ(status.getMeans().size(), 2u);
    const auto means = status.getMeans();
    const auto& of_text = means[0].getOfPrompt() ? means[0] : means[1];
    EXPECT_TRUE(of_text.getOfPrompt());
    EXPECT_EQ(of_text.getRows(), kTail.size());
    // Who does not ask for it has the text computed.
    ask.correct_text = false;
    auto without = PlanOfThird(worker, ask);
    EXPECT_EQ(without.getReply().getAnchoredRows(), 40u);
    EXPECT_EQ(without.getTeam().getTexts().size(), 0u);
    EXPECT_NE(without.getTeam().getEpoch(), plan.getTeam().getEpoch());
  }
}

TEST_F(TeamTextTest, WithoutCorrectionTextIsTurnedToItsPlace) {
  TeamWorker worker(loop_.io, daemon_.socket());
  PutTail(worker);
  auto ask = AskWithText(Question(1));
  ask.correction = 0;
  auto plan = PlanOfThird(worker, ask);
  EXPECT_EQ(plan.getReply().getAnchoredRows(), 40u + kTail.size() - 1);
  ExpectRowsAreExact(worker, plan, {{kHead, 0}, {Question(1), 0}, {kTail, 0}}, 6 * kUlp16);
}

TEST_F(TeamTextTest, TextWithoutRowsOfItsOwnIsComputedAndTheContentReused) {
  TeamWorker worker(loop_.io, daemon_.socket());
  EXPECT_EQ(Run(worker, Question(1), AskWithText(Question(1))), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(2), AskWithText(Question(2))), "few_deposits, learned");
  auto plan = PlanOfThird(worker, AskWithText(Question(3)));
  EXPECT_TRUE(plan.getTeam().getReuses());
  EXPECT_EQ(plan.getReply().getAnchoredRows(), 40u);
  EXPECT_STREQ(plan.getTeam().getTexts()[0].getReason().cStr(), "missing_base");
  EXPECT_FALSE(plan.getTeam().getTexts()[0].getWanted());
}

TEST_F(TeamTextTest, ATeamThatKnowsItsContentsLearnsItsTextBeforeItCorrectsIt) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  PutTail(worker);
  EXPECT_EQ(Run(worker, Question(3), AskWithText(Question(3))), "few_deposits, learned text");
  EXPECT_EQ(Run(worker, Question(4), AskWithText(Question(4))), "few_deposits, learned text");
  EXPECT_TRUE(PlanOfThird(worker, AskWithText(Question(5))).getTeam().getReuses());
}

TEST_F(TeamTextTest, TheSamePromptTeachesItsTextOnce) {
  TeamWorker worker(loop_.io, daemon_.socket());
  PutTail(worker);
  EXPECT_EQ(Run(worker, Question(1), AskWithText(Question(1))),
            "few_deposits, learned, learned text");
  EXPECT_EQ(Run(worker, Question(1), AskWithText(Question(1))), "held, known, known text");
}

// Two contents, the text between longer than a block.
class TeamLongTextTest : public TeamRpcTest {
 protected:
  static std::vector<Part> PartsOfTwo(const Tokens& question, const Tokens& answer) {
    return {{kHead, 0}, {question, 0.25F}, {kMiddle, 0.4F}, {answer, 0.3F}, {kTail, 0.5F}};
  }
  static TeamWorker::Ask AskOfTwo(const Tokens& question, const Tokens& answer) {
    TeamWorker::Ask ask;
    ask.contents = {question, answer};
    ask.correct_text = true;
    ask.store_tokens = static_cast<std::uint32_t>(kHead.size() + question.size() + kMiddle.size() +
                                                  answer.size() + kTail.size());
    return ask;
  }
  auto Put(TeamWorker& worker, const Tokens& question, const Tokens& answer) {
    auto version = worker.PutTemplate("judge", {kHead, kMiddle, kTail}, {"question", "answer"});
    const auto head = static_cast<Position>(kHead.size());
    worker.PutSegment(version.getVersion(), 1, kMiddle, head);
    worker.PutSegment(version.getVersion(), 2, kTail, head + static_cast<Position>(kMiddle.size()));
    for (const Tokens& tokens : {question, answer}) {
      if (!tokens.empty()) worker.PutText(tokens);
    }
    return version;
  }
  void Learn(TeamWorker& worker, const Tokens& question, const Tokens& answer,
             std::size_t learned) {
    const auto version = Put(worker, question, answer);
    auto plan = worker.Plan(version.getVersion(), AskOfTwo(question, answer));
    ASSERT_EQ(MessageOf(plan), "");
    worker.Commit(plan, PartsOfTwo(question, answer));
    const auto deposit = worker.Deposit(plan);
    std::size_t count = 0;
    for (const auto slot : deposit.getSlots()) {
      count += std::string(slot.getOutcome().cStr()) == "learned" ? 1 : 0;
    }
    EXPECT_EQ(count, learned);
  }

  static inline const Tokens kMiddle = Text(37, 802);
};

TEST_F(TeamLongTextTest, EveryTextIsCorrectedWhereItStandsAlsoAfterARestart) {
  daemon_.Restart(WithDisk());
  const Tokens question = Question(5), answer = Question(6, 30);
  {
    TeamWorker worker(loop_.io, daemon_.socket());
    Learn(worker, Question(1), Question(2, 33), 4);
    Learn(worker, Question(3), Question(4, 35), 4);
  }
  for (int restarts = 0; restarts < 2; ++restarts) {
    TeamWorker worker(loop_.io, daemon_.socket());
    const auto version = Put(worker, question, answer);
    auto plan = worker.Plan(version.getVersion(), AskOfTwo(question, answer));
    ASSERT_EQ(MessageOf(plan), "");
    EXPECT_TRUE(plan.getTeam().getReuses()) << plan.getTeam().getReason().cStr();
    EXPECT_EQ(plan.getReply().getAnchoredRows(),
              question.size() + kMiddle.size() + answer.size() + kTail.size() - 1);
    ExpectRowsAreExact(worker, plan, PartsOfTwo(question, answer), 6 * kUlp16);
    auto first = AskOfTwo(question, answer);
    first.first_rows = 4;  // of contents alone
    EXPECT_EQ(worker.Plan(version.getVersion(), first).getReply().getAnchoredRows() + 8,
              plan.getReply().getAnchoredRows());
    daemon_.Restart(WithDisk());
  }
}

TEST_F(TeamLongTextTest, AContentInTheExactChainKeepsNoOtherFromBeingReused) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Learn(worker, Question(1), Question(2, 33), 4);
  Learn(worker, Question(3), Question(4, 35), 4);
  // Longer than what was learned, but held with all before it.
  const Tokens question = Question(5, 60);
  const auto version = Put(worker, question, Question(6, 30));
  auto ask = AskOfTwo(question, Question(6, 30));
  auto first = worker.Plan(version.getVersion(), ask);
  EXPECT_STREQ(first.getTeam().getReason().cStr(), "few_long");
  // Not for the answer's sake.
  EXPECT_STREQ(first.getTeam().getSlots()[1].getReason().cStr(), "corrected");
  worker.Commit(first, PartsOfTwo(question, Question(6, 30)));
  const Tokens answer = Question(7, 30);
  Put(worker, question, answer);
  ask.contents = {question, answer};
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_TRUE(plan.getTeam().getReuses()) << plan.getTeam().getReason().cStr();
  EXPECT_STREQ(plan.getTeam().getSlots()[0].getReason().cStr(), "held");
  EXPECT_STREQ(plan.getTeam().getSlots()[1].getReason().cStr(), "corrected");
  EXPECT_GE(plan.getReply().getExactRows(), kHead.size() + question.size());
  ExpectRowsAreExact(worker, plan, PartsOfTwo(question, answer), 6 * kUlp16);
}

TEST_F(TeamTextTest, EqualAnswersOfOtherPromptsTeachATextOnce) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const Tokens answer = Text(20, 300);
  const auto critic = worker.PutTemplate("critic", {kTail, kHead}, {"solver"});
  worker.PutSegment(critic.getVersion(), 1, kHead, static_cast<Position>(kTail.size()));
  for (const TokenId which : {1, 2}) {
    worker.PutText(Question(which));
    const auto solver = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    auto asked = worker.Plan(solver.getVersion(), AskOf(Question(which)));
    auto reply = worker.PutAnswer(asked, answer, 70);
    auto plan = worker.PlanOfAnswer(critic.getVersion(), answer, reply.getContent(), 50, true);
    ASSERT_EQ(MessageOf(plan), "");
    worker.Commit(plan, {{kTail, 0}, {answer, 0.25F}, {kHead, 0}});
    const auto slots = worker.Deposit(plan);
    ASSERT_EQ(slots.getSlots().size(), 2u);
    EXPECT_TRUE(slots.getSlots()[1].getOfText());
    EXPECT_STREQ(slots.getSlots()[1].getOutcome().cStr(), which == 1 ? "learned" : "known");
  }
}

TEST_F(TeamLongTextTest, AContentThatIsKnownTeachesNoTextBehindIt) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const Tokens question = Question(1);
  Learn(worker, question, Question(2, 33), 4);
  // The text behind the same question is known, the answer and the text behind it are not.
  Learn(worker, question, Question(3, 33), 2);
}

TEST_F(TeamLongTextTest, TextBehindNothingButTextIsItsOwnRows) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Learn(worker, Question(1), Question(2, 33), 4);
  Learn(worker, Question(3), Question(4, 35), 4);
  const auto version = Put(worker, {}, {});
  auto ask = AskOfTwo({}, {});
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_EQ(plan.getReply().getAnchoredRows(), kMiddle.size() + kTail.size() - 1);
  EXPECT_FALSE(plan.getTeam().getTexts()[0].getWanted());
  ExpectRowsAreExact(worker, plan, {{kHead, 0}, {kMiddle, 0}, {kTail, 0}}, 6 * kUlp16);
}

TEST_F(TeamTextTest, SegmentsOfAnotherVersionThatAreNotThereOrOfAnchorsAreRefused) {
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
  const auto put = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  const auto version = put.getVersion();
  EXPECT_EQ(MessageOf(worker.AskSegment(version, 0)), "segment is 0; the limit is 1 to 1");
  EXPECT_EQ(MessageOf(worker.AskSegment(version, 2)), "segment is 2; the limit is 1 to 1");
  EXPECT_FALSE(worker.AskSegment(version, 1).hasError());
  TeamWorker other(loop_.io, daemon_.socket(), "other");
  EXPECT_THAT(MessageOf(other.AskSegment(version, 1)),
              ::testing::HasSubstr("the team has no such template: put it again"));
  auto ask = AskWithText(Question(1));
  ask.correction = 2;
  EXPECT_EQ(MessageOf(worker.Plan(version, ask)),
            "correctText is set with correction 2 (anchors); it takes 0, 1 or 3");
}

TEST_F(TeamRpcTest, ALongerContentThanEnoughEarlierOnesIsComputed) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1, 40));
  Run(worker, Question(2, 30));
  EXPECT_EQ(Run(worker, Question(3, 31)), "few_long, learned");
  worker.PutText(Question(4, 31));
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  const auto plan = worker.Plan(version.getVersion(), AskOf(Question(4, 31)));
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  EXPECT_EQ(plan.getTeam().getSlots()[0].getCoveredRows(), 31u);
}

TEST_F(TeamRpcTest, AContentThatComesAgainIsExactAndTeachesNothing) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const Tokens question = Question(1);
  Run(worker, question);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto plan = worker.Plan(version.getVersion(), AskOf(question));
  EXPECT_FALSE(plan.getTeam().getReuses());
  EXPECT_EQ(plan.getReply().getComputedRows(), 1u);
  ExpectRowsAreExact(worker, plan, PartsOf(question), 2 * kUlp16);
  const auto deposit = worker.Deposit(plan);
  ASSERT_EQ(deposit.getSlots().size(), 1u);
  EXPECT_STREQ(deposit.getSlots()[0].getOutcome().cStr(), "known");
}

TEST_F(TeamRpcTest, EqualRequestsOfEqualEpochsGiveEqualBytesAndADepositMakesAnotherEpoch) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  const Tokens question = Question(3);
  worker.PutText(question);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto one = worker.Plan(version.getVersion(), AskOf(question));
  auto two = worker.Plan(version.getVersion(), AskOf(question));
  EXPECT_EQ(one.getTeam().getEpoch(), two.getTeam().getEpoch());
  const Floats before = worker.Read(one, 30, 3);
  EXPECT_NE(one.getTeam().getEpoch(), 0u);
  for (std::uint32_t row = 21; row < 61; row += 7) {
    EXPECT_EQ(worker.Read(one, row, 3), worker.Read(two, row, 3));
  }
  // A longer content is computed and teaches.
  EXPECT_EQ(Run(worker, Question(4, 50)), "few_long, learned");
  auto three = worker.Plan(version.getVersion(), AskOf(question));
  EXPECT_TRUE(three.getTeam().getReuses());
  EXPECT_NE(three.getTeam().getEpoch(), one.getTeam().getEpoch());
  // What was leased before still has its bytes (I2).
  EXPECT_EQ(worker.Read(one, 30, 3), before);
}

TEST_F(TeamRpcTest, WhatWasLearnedSurvivesARestart) {
  daemon_.Restart(WithDisk());
  std::uint64_t epoch = 0;
  const Tokens question = Question(3);
  {
    TeamWorker worker(loop_.io, daemon_.socket());
    Run(worker, Question(1));
    Run(worker, Question(2));
    worker.PutText(question);
    const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    epoch = worker.Plan(version.getVersion(), AskOf(question)).getTeam().getEpoch();
  }
  daemon_.Restart(WithDisk());
  TeamWorker worker(loop_.io, daemon_.socket());
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto plan = worker.Plan(version.getVersion(), AskOf(question));
  EXPECT_TRUE(plan.getTeam().getReuses()) << plan.getTeam().getReason().cStr();
  EXPECT_EQ(plan.getTeam().getEpoch(), epoch);
  ExpectRowsAreExact(worker, plan, PartsOf(question), 6 * kUlp16);
}

TEST_F(TeamRpcTest, TenantsWithEqualNamesAndContentsInfluenceEachOtherInNoByte) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  daemon_.uid = 1001;
  TeamWorker other(loop_.io, daemon_.socket());
  // Not even that the text is held.
  EXPECT_FALSE(other.AskText(Question(1)).wait(other.wait()).getIsHeld());
  EXPECT_EQ(Run(other, Question(3)), "few_deposits, learned");
  const auto status = other.Status();
  ASSERT_EQ(status.getMeans().size(), 1u);
  EXPECT_EQ(status.getMeans()[0].getDeposits(), 1u);
  EXPECT_EQ(status.getPlans(), 1u);
}

TEST_F(TeamRpcTest, WhatAnotherTenantTeachesChangesNoRowAndItsIdsNameNothing) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  worker.PutText(Question(3));
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto before = worker.Plan(version.getVersion(), AskOf(Question(3)));
  auto asked = worker.Plan(version.getVersion(), AskOf(Question(4)));
  const auto answer = worker.PutAnswer(asked, Question(8), 70);

  daemon_.uid = 1001;
  TeamWorker other(loop_.io, daemon_.socket());
  EXPECT_THAT(MessageOf(other.Plan(version.getVersion(), AskOf(Question(1)))),
              ::testing::HasSubstr("the team has no such template"));
  const auto own = other.PutTemplate("solver", {kHead, kTail}, {"question"});
  for (const TokenId which : {1, 2, 3}) {
    other.PutText(Question(which));
    auto plan = other.Plan(own.getVersion(), AskOf(Question(which)));
    other.Commit(plan, {{kHead, 3}, {Question(which), 3}, {kTail, 3}});
    other.Deposit(plan);
  }
  const auto foreign = other.PlanOfAnswer(own.getVersion(), Question(8), answer.getContent());
  EXPECT_STREQ(foreign.getTeam().getReason().cStr(), "missing_base");

  auto after = worker.Plan(version.getVersion(), AskOf(Question(3)));
  EXPECT_EQ(after.getTeam().getEpoch(), before.getTeam().getEpoch());
  for (std::uint32_t row = 21; row < 61; row += 3) {
    for (std::size_t plane = 0; plane < 2 * kShape.layers; ++plane) {
      EXPECT_EQ(worker.Read(after, row, plane), worker.Read(before, row, plane)) << row;
    }
  }
}

TEST_F(TeamRpcTest, ACallIsDepositedOnceAlsoWhenItsPlanIsGone) {
  TeamWorker worker(loop_.io, daemon_.socket());
  worker.PutText(Question(1));
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto plan = worker.Plan(version.getVersion(), AskOf(Question(1)));
  worker.Commit(plan, PartsOf(Question(1)));
  rpc::TeamCall::Client call = plan.getCall();
  { auto gone = std::move(plan); }
  const auto first = call.depositRequest().send().wait(worker.wait());
  ASSERT_EQ(first.getSlots().size(), 1u);
  EXPECT_STREQ(first.getSlots()[0].getOutcome().cStr(), "learned");
  EXPECT_EQ(MessageOf(call.depositRequest().send().wait(worker.wait())),
            "the call was deposited before; plan another one");
}

TEST_F(TeamRpcTest, TeamsAgentsAndVersionsLearnEachForItself) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  worker.PutText(Question(3));
  const auto other_agent = worker.PutTemplate("judge", {kHead, kTail}, {"question"});
  const auto other_text = worker.PutTemplate("solver", {kHead, Text(9, 802)}, {"question"});
  const auto other_slot = worker.PutTemplate("solver", {kHead, kTail}, {"task"});
  for (const auto* version : {&other_agent, &other_text, &other_slot}) {
    const auto plan = worker.Plan(version->getVersion(), AskOf(Question(3)));
    EXPECT_STREQ(plan.getTeam().getReason().cStr(), "few_deposits");
  }
  TeamWorker other(loop_.io, daemon_.socket(), "another team");
  const auto version = other.PutTemplate("solver", {kHead, kTail}, {"question"});
  const auto plan = other.Plan(version.getVersion(), AskOf(Question(3)));
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "few_deposits");
}

TEST_F(TeamRpcTest, SessionsOfOneTenantShareATeam) {
  TeamWorker one(loop_.io, daemon_.socket()), two(loop_.io, daemon_.socket());
  Run(one, Question(1));
  Run(two, Question(2));
  EXPECT_EQ(Run(one, Question(3)), "corrected");
  EXPECT_EQ(Run(two, Question(4)), "corrected");
}

TEST_F(TeamRpcTest, ReuseThatIsPredictedToBeNoFasterIsRefused) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  worker.PutText(Question(3));
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(Question(3));
  ask.prefill_us = 1;
  const auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_FALSE(plan.getTeam().getReuses());
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "not_worth_it");
}

TEST_F(TeamRpcTest, AnAgentThatAsksForExactRowsGetsNothingElseAndTeachesNothing) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  worker.PutText(Question(3));
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(Question(3));
  ask.exact = true;
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "asked_exact");
  EXPECT_EQ(plan.getReply().getAnchoredRows(), 0u);
  worker.Commit(plan, PartsOf(Question(3)));
  EXPECT_EQ(worker.Deposit(plan).getSlots().size(), 0u);
}

TEST_F(TeamRpcTest, DepositsThatCannotBeReadTeachNothingAndSayWhy) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  const auto deposit = [&](auto& plan) {
    const auto reply = worker.Deposit(plan);
    if (reply.hasError()) return MessageOf(reply);
    return reply.getSlots().size() == 0 ? std::string("nothing asked")
                                        : std::string(reply.getSlots()[0].getOutcome().cStr());
  };
  // No own rows: it is said, and nothing is wanted.
  auto missing = worker.Plan(version.getVersion(), AskOf(Question(1)));
  EXPECT_STREQ(missing.getTeam().getReason().cStr(), "missing_base");
  EXPECT_EQ(deposit(missing), "nothing asked");
  worker.PutText(Question(1));
  auto late = worker.Plan(version.getVersion(), AskOf(Question(1)));
  EXPECT_EQ(deposit(late), "rows_gone");
  auto broken = worker.Plan(version.getVersion(), AskOf(Question(1)));
  worker.Commit(broken, PartsOf(Question(1)), std::numeric_limits<float>::infinity());
  EXPECT_EQ(deposit(broken), "not_finite");
  EXPECT_EQ(deposit(late), "not_finite");  // it could be tried again, now that there are rows
  const auto status = worker.Status();
  EXPECT_EQ(status.getMeans().size(), 0u);
  EXPECT_EQ(status.getBytes(), 0u);
}

TEST_F(TeamRpcTest, MeansWhoseBlocksAreGoneAreForgottenAndNothingWrongIsServed) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  EXPECT_GT(worker.RemoveBlocks(StorageClass::kTeam), 3u);
  // The question is put again, and what was learned is not there.
  EXPECT_EQ(Run(worker, Question(3)), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(4)), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(5)), "corrected");
}

TEST_F(TeamRpcTest, ATrustedMeanIsTheMeanWhereOffsetsAgree) {
  TeamWorker worker(loop_.io, daemon_.socket());
  for (TokenId i = 1; i <= 4; ++i) Run(worker, Question(i, static_cast<std::size_t>(40 + i)));
  const Tokens last = Question(9);
  worker.PutText(last);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(last);
  ask.correction = 3;
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  // All contents have the same offsets: what differs is rounding.
  ExpectRowsAreExact(worker, plan, PartsOf(last), 6 * kUlp16);
  ask.correction = 1;
  EXPECT_NE(worker.Plan(version.getVersion(), ask).getTeam().getEpoch(), plan.getTeam().getEpoch());
}

TEST_F(TeamRpcTest, BadRequestsAreRefusedByFieldValueAndLimitAndChangeNothing) {
  auto larger = daemon_.DefaultOptions();
  larger.config.max_message_bytes = kMiB;
  daemon_.Restart(std::move(larger));
  TeamWorker worker(loop_.io, daemon_.socket());
  const auto put = [&](const std::vector<Tokens>& segments, const std::vector<std::string>& slots,
                       const std::string& agent = "solver") {
    return MessageOf(worker.PutTemplate(agent, segments, slots));
  };
  EXPECT_EQ(put({kHead, kTail}, {"q"}, ""), "agent's length is 0; the limit is 1 to 256");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, "\xff"), "agent is no UTF-8");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, "\xe2\x82"), "agent is no UTF-8");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, "\xe2\x82\xac"), "");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, std::string(257, 'a')),
            "agent's length is 257; the limit is 1 to 256");
  EXPECT_EQ(put({kHead, kTail}, {"q"}, std::string(256, 'a')), "");
  EXPECT_EQ(put({kHead}, {"q"}), "segments' length is 1; the limit is 2 to 2");
  EXPECT_EQ(put({kHead}, {}), "number of slots is 0; the limit is 1 to 64");
  EXPECT_EQ(put({kHead, kTail, kTail}, {"q", "q"}),
            "slot 'q' is in the template twice; give one of them another name");
  EXPECT_EQ(put({kHead, {}, kTail}, {"q", "r"}),
            "segments[1]' length is 0; the limit is 1 to 32768");  // two side by side
  EXPECT_EQ(put({{}, kTail}, {"q"}), "segments[0]' length is 0; the limit is 1 to 32768");
  EXPECT_EQ(put({{1000}, kTail}, {"q"}), "segments[0][0] is 1000; the limit is 0 to 999");

  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"q"});
  const auto plan = [&](const TeamWorker::Ask& ask) {
    return MessageOf(worker.Plan(version.getVersion(), ask));
  };
  EXPECT_EQ(plan({}), "contents has 0 entries; the template of agent 'solver' has 1 slots");
  EXPECT_EQ(plan({.contents = {Question(1), Question(2)}}),
            "contents has 2 entries; the template of agent 'solver' has 1 slots");
  EXPECT_EQ(plan({.contents = {Question(1)}, .first_rows = 1025}),
            "firstRows is 1025; the limit is 0 to 1024");
  EXPECT_EQ(plan({.contents = {Question(1)}, .first_rows = 1024}), "");
  EXPECT_EQ(plan({.contents = {Question(1)}, .correction = 4}),
            "correction is 4; the limit is 0 to 3");
  EXPECT_EQ(plan({.contents = {Question(1)}, .correction = 2}),
            "correction is 2 (anchors); the team was opened without keepAnchors and has none");
  EXPECT_EQ(plan({.contents = {Question(1)}, .gamma = 1.5}),
            "gamma is 1.500000; the limit is 0 to 1");
  EXPECT_EQ(plan({.contents = {Question(1)}, .store_tokens = 71}),
            "storeTokens is 71; the limit is 0 to 70");
  EXPECT_EQ(plan({.contents = {Question(1, 32768)}}),
            "the prompt of agent 'solver' has 32798 tokens behind slot 0; the limit is 32768 "
            "(contextTokens)");
  capnp::MallocMessageBuilder message;
  auto unknown = message.initRoot<rpc::Hash128>();
  unknown.setLow(1);
  EXPECT_EQ(MessageOf(worker.Plan(unknown.asReader(), {.contents = {Question(1)}})),
            "version is 01000000000000000000000000000000; the team has no such template: put it "
            "again");
  EXPECT_EQ(MessageOf(worker.AskText({}).wait(worker.wait())),
            "tokens' length is 0; the limit is 1 to 32763");
  EXPECT_EQ(worker.Status().getBytes(), 0u);

  const auto open = [&](const std::string& name, const Tokens& lead_in, std::uint32_t least) {
    auto request = worker.model().openTeamRequest();
    request.setName(name.c_str());
    auto options = request.initOptions();
    TeamWorker::WriteTokens(lead_in, options.initLeadIn(static_cast<unsigned>(lead_in.size())));
    options.setLeastDeposits(least);
    return MessageOf(request.send().wait(worker.wait()));
  };
  EXPECT_EQ(open("", kLeadIn, 2), "name's length is 0; the limit is 1 to 256");
  EXPECT_EQ(open("t", {}, 2), "leadIn' length is 0; the limit is 1 to 1024");
  EXPECT_EQ(open("t", Text(1025), 2), "leadIn' length is 1025; the limit is 1 to 1024");
  EXPECT_EQ(open("t", kLeadIn, 0), "leastDeposits is 0; the limit is 1 to 64");
  EXPECT_EQ(open("t", kLeadIn, 65), "leastDeposits is 65; the limit is 1 to 64");
  EXPECT_EQ(open("t", Text(1024), 64), "");
}

}  // namespace
}  // namespace kvcommons::testing
