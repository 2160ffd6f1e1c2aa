// What a team may keep, over the schema: means within the tenant's bound, and anchors.

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "daemon/team_testing.h"

namespace kvcommons::testing {
namespace {

class TeamBoundsTest : public TeamRpcTest {
 protected:
  // Room for that many means of 40 rows.
  void Bound(std::size_t means) {
    auto options = daemon_.DefaultOptions();
    options.config.team_memory_bytes = means * 40 * kShape.token_bytes() + 100;
    daemon_.Restart(std::move(options));
    worker_ = std::make_unique<TeamWorker>(loop_.io, daemon_.socket());
  }
  // What its deposit came to, or why there was none.
  std::string Teach(const std::string& agent, const Tokens& question) {
    worker_->PutText(question);
    const auto version = worker_->PutTemplate(agent, {kHead, kTail}, {"question"});
    auto plan = worker_->Plan(version.getVersion(), AskOf(question));
    worker_->Commit(plan, PartsOf(question));
    const auto reply = worker_->Deposit(plan);
    return reply.getSlots().size() == 0 ? std::string(plan.getTeam().getReason().cStr())
                                        : std::string(reply.getSlots()[0].getOutcome().cStr());
  }

  std::unique_ptr<TeamWorker> worker_;
};

TEST_F(TeamBoundsTest, MeansNeverExceedTheTenantsBoundAndTheLeastUsedLeaves) {
  Bound(2);
  TeamWorker& worker = *worker_;
  const auto held = [&] {
    std::string names;
    const auto status = worker.Status();
    EXPECT_LE(status.getBytes(), status.getLimitBytes());
    for (const auto mean : status.getMeans()) names += std::string(mean.getAgent().cStr()) + " ";
    return names;
  };
  const auto teach = [&](const std::string& agent, const Tokens& question) {
    return Teach(agent, question);
  };
  EXPECT_EQ(teach("one", Question(1)), "learned");
  EXPECT_EQ(teach("one", Question(2)), "learned");
  EXPECT_EQ(teach("one", Question(3)), "corrected");  // a use
  EXPECT_EQ(teach("two", Question(1)), "learned");
  EXPECT_EQ(held(), "one two ");
  EXPECT_EQ(teach("three", Question(1)), "learned");
  EXPECT_EQ(held(), "one three ");
  // What cannot be learned makes nobody leave.
  worker.PutText(Question(7));
  const auto version = worker.PutTemplate("four", {kHead, kTail}, {"question"});
  auto broken = worker.Plan(version.getVersion(), AskOf(Question(7)));
  worker.Commit(broken, PartsOf(Question(7)), std::numeric_limits<float>::infinity());
  const auto reply = worker.Deposit(broken);
  EXPECT_STREQ(reply.getSlots()[0].getOutcome().cStr(), "not_finite");
  EXPECT_EQ(held(), "one three ");
  EXPECT_EQ(teach("four", Question(4, 81)), "pool_bound");  // refused
  EXPECT_EQ(teach("four", Question(5, 90)), "pool_bound");  // not asked for again
  EXPECT_EQ(held(), "one three ");
  EXPECT_EQ(teach("four", Question(6, 40)), "learned");
}

TEST_F(TeamBoundsTest, MeansThatDoNotAllFitDoNotMakeEachOtherLeaveForEver) {
  const auto learn = [&](const char* agent, TokenId which) {
    return Teach(agent, Question(which));
  };
  Bound(2);
  for (const char* agent : {"one", "two", "three"}) EXPECT_EQ(learn(agent, 1), "learned");
  // The first one left unused, and what is there is still of use.
  EXPECT_EQ(learn("one", 2), "pool_bound");
  for (const char* agent : {"two", "three"}) EXPECT_EQ(learn(agent, 2), "learned");
  for (const char* agent : {"two", "three"}) EXPECT_EQ(learn(agent, 3), "corrected");
  int refused = 1;
  while (refused < 100 && learn("one", 10 + refused) == "pool_bound") ++refused;
  EXPECT_EQ(refused, 15);  // of sixteen calls one tries again
}

TEST_F(TeamBoundsTest, ContentsMeansDoNotLeaveForTextAndTextLeavesForThem) {
  auto options = daemon_.DefaultOptions();
  // A mean of 40 rows and one of the text's nine.
  options.config.team_memory_bytes = 49 * kShape.token_bytes() + 10;
  daemon_.Restart(std::move(options));
  TeamWorker worker(loop_.io, daemon_.socket());
  auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  worker.PutSegment(version.getVersion(), 1, kTail, static_cast<Position>(kHead.size()));
  EXPECT_EQ(Run(worker, Question(1, 40), AskWithText(Question(1, 40))),
            "few_deposits, learned, learned text");
  // The content's mean grows, and the text's leaves for it.
  EXPECT_EQ(Run(worker, Question(2, 45), AskWithText(Question(2, 45))),
            "few_deposits, learned, pool_bound text");
  // Then there is no room for text, and contents are reused all the same.
  worker.PutText(Question(3));
  auto plan = worker.Plan(version.getVersion(), AskWithText(Question(3)));
  EXPECT_TRUE(plan.getTeam().getReuses()) << plan.getTeam().getReason().cStr();
  EXPECT_STREQ(plan.getTeam().getTexts()[0].getReason().cStr(), "pool_bound");
  EXPECT_EQ(plan.getReply().getAnchoredRows(), 40u);
}

TEST_F(TeamBoundsTest, OfTextAndContentsTheTextLeavesFirst) {
  auto options = daemon_.DefaultOptions();
  // Two means of 40 rows and the text's of nine: a mean of nine more takes the place of one.
  options.config.team_memory_bytes = 89 * kShape.token_bytes() + 10;
  daemon_.Restart(std::move(options));
  worker_ = std::make_unique<TeamWorker>(loop_.io, daemon_.socket());
  const auto version = worker_->PutTemplate("solver", {kHead, kTail}, {"question"});
  worker_->PutSegment(version.getVersion(), 1, kTail, static_cast<Position>(kHead.size()));
  Run(*worker_, Question(1), AskWithText(Question(1)));
  EXPECT_EQ(Teach("two", Question(2)), "learned");
  EXPECT_EQ(worker_->Status().getMeans().size(), 3u);
  EXPECT_EQ(Teach("three", Question(3, 9)), "learned");
  const auto status = worker_->Status();
  EXPECT_EQ(status.getMeans().size(), 3u);
  for (const auto mean : status.getMeans()) EXPECT_FALSE(mean.getOfPrompt());
}

TEST_F(TeamBoundsTest, AnchorsCorrectByNearnessWhereTheGateLetsThem) {
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
  EXPECT_EQ(Run(worker, Question(1), 2), "few_deposits, learned");
  EXPECT_EQ(Run(worker, Question(2), 2), "few_deposits, learned");
  const Tokens third = Question(3);
  worker.PutText(third);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(third);
  ask.correction = 2;
  auto plan = worker.Plan(version.getVersion(), ask);
  ASSERT_EQ(MessageOf(plan), "");
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  EXPECT_EQ(plan.getTeam().getSlots()[0].getDeposits(), 2u);
  EXPECT_GT(plan.getTeam().getSlots()[0].getEntropyBits(), 0);
  // All contents have the same offsets, so whatever the weights the sum is right.
  ExpectRowsAreExact(worker, plan, PartsOf(third), 6 * kUlp16);
  auto again = worker.Plan(version.getVersion(), ask);
  EXPECT_EQ(again.getTeam().getEpoch(), plan.getTeam().getEpoch());
  EXPECT_EQ(worker.Read(again, 30, 2), worker.Read(plan, 30, 2));
  ask.gamma = 0;
  EXPECT_STREQ(worker.Plan(version.getVersion(), ask).getTeam().getReason().cStr(), "spread");
  // Longer than all but one.
  Run(worker, Question(4, 50), 2);
  EXPECT_EQ(Run(worker, Question(5, 45), 2), "few_long, learned");
  EXPECT_EQ(Run(worker, Question(6, 45), 2), "corrected");
}

TEST_F(TeamBoundsTest, AContentThatComesAgainIsCorrectedByItsOwnAnchorAlone) {
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
  const Tokens question = Question(1);
  Run(worker, question, 2);
  // The prompt's exact rows leave; one anchor would be too few for another content.
  EXPECT_GT(worker.RemoveBlocks(StorageClass::kExact), 3u);
  const auto version = worker.PutTemplate("solver", {kHead, kTail}, {"question"});
  auto ask = AskOf(question);
  ask.correction = 2;
  auto plan = worker.Plan(version.getVersion(), ask);
  EXPECT_STREQ(plan.getTeam().getReason().cStr(), "corrected");
  EXPECT_EQ(plan.getTeam().getSlots()[0].getDeposits(), 1u);
  ExpectRowsAreExact(worker, plan, PartsOf(question), 6 * kUlp16);
  EXPECT_EQ(Run(worker, Question(2), 2), "few_deposits, learned");
}

TEST_F(TeamBoundsTest, AnchorsSurviveARestartAndAreNoOtherTenants) {
  daemon_.Restart(WithDisk());
  std::uint64_t bytes = 0;
  {
    TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
    Run(worker, Question(1), 2);
    Run(worker, Question(2), 2);
    const auto status = worker.Status();
    EXPECT_EQ(status.getAnchors(), 2u);
    bytes = status.getAnchorBytes();
    EXPECT_EQ(bytes, 2 * 2 * 40 * kShape.token_bytes());
  }
  daemon_.Restart(WithDisk());
  {
    TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
    const auto status = worker.Status();
    EXPECT_EQ(status.getAnchorBytes(), bytes);
    EXPECT_EQ(Run(worker, Question(3), 2), "corrected");
  }
  daemon_.uid = 1001;
  TeamWorker other(loop_.io, daemon_.socket(), "team", 2, true);
  EXPECT_EQ(Run(other, Question(3), 2), "few_deposits, learned");
}

TEST_F(TeamBoundsTest, AnchorsAreBoundedByTheSlotAndByTheTenantsBytes) {
  auto options = daemon_.DefaultOptions();
  const std::uint64_t one = 40 * kShape.token_bytes();
  options.config.team_memory_bytes = one + 4 * one + 10;  // a mean, and two anchors of two
  daemon_.Restart(std::move(options));
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 64, true);
  const auto status = [&] { return worker.Status(); };
  for (TokenId i = 1; i <= 4; ++i) {
    EXPECT_EQ(Run(worker, Question(i)), "few_deposits, learned");
    EXPECT_LE(status().getBytes(), status().getLimitBytes());
  }
  EXPECT_EQ(status().getAnchors(), 2u);
  EXPECT_EQ(status().getMeans()[0].getDeposits(), 4u);
}

TEST_F(TeamBoundsTest, AnchorsThatDoNotFitAreNotAskedForAgain) {
  Bound(1);  // a mean, and no anchor beside it
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 2, true);
  EXPECT_EQ(Run(worker, Question(1), 2), "few_deposits, pool_bound");
  EXPECT_EQ(Run(worker, Question(2), 2), "pool_bound");
  int refused = 1;
  while (refused < 100 && Run(worker, Question(10 + refused), 2) == "pool_bound") ++refused;
  EXPECT_EQ(refused, 15);
}

