// Requests through a team on the model: what a measured one says, and those that do not fit.

#include "agents/team/team_compare.h"

#include <gmock/gmock.h>

#include "agents/engine/engine_testing.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

constexpr std::string_view kTeam = R"(
[[agent]]
name = "solver"
prompt = "Question: {{question}}\nAnswer in a word."
max_tokens = 200
[[agent]]
name = "judge"
prompt = "Question: {{question}}\nAnswer: {{solver}}\nIs it right?"
reuse = "exact"
max_tokens = 4
)";

class TeamCompareTest : public testing::Test {
 protected:
  void SetUp() override {
    KVC_NEEDS_MODEL();
    EngineOptions options;
    options.model_path = TestModel();
    options.context_tokens = 256;
    options.measure_costs = false;
    auto engine = Engine::Open(options);
    ASSERT_TRUE(engine) << engine.error().ToString();
    engine_ = std::move(*engine);
    auto graph = ParseTeamGraph(kTeam, "test");
    ASSERT_TRUE(graph);
    graph_ = std::move(*graph);
    auto session = TeamSession::Create(*engine_, graph_, "auto", {});
    ASSERT_TRUE(session) << session.error().ToString();
    session_ = std::move(*session);
    TeamCompareOptions compare;
    for (const char* mode : {"exact", "rotate"}) compare.modes.push_back(*ParseTeamMode(mode));
    compare.forced_tokens = 4;
    compare_ = std::make_unique<TeamCompare>(*engine_, graph_, *session_, compare);
  }

  std::unique_ptr<Engine> engine_;
  TeamGraph graph_;
  std::unique_ptr<TeamSession> session_;
  std::unique_ptr<TeamCompare> compare_;
};

TEST_F(TeamCompareTest, EveryModeStandsBesideDensePrefillAndAnExactAgentIsNeverApproximated) {
  graph_.agents[0].max_tokens = 6;
  const auto line = compare_->Run("q", {{"question", "What is the capital of France?"}}, true);
  ASSERT_TRUE(line) << line.error().ToString();
  const Json& solver = (*line)["agents"][0];
  const Json& judge = (*line)["agents"][1];
  ASSERT_EQ(solver["modes"].size(), 2u);
  EXPECT_LT(solver["modes"][0]["kl"], 5e-3);  // exact: this 4-bit engine's noise
  EXPECT_EQ(solver["modes"][0]["uncorrected"], 0);
  EXPECT_LT(solver["modes"][1]["charged"], 0.9);
  EXPECT_EQ(solver["modes"][1]["uncorrected"], solver["slots"][0]["tokens"]);
  EXPECT_GT(solver["base_ms"], 0);
  EXPECT_EQ(judge["base_ms"], 0);  // The solver waited for the question.
  ASSERT_EQ(judge["modes"].size(), 2u);
  EXPECT_EQ(judge["modes"][1]["mode"], "rotate");
  EXPECT_EQ(judge["modes"][1]["uncorrected"], 0);
  EXPECT_LT(judge["modes"][1]["kl"], 5e-3);
  EXPECT_GT((*line)["mean_bytes"], 0);
}

TEST_F(TeamCompareTest, AnAnswerThatFillsTheContextIsTheNextAgentsProblemAndSaid) {
  // The solver's prompt leaves room for the rows of two tokens.
  const TeamTemplate& shape = session_->shape(0);
  const std::size_t room = 254 - shape.segments[0].size() - shape.segments[1].size();
  std::string question = "Colours: red";
  while (engine_->Tokenize(question, false)->size() < room) question += " red";
  ASSERT_EQ(engine_->Tokenize(question, false)->size(), room);
  const auto line = compare_->Run("long", {{"question", question}}, false);
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(line.error().message(), HasSubstr("case 'long': agent 'judge': the prompt has"));
  // And the next case is as if that had not been.
  graph_.agents[0].max_tokens = 4;
  EXPECT_TRUE(compare_->Run("q", {{"question", "What is red?"}}, true));
}

