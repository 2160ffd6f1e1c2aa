// A team's contents over the schema: texts and answers, who computes them, and what keeps their
// kinds apart.

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "daemon/team_testing.h"

namespace kvcommons::testing {
namespace {

class TeamContentsTest : public TeamRpcTest {};

TEST_F(TeamContentsTest, AnAnswersOwnRowsAreItsProducersAndHaveAMeanOfTheirOwn) {
  // Agents of two processes: what one answered is read by the other.
  TeamWorker worker(loop_.io, daemon_.socket()), reader(loop_.io, daemon_.socket());
  for (TokenId i = 1; i <= 3; ++i) {
    const Tokens question = Question(i), answer = Text(20, 300 + i);
    worker.PutText(question);
    const auto solver = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
    auto asked = worker.Plan(solver.getVersion(), AskOf(question));
    worker.Commit(asked, PartsOf(question));
    const auto behind = static_cast<Position>(kHead.size() + question.size() + kTail.size());
    auto reply = worker.PutAnswer(asked, answer, behind, -0.125F);
    const auto critic = reader.PutTemplate("critic", {kTail, kHead}, {"solver"});
    auto plan = reader.PlanOfAnswer(critic.getVersion(), answer, reply.getContent(), 50);
    ASSERT_EQ(MessageOf(plan), "");
    const std::vector<Part> parts = {{kTail, 0}, {answer, 0.25F}, {kHead, 0}};
    EXPECT_STREQ(plan.getTeam().getReason().cStr(), i < 3 ? "few_deposits" : "corrected");
    if (i == 3) ExpectRowsAreExact(reader, plan, parts, 6 * kUlp16);
    reader.Commit(plan, parts);
    reader.Deposit(plan);
  }
  const auto status = worker.Status();
  ASSERT_EQ(status.getMeans().size(), 1u);
  EXPECT_TRUE(status.getMeans()[0].getOfAnswers());
  EXPECT_EQ(status.getMeans()[0].getUses(), 1u);
}

TEST_F(TeamContentsTest, EqualTextsInFlightAreComputedOnce) {
  TeamWorker one(loop_.io, daemon_.socket()), two(loop_.io, daemon_.socket());
  const Tokens text = Question(1);
  auto first = std::make_unique<capnp::Response<rpc::Team::PutTextResults>>(
      one.AskText(text).wait(one.wait()));
  ASSERT_FALSE(first->getIsHeld());
  auto second = two.AskText(text);
  EXPECT_EQ(one.AskText(Question(2)).wait(one.wait()).getIsHeld(), false);  // others go on
  one.Upload(first->getUpload(), text, 5);
  // The first still has its finished upload: nobody waits for its end.
  EXPECT_TRUE(second.wait(two.wait()).getIsHeld());
}

TEST_F(TeamContentsTest, ClientsWithUploadsOfTheirOwnAreNotMadeToWaitForEachOther) {
  TeamWorker one(loop_.io, daemon_.socket()), two(loop_.io, daemon_.socket());
  auto first = one.AskText(Question(1)).wait(one.wait());
  auto second = two.AskText(Question(2)).wait(two.wait());
  const auto refused = one.AskText(Question(2)).wait(one.wait());
  EXPECT_EQ(CodeOf(refused), Code::kUnavailable);
  EXPECT_THAT(MessageOf(refused), ::testing::HasSubstr("this session has 1 of its own to finish"));
  // Nor for itself.
  EXPECT_EQ(CodeOf(one.AskText(Question(1)).wait(one.wait())), Code::kUnavailable);
  one.Upload(first.getUpload(), Question(1), 5);
  EXPECT_TRUE(two.AskText(Question(1)).wait(two.wait()).getIsHeld());
}

TEST_F(TeamContentsTest, TextsBehindAnotherLeadInHaveRowsAndMeansOfTheirOwn) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  auto open = worker.model().openTeamRequest();
  open.setName("team");
  const Tokens other_lead_in = Text(6, 710);
  auto options = open.initOptions();
  TeamWorker::WriteTokens(other_lead_in, options.initLeadIn(6));
  options.setLeastDeposits(2);
  rpc::Team::Client other = open.send().wait(worker.wait()).getTeam();
  // The first one's rows are held behind the team's own lead-in; of the other no prompt is.
  for (const TokenId which : {1, 9}) {
    auto ask = other.putTextRequest();
    TeamWorker::WriteTokens(Question(which), ask.initTokens(40));
    auto reply = ask.send().wait(worker.wait());
    EXPECT_FALSE(reply.getIsHeld());
    worker.Upload(reply.getUpload(), Question(which), 6);
  }
  auto plan = other.planRequest();
  auto request = plan.initRequest();
  request.setVersion(worker.PutTemplate("solver", {kHead, kTail}, {"question"}).getVersion());
  TeamWorker::WriteTokens(Question(9), request.initContents(1)[0].initTokens(40));
  EXPECT_STREQ(plan.send().wait(worker.wait()).getTeam().getReason().cStr(), "few_deposits");
}

TEST_F(TeamContentsTest, ATextsIdIsNoAnswers) {
  TeamWorker worker(loop_.io, daemon_.socket());
  const Tokens text = Question(1);
  worker.PutText(text);
  const auto held = worker.AskText(text).wait(worker.wait());
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  const auto plan = worker.PlanOfAnswer(version.getVersion(), text, held.getContent());
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "missing_base");
}

TEST_F(TeamContentsTest, AnAnswerOfCorrectedRowsIsCountedAsSuchWhereItTeaches) {
  TeamWorker worker(loop_.io, daemon_.socket());
  Run(worker, Question(1));
  Run(worker, Question(2));
  const Tokens question = Question(3), answer = Text(20, 333);
  worker.PutText(question);
  const auto solver = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto asked = worker.Plan(solver.getVersion(), AskOf(question));
  ASSERT_TRUE(asked.getTeam().getReuses());
  auto reply = worker.PutAnswer(asked, answer, 70);
  const auto critic = worker.PutTemplate("critic", {kTail, kHead}, {"solver"});
  auto plan = worker.PlanOfAnswer(critic.getVersion(), answer, reply.getContent(), 50);
  worker.Commit(plan, {{kTail, 0}, {answer, 0.25F}, {kHead, 0}});
  worker.Deposit(plan);
  const auto status = worker.Status();
  ASSERT_EQ(status.getMeans().size(), 2u);
  EXPECT_STREQ(status.getMeans()[0].getAgent().cStr(), "critic");
  EXPECT_EQ(status.getMeans()[0].getOfCorrected(), 1u);
  EXPECT_EQ(status.getMeans()[1].getOfCorrected(), 0u);
}

TEST_F(TeamContentsTest, AnUploadThatEndsUnfinishedLeavesNothingAndTheNextMayBegin) {
  TeamWorker one(loop_.io, daemon_.socket()), two(loop_.io, daemon_.socket());
  const Tokens text = Question(1);
  {
    auto first = one.AskText(text).wait(one.wait());
    one.Upload(first.getUpload(), text, 5, 0, false, 2);
  }
  auto second = two.AskText(text).wait(two.wait());
  EXPECT_FALSE(second.getIsHeld());
  EXPECT_EQ(MessageOf(two.Upload(second.getUpload(), text, 5)), "");
  EXPECT_TRUE(one.AskText(text).wait(one.wait()).getIsHeld());
}

}  // namespace
}  // namespace kvcommons::testing