TEST_F(TeamBoundsTest, StatsNameTheBytesOfEveryAnchor) {
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 64, true);
  for (TokenId i = 1; i <= 3; ++i) Run(worker, Question(i, 20U + static_cast<unsigned>(i)));
  const auto reply = worker.client().Session().statsRequest().send().wait(worker.wait());
  const auto stats = nlohmann::json::parse(reply.getJson().cStr());
  const auto& teams = stats["tenant"]["teams"];
  std::uint64_t sum = 0;
  ASSERT_EQ(teams["anchor_list"].size(), 3u) << stats.dump();
  for (const auto& anchor : teams["anchor_list"]) {
    EXPECT_EQ(anchor["bytes"], 2 * anchor["tokens"].get<std::uint64_t>() * kShape.token_bytes());
    EXPECT_EQ(anchor["readers"], 1);
    sum += anchor["bytes"].get<std::uint64_t>();
  }
  EXPECT_EQ(teams["anchor_bytes"], sum);
}

TEST_F(TeamBoundsTest, ASlotKeepsNoMoreAnchorsThanTwenty) {
  TeamWorker worker(loop_.io, daemon_.socket(), "team", 64, true);
  for (TokenId i = 1; i <= 23; ++i) Run(worker, Question(i, 17));
  const auto status = worker.Status();
  EXPECT_EQ(status.getAnchors(), 20u);
}

}  // namespace
}  // namespace kvcommons::testing