TEST_F(TeamCompareTest, TheLastAgentsAnswerIsWhatAModeGoesOnToSay) {
  TeamCompareOptions options;
  for (const char* mode : {"exact", "rotate"}) options.modes.push_back(*ParseTeamMode(mode));
  options.forced_tokens = 2;  // of four: the rest is generated
  options.control = engine_.get();
  graph_.agents[0].max_tokens = 6;
  graph_.agents[1].exact_only = false;
  TeamCompare compare(*engine_, graph_, *session_, options);
  const auto line = compare.Run("q", {{"question", "What is the capital of France?"}}, true);
  ASSERT_TRUE(line) << line.error().ToString();
  const Json& solver = (*line)["agents"][0];
  const Json& judge = (*line)["agents"][1];
  ASSERT_EQ(judge["modes"].size(), 3u);
  EXPECT_FALSE(solver["modes"][0].contains("answer"));
  const Json& control = judge["modes"][2];
  EXPECT_EQ(control["mode"], "control");
  EXPECT_LT(control["kl"], 5e-3);  // this engine itself
  EXPECT_EQ(control["answer"], judge["answer"]);
  EXPECT_EQ(judge["modes"][0]["answer"], judge["answer"]);
  EXPECT_NE(judge["modes"][1]["answer"], "");
}

TEST_F(TeamCompareTest, AFieldsRowsCanBeThoseOfItsFirstReaderWhoIsDenseThen) {
  TeamCompareOptions options;
  options.modes.push_back(*ParseTeamMode("rotate"));
  options.forced_tokens = 4;
  options.first_reader = true;
  graph_.agents[0].max_tokens = 6;
  graph_.agents[1].exact_only = false;
  TeamCompare compare(*engine_, graph_, *session_, options);
  const auto line = compare.Run("q", {{"question", "What is the capital of France?"}}, true);
  ASSERT_TRUE(line) << line.error().ToString();
  EXPECT_FALSE((*line)["agents"][0].contains("modes"));
  EXPECT_EQ((*line)["agents"][0]["base_ms"], 0);
  ASSERT_EQ((*line)["agents"][1]["modes"].size(), 1u);
  // Rows that stand at another place would be far off.
  EXPECT_LT((*line)["agents"][1]["modes"][0]["kl"], 0.5);
  EXPECT_EQ(compare.Run("q", {{"question", ""}}, true).error().message(),
            "case 'q': 'question': the content is empty; it needs a token");
}

TEST(TeamCompareGraphs, ThoseWithToolsOrTurnsAreRefusedByName) {
  const auto graph =
      ParseTeamGraph(std::string("allow_tools = true\n[[tool]]\nname = 't'\ncommand = ['cat']\n") +
                         std::string(kTeam),
                     "test");
  ASSERT_TRUE(graph) << graph.error().ToString();
  const Status refused = TeamCompare::CheckGraph(*graph);
  EXPECT_EQ(refused.code(), Code::kUnsupported);
  EXPECT_THAT(refused.message(), HasSubstr("tool 't': modes are not compared where tools"));
  const auto turns = ParseTeamGraph("turns = 2\n" + std::string(kTeam), "test");
  ASSERT_TRUE(turns) << turns.error().ToString();
  EXPECT_EQ(TeamCompare::CheckGraph(*turns).ToString(),
            "unsupported: turns is 2: modes are compared in graphs without turns; "
            "`kvcommons-engine team` runs such graphs");
  EXPECT_TRUE(TeamCompare::CheckGraph(*ParseTeamGraph(kTeam, "test")).ok());
}

TEST_F(TeamCompareTest, AFieldThatIsMissingOrEmptyIsRefusedByCaseAndName) {
  EXPECT_EQ(compare_->Run("q", {}, true).error().message(),
            "case 'q': it has no text 'question', which the graph's prompts name");
  EXPECT_EQ(compare_->Run("q", {{"question", ""}}, true).error().message(),
            "case 'q': 'question': the content is empty; it needs a token");
}

}  // namespace
}  // namespace kvcommons
