// Teams on the model: what a mode gives beside a full prefill of the same prompt.

#include "agents/team/team_session.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "agents/engine/engine_testing.h"

namespace kvcommons {
namespace {

using testing::HasSubstr;

constexpr std::string_view kTeam = R"(
[[agent]]
name = "reader"
system = "You read."
prompt = "Text: {{text}}\nAnd the hint: {{hint}}\nSay what it is about."
[[agent]]
name = "other"
system = "You are somebody else altogether, and it shows."
prompt = "Here is a hint, {{hint}}, and then a text:\n{{text}}\nWell?"
)";

class TeamSessionTest : public testing::Test {
 protected:
  void SetUp() override {
    KVC_NEEDS_MODEL();
    engine_ = &SharedEngine(TestEngine::kExact);
    const auto graph = ParseTeamGraph(kTeam, "test");
    ASSERT_TRUE(graph) << graph.error().ToString();
    TeamMemoryOptions options;
    options.least_deposits = 1;
    options.anchors.bytes = std::uint64_t{1} << 30;
    auto session = TeamSession::Create(*engine_, *graph, "auto", options);
    ASSERT_TRUE(session) << session.error().ToString();
    session_ = std::move(*session);
  }
  void TearDown() override {
    if (engine_ != nullptr) engine_->Clear();
  }

  // 24 tokens of the text from `begin` on, and 9 from elsewhere.
  std::vector<SharedContent> Contents(std::size_t begin) {
    const std::span<const TokenId> text(LongText());
    auto a = session_->FromText(text.subspan(begin, 24));
    auto b = session_->FromText(text.subspan(begin + 700, 9));
    EXPECT_TRUE(a && b);
    return {*a, *b};
  }

  std::vector<float> LogitsOf(std::size_t agent, std::vector<SharedContent> contents,
                              const std::string& mode) {
    if (agent == 1) std::swap(contents[0], contents[1]);  // As its prompt has them.
    const auto call = session_->Prepare(agent, contents, *ParseTeamMode(mode));
    EXPECT_TRUE(call) << call.error().ToString();
    return Copy(engine_->Logits(0));
  }

  void Learn(std::size_t agent, std::vector<SharedContent> contents) {
    if (agent == 1) std::swap(contents[0], contents[1]);
    const auto call = session_->Prepare(agent, contents, *ParseTeamMode("dense"));
    ASSERT_TRUE(call);
    const auto rows = session_->ReadPrompt(static_cast<std::uint32_t>(call->prompt.size()));
    ASSERT_TRUE(rows);
    const Status status = session_->Deposit(agent, contents, *call, *rows);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }

  Engine* engine_ = nullptr;
  std::unique_ptr<TeamSession> session_;
};

TEST_F(TeamSessionTest, AContentThatComesAgainBehindTheSameTextEqualsFullPrefill) {
  const auto contents = Contents(100);
  const std::vector<float> dense = LogitsOf(0, contents, "dense");
  EXPECT_GT(Kl(dense, LogitsOf(0, contents, "rotate")), 1e-4);
  Learn(0, contents);
  for (const char* mode : {"mean+seg", "C+seg", "C", "mean", "mean+seg+b4"}) {
    EXPECT_LT(Kl(dense, LogitsOf(0, contents, mode)), 1e-5) << mode;
  }
}

TEST_F(TeamSessionTest, ComputingEveryRowIsFullPrefillWhateverWasPlaced) {
  const auto contents = Contents(300);
  Learn(0, Contents(100));
  const std::vector<float> dense = LogitsOf(0, contents, "dense");
  for (const char* mode : {"exact", "rotate+b1024", "mean+seg+b1024", "C+seg+b1024"}) {
    EXPECT_LT(Kl(dense, LogitsOf(0, contents, mode)), 1e-6) << mode;
  }
}

TEST_F(TeamSessionTest, RowsThatARuleChoosesBringThePromptNearerToFullPrefill) {
  const auto contents = Contents(300);
  const std::vector<float> dense = LogitsOf(0, contents, "dense");
  const double turned = Kl(dense, LogitsOf(0, contents, "rotate"));
  const double composed = Kl(dense, LogitsOf(0, contents, "rotate+d60"));
  EXPECT_LT(composed, turned);
  const auto less = session_->Prepare(0, contents, *ParseTeamMode("compose"));
  const auto more = session_->Prepare(0, contents, *ParseTeamMode("rotate+d60"));
  ASSERT_TRUE(less && more);
  EXPECT_LT(less->charged, more->charged);
  EXPECT_GT(less->charged, session_->Prepare(0, contents, *ParseTeamMode("rotate"))->charged);
  EXPECT_LT(more->charged, 1);
  EXPECT_EQ(less->exact, session_->shape(0).segments.front().size());
  // And contents that were corrected before are chosen among in the same way.
  Learn(0, contents);
  EXPECT_LT(Kl(dense, LogitsOf(0, contents, "mean+seg+d30")), 1e-5);
}

TEST_F(TeamSessionTest, WhatOneReaderMeasuredIsNotUsedForAnother) {
  const auto contents = Contents(500);
  const std::vector<float> before = LogitsOf(1, contents, "rotate");
  Learn(0, Contents(100));
  Learn(0, contents);
  for (const char* mode : {"mean+seg", "C+seg"}) {
    EXPECT_EQ(LogitsOf(1, contents, mode), before) << mode;
  }
  Learn(1, contents);
  EXPECT_NE(LogitsOf(1, contents, "mean+seg"), before);
}

TEST_F(TeamSessionTest, AnAnswersOwnRowsServeTheNextAgentWhereverTheyWereMade) {
  const auto text = Contents(100);
  const auto call = session_->Prepare(0, text, *ParseTeamMode("dense"));
  ASSERT_TRUE(call);
  const auto answer = engine_->Generate(12);
  ASSERT_TRUE(answer);
  ASSERT_FALSE(answer->empty());
  const auto begin = static_cast<Position>(call->prompt.size());
  if (engine_->held_end() < begin + static_cast<Position>(answer->size())) {
    ASSERT_TRUE(engine_->RunToken(answer->back()).ok());
  }
  const auto content = session_->FromAnswer(begin, *answer);
  ASSERT_TRUE(content);
  EXPECT_EQ((*content)->base.origin, begin);
  const std::vector<SharedContent> contents{text[0], *content};
  const std::vector<float> dense = LogitsOf(1, contents, "dense");
  const double rotated = Kl(dense, LogitsOf(1, contents, "rotate"));
  EXPECT_LT(rotated, 0.5);  // Turned to the wrong place it would be far off.
  Learn(1, contents);
  EXPECT_LT(Kl(dense, LogitsOf(1, contents, "mean+seg")), 1e-5);
}

TEST_F(TeamSessionTest, AContentThatComesAgainIsCorrectedByItsOwnAnchorAlone) {
  const auto contents = Contents(100);
  Learn(0, contents);
  for (const std::size_t begin : {300u, 600u}) Learn(0, Contents(begin));
  EXPECT_EQ(session_->memory().StateOf(session_->shape(0), 0, *contents[0], false).anchors, 1u);
  const std::vector<float> dense = LogitsOf(0, contents, "dense");
  EXPECT_LT(Kl(dense, LogitsOf(0, contents, "C")), 1e-5);
  EXPECT_GT(Kl(dense, LogitsOf(0, contents, "mean+seg")), 1e-5);  // A mean is of all of them.
}

TEST_F(TeamSessionTest, WhereThereIsTooLittleToCorrectByRowsAreTurnedAndThatIsSaid) {
  Learn(0, Contents(100));
  const auto contents = Contents(300);
  const std::vector<float> turned = LogitsOf(0, contents, "rotate");
  const auto uncorrected = [&](const char* mode) {
    return session_->Prepare(0, contents, *ParseTeamMode(mode))->uncorrected;
  };
  EXPECT_EQ(uncorrected("rotate"), 33u);
  EXPECT_EQ(uncorrected("C+seg"), 33u);  // One anchor, and not its own.
  EXPECT_EQ(LogitsOf(0, contents, "C+seg"), turned);
  EXPECT_EQ(uncorrected("mean+seg"), 0u);
  Learn(0, Contents(600));
  EXPECT_EQ(uncorrected("C+seg"), 0u);
  EXPECT_EQ(uncorrected("C+seg+b4"), 0u);
}

TEST_F(TeamSessionTest, AContentIsLearnedOnceFromEachReader) {
  const auto contents = Contents(100), other = Contents(300);
  Learn(0, contents);
  const std::vector<float> once = LogitsOf(0, other, "mean+seg");
  const std::uint64_t bytes = session_->memory().anchor_bytes();
  Learn(0, contents);
  EXPECT_EQ(LogitsOf(0, other, "mean+seg"), once);
  EXPECT_EQ(session_->memory().anchor_bytes(), bytes);
}

TEST_F(TeamSessionTest, ADepositOfRowsThatAreNoNumbersTeachesNothing) {
  const auto contents = Contents(100);
  const auto call = session_->Prepare(0, contents, *ParseTeamMode("dense"));
  auto rows = session_->ReadPrompt(static_cast<std::uint32_t>(call->prompt.size()));
  const float nan = std::nanf("");
  for (std::size_t i = 0; i + sizeof nan <= rows->block.size(); i += sizeof nan) {
    std::memcpy(rows->block.data() + i, &nan, sizeof nan);
  }
  EXPECT_THAT(session_->Deposit(0, contents, *call, *rows).message(),
              HasSubstr("agent 'reader': rows of slot 'text' are no numbers"));
  EXPECT_EQ(session_->memory().mean_bytes(), 0u);
  EXPECT_EQ(session_->memory().anchor_bytes(), 0u);
}

TEST_F(TeamSessionTest, ContentsThatDoNotFitAreRefusedAndNothingChanges) {
  const auto contents = Contents(100);
  const auto before = LogitsOf(0, contents, "dense");
  const std::uint32_t held = engine_->held_tokens();
  const auto one = session_->Prepare(0, std::span(contents).first(1), *ParseTeamMode("mean+seg"));
  ASSERT_FALSE(one);
  EXPECT_EQ(one.error().message(), "contents are 1; the template has 2 slots");
  EXPECT_THAT(session_->FromText({}).error().message(), HasSubstr("the content is empty"));
  const std::vector<TokenId> long_text(engine_->context_tokens(), LongText().front());
  EXPECT_THAT(session_->FromText(long_text).error().message(), HasSubstr("the limit is"));
  auto huge = std::make_shared<TeamContent>(*contents[0]);
  huge->tokens = long_text;
  huge->base.rows = engine_->context_tokens();
  const std::vector<SharedContent> too_long{huge, contents[1]};
  const auto refused = session_->Prepare(0, too_long, *ParseTeamMode("dense"));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message(), HasSubstr("agent 'reader': the prompt has"));
  EXPECT_EQ(engine_->held_tokens(), held);
  EXPECT_EQ(Copy(engine_->Logits(0)), before);
}

}  // namespace
}  // namespace kvcommons
