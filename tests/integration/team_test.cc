// Teams with everything real: a model, a daemon and its disk. Contents are prefilled once and read
// by agents with other prompts; what comes out is close to full prefill, and equal to it where
// nothing that stands before a content differs.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "agents/engine/fidelity.h"
#include "agents/engine/plan_rows.h"
#include "agents/team/daemon_team.h"
#include "agents/team/team_run.h"
#include "tests/integration/daemon_process.h"
#include "tests/integration/fp32_engine.h"

namespace kvcommons {
namespace {

using ::testing::HasSubstr;
using Tokens = std::vector<TokenId>;
using Inputs = std::vector<const DaemonContent*>;

constexpr const char* kGraph = R"(
name = "two at a question"
max_tokens = 12
[[agent]]
name = "solver"
system = "You are a careful mathematician."
prompt = "Question: {{question}}\n\nWrite your solution."
[[agent]]
name = "critic"
prompt = "The task: {{question}}\n\nThe solution:\n{{solver}}\n\nWhat is wrong with it?"
)";

const std::vector<std::string> kQuestions = {
    "A baker makes 12 loaves of bread every morning and sells 7 of them before noon. How many "
    "loaves are left in the afternoon?",
    "Tom has 15 marbles. He gives 4 to his sister and finds 6 more in the garden. How many marbles "
    "does he have now, and how many did he lose?",
    "A train travels 60 miles in an hour. How far does it travel in three and a half hours without "
    "a stop?",
    "Anna reads 20 pages a day. Her book has 300 pages. How many days does she need?"};

class TeamTest : public testing::Test {
 protected:
  void SetUp() override {
    if (TestModelPath().empty()) GTEST_SKIP() << "KVCOMMONS_MODEL names no model";
    engine_ = &Fp32Engine();
    const Status started = daemon_.Start();
    ASSERT_TRUE(started.ok()) << started.ToString();
    graph_ = ParseTeamGraph(kGraph, "test").value();
    Open();
  }

  void Open() {
    team_.reset();
    model_.reset();
    client_ = daemon_.Connect().value();
    model_ = client_->OpenModel(engine_->profile(), Fp32Gate()).value();
    team_ = DaemonTeam::Open(*engine_, *model_, graph_, {.least_deposits = 2}).value();
  }

  DaemonContent Text(const std::string& text) {
    return team_->FromText(engine_->Tokenize(text, false).value()).value();
  }

  std::vector<float> Logits() const {
    const auto logits = engine_->Logits(0);
    return {logits.begin(), logits.end()};
  }
  double KlToDense(const Tokens& prompt) {
    const std::vector<float> own = Logits();
    engine_->Clear();
    EXPECT_TRUE(engine_->RunRest(prompt).ok());
    return KlDivergence(Logits(), own);
  }

  // team.toml and cases.jsonl in the daemon's folder, for the command.
  void WriteTeamAndCases() const {
    std::ofstream(daemon_.folder() + "/team.toml") << kGraph;
    std::ofstream cases(daemon_.folder() + "/cases.jsonl");
    for (const std::string& question : kQuestions) {
      cases << nlohmann::json{{"question", question}} << "\n";
    }
  }

  static TeamMode Mode(const std::string& name) { return ParseTeamMode(name).value(); }

  Engine* engine_ = nullptr;
  DaemonProcess daemon_;
  TeamGraph graph_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<ModelHandle> model_;
  std::unique_ptr<DaemonTeam> team_;
};

TEST_F(TeamTest, BehindWhatItWasComputedBehindAContentEqualsFullPrefill) {
  const DaemonContent content = Text(kQuestions[0]);
  // A prompt that begins with the lead-in itself.
  const Tokens lead_in = TeamLeadIn(*engine_, "auto").value();
  const Tokens tail = engine_->Tokenize("\n\nThe answer is", false).value();
  const auto version = team_->team().PutTemplate({"same", {lead_in, tail}, {"question"}}).value();
  TeamPlanAsk ask;
  ask.version = version;
  ask.contents = {{content.tokens, false, {}}};
  ask.correct_by = TeamCorrectBy::kNothing;
  const auto call = team_->team().Plan(ask).value();
  ASSERT_TRUE(call->reuses) << call->reason;
  Tokens prompt = lead_in;
  prompt.insert(prompt.end(), content.tokens.begin(), content.tokens.end());
  prompt.insert(prompt.end(), tail.begin(), tail.end());
  const PlanRows rows = RowsOf(*call->plan);
  ASSERT_TRUE(PlacePlan(*engine_, *call->plan, rows.places).ok());
  ASSERT_TRUE(engine_->Run(prompt, rows.runs).ok());
  EXPECT_LE(KlToDense(prompt), 1e-5);
}

TEST_F(TeamTest, LayerZeroOfACorrectedRowIsThatOfFullPrefill) {
  const DaemonContent content = Text(kQuestions[0]);
  const Inputs inputs = {&content};
  const auto call = team_->Prefill(0, inputs, Mode("rotate")).value();
  ASSERT_GT(call.anchored, 0u);
  const auto head = static_cast<Position>(team_->shape(0).segments.front().size());
  const auto count = static_cast<std::uint32_t>(content.tokens.size());
  const PlaneLayout planes = engine_->profile().planes();
  std::vector<std::byte> reused(planes.BlockBytes(count)), dense(reused.size());
  ASSERT_TRUE(engine_->ReadRows(head, count, reused.data()).ok());
  engine_->Clear();
  ASSERT_TRUE(engine_->RunRest(call.prompt).ok());
  ASSERT_TRUE(engine_->ReadRows(head, count, dense.data()).ok());
  const std::size_t row_floats = planes.row_bytes[0] / sizeof(float);
  const auto worst = [&](std::size_t plane) {
    float difference = 0, largest = 0;
    for (std::size_t i = 0; i < count * row_floats; ++i) {
      const std::size_t at = planes.PlaneOffset(plane, count) + i * sizeof(float);
      float a = 0, b = 0;
      std::memcpy(&a, reused.data() + at, sizeof a);
      std::memcpy(&b, dense.data() + at, sizeof b);
      difference = std::max(difference, std::abs(a - b));
      largest = std::max(largest, std::abs(b));
    }
    return difference / largest;
  };
  constexpr float kUlp = 1.2e-7F;
  EXPECT_LE(worst(1), 2 * kUlp);
  // The engine's own angles are fp32: at position p they are p ulp off.
  EXPECT_LE(worst(0), (2 + static_cast<float>(call.prompt.size())) * kUlp);
}

TEST_F(TeamTest, OneAgentsContentThatComesAgainIsExact) {
  const DaemonContent content = Text(kQuestions[0]);
  const Inputs inputs = {&content};
  auto first = team_->Prefill(0, inputs, Mode("mean+seg")).value();
  EXPECT_EQ(first.reason, "few_deposits");
  const auto finished = team_->Finish(first, UploadAck::kDurable);
  EXPECT_EQ(finished.fallback, "");
  ASSERT_EQ(finished.deposits.size(), 1u);
  EXPECT_EQ(finished.deposits[0].outcome, "learned");
  const DaemonContent again = Text(kQuestions[0]);
  EXPECT_EQ(again.base_ms, 0);  // its own rows are held
  const auto second = team_->Prefill(0, inputs, Mode("mean+seg")).value();
  EXPECT_EQ(second.anchored, 0u);
  EXPECT_EQ(second.computed, 1u);
  EXPECT_LE(KlToDense(second.prompt), 1e-5);
}

TEST_F(TeamTest, ATeamLearnsAndThenReusesAlsoAfterTheDaemonWasKilled) {
  TeamRun run(*engine_, graph_, *team_, nullptr,
              {.mode = Mode("mean+seg"), .ack = UploadAck::kDurable});
  for (std::size_t i = 0; i < 2; ++i) {
    const auto line = run.Run("q", {{"question", kQuestions[i]}}, false);
    ASSERT_TRUE(line) << line.error().ToString();
    for (const auto& agent : (*line)["agents"]) EXPECT_EQ(agent["reason"], "few_deposits");
  }
  daemon_.Kill();
  // Without a daemon the prompt is computed in full, and it is said why.
  const DaemonContent lost = Text(kQuestions[3]);
  EXPECT_NE(lost.fallback, "");
  const Inputs inputs = {&lost};
  const auto alone = team_->Prefill(0, inputs, Mode("mean+seg"));
  ASSERT_TRUE(alone);
  EXPECT_EQ(alone->mode, "dense");
  EXPECT_EQ(alone->reason, "no_daemon");
  EXPECT_FALSE(alone->fallback.empty());

  EXPECT_TRUE(run.Run("q", {{"question", kQuestions[3]}}, false));  // a request goes on

  const Status started = daemon_.Start();
  ASSERT_TRUE(started.ok()) << started.ToString();
  Open();
  TeamRun again(*engine_, graph_, *team_, nullptr, {.mode = Mode("mean+seg")});
  const auto line = again.Run("q", {{"question", kQuestions[3]}}, true);
  ASSERT_TRUE(line) << line.error().ToString();
  const auto& solver = (*line)["agents"][0];
  EXPECT_EQ(solver["reason"], "corrected");
  EXPECT_EQ(solver["deposits"], 2);
  EXPECT_GT(solver["anchored"], 0);
}

TEST_F(TeamTest, WhatAToolPrintsIsAContentOfItsReaders) {
  graph_ = ParseTeamGraph(R"(
allow_tools = true
max_tokens = 4
[[agent]]
name = "solver"
prompt = "Question: {{question}}\n\nAnswer."
[[tool]]
name = "echo"
command = ["cat"]
input = "{{question}}|{{solver}}"
[[tool]]
name = "silent"
command = ["sh", "-c", "exit 3"]
[[agent]]
name = "judge"
prompt = "Q: {{question}}\nSeen: {{echo}}\nAnd: {{silent}}\nWell?"
)",
                          "test")
               .value();
  Open();
  TeamRun refused(*engine_, graph_, *team_, nullptr, {.mode = Mode("dense")});
  const auto no = refused.Run("q", {{"question", "Why?"}}, true);
  ASSERT_FALSE(no);
  EXPECT_THAT(no.error().ToString(),
              HasSubstr("invalid_argument: case 'q': tool 'echo' would run 'cat'"));
  TeamRun run(*engine_, graph_, *team_, nullptr, {.mode = Mode("dense"), .allow_tools = true});
  const auto line = run.Run("q", {{"question", "Why?"}}, true);
  if (!line && line.error().code() == Code::kUnsupported) GTEST_SKIP() << line.error().message();
  ASSERT_TRUE(line) << line.error().ToString();
  const auto &agents = (*line)["agents"], &tools = (*line)["tools"];
  ASSERT_EQ(tools.size(), 2u);
  EXPECT_EQ(tools[0]["tool"], "echo");
  EXPECT_EQ(tools[0]["output"], "Why?|" + agents[0]["answer"].get<std::string>());
  EXPECT_EQ(tools[0]["exit_code"], 0);
  EXPECT_EQ(tools[0]["timed_out"], false);
  EXPECT_GT(tools[0]["ms"], 0);
  EXPECT_EQ(tools[1]["exit_code"], 3);
  EXPECT_EQ(tools[1]["output"], "");
  const auto tokens = [&](const std::string& text) {
    return engine_->Tokenize(text, false).value();
  };
  const std::vector<Tokens> contents = {tokens("Why?"), tokens(tools[0]["output"]),
                                        tokens("(no output)")};
  const std::vector<std::span<const TokenId>> spans(contents.begin(), contents.end());
  EXPECT_EQ(agents[1]["tokens"], team_->shape(1).Fill(spans).size());
}

TEST_F(TeamTest, InTurnsEveryoneReadsTheNewestAnswer) {
  graph_ = ParseTeamGraph(R"(
turns = 2
max_tokens = 24
[[agent]]
name = "solver"
prompt = "Question: {{question}}\n\nCriticism: {{critic}}\n\nAnswer."
[[agent]]
name = "critic"
prompt = "The answer: {{solver}}\n\nIs it right?"
)",
                          "test")
               .value();
  Open();
  TeamRun run(*engine_, graph_, *team_, nullptr, {.mode = Mode("mean+seg")});
  const auto line = run.Run("q", {{"question", kQuestions[0]}}, true);
  ASSERT_TRUE(line) << line.error().ToString();
  const auto& agents = (*line)["agents"];
  ASSERT_EQ(agents.size(), 4u);
  const auto length = [&](const std::string& text) {
    return engine_->Tokenize(text, false).value().size();
  };
  const auto prompt = [&](std::size_t agent, std::size_t contents) {
    for (const Tokens& segment : team_->shape(agent).segments) contents += segment.size();
    return contents;
  };
  const auto answered = [&](std::size_t i) {
    return agents[i]["answer_tokens"].get<std::size_t>();
  };
  const std::size_t question = length(kQuestions[0]);
  EXPECT_EQ(agents[0]["tokens"], prompt(0, question + length("(nothing yet)")));
  EXPECT_EQ(agents[1]["tokens"], prompt(1, answered(0)));
  EXPECT_EQ(agents[2]["tokens"], prompt(0, question + answered(1)));
  EXPECT_EQ(agents[3]["tokens"], prompt(1, answered(2)));
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(agents[i]["agent"], i % 2 == 0 ? "solver" : "critic");
    EXPECT_EQ(agents[i].value("turn", 1), i < 2 ? 1 : 2);
    EXPECT_EQ(agents[i].value("fallback", ""), "");
  }
  EXPECT_FALSE(agents[0].contains("turn"));
  // What a turn teaches serves the next ones: it is the same template, and has learned twice.
  ASSERT_TRUE(run.Run("q", {{"question", kQuestions[1]}}, false));
  const auto third = run.Run("q", {{"question", kQuestions[2]}}, true);
  ASSERT_TRUE(third);
  EXPECT_EQ((*third)["agents"][3]["reason"], "corrected");
}

TEST_F(TeamTest, MeansBringPromptsNearerToFullPrefillThanTurningAlone) {
  TeamRun run(*engine_, graph_, *team_, nullptr, {.mode = Mode("mean+seg")});
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(run.Run("q", {{"question", kQuestions[i]}}, false));
  }
  const DaemonContent content = Text(kQuestions[3]);
  const Inputs inputs = {&content};
  const auto turned = team_->Prefill(0, inputs, Mode("rotate")).value();
  ASSERT_GT(turned.anchored, 0u);
  const double turned_kl = KlToDense(turned.prompt);
  const auto corrected = team_->Prefill(0, inputs, Mode("mean+seg")).value();
  ASSERT_GT(corrected.anchored, 0u) << corrected.reason;
  const double corrected_kl = KlToDense(corrected.prompt);
  EXPECT_LT(corrected_kl, turned_kl);
  EXPECT_LT(corrected_kl, 0.3);
}

TEST_F(TeamTest, WhereNothingIsReusedNoContentHasRowsOfItsOwnComputed) {
  for (const char* mode : {"dense", "exact"}) {
    TeamRun run(*engine_, graph_, *team_, nullptr, {.mode = Mode(mode)});
    const auto line = run.Run("q", {{"question", kQuestions[0]}}, false);
    ASSERT_TRUE(line) << line.error().ToString();
    EXPECT_EQ((*line)["agents"][0]["base_ms"], 0) << mode;
    EXPECT_EQ((*line)["agents"][0]["answer_base_ms"], 0) << mode;
    EXPECT_EQ((*line)["agents"][0]["mode"], mode);
  }
}

TEST_F(TeamTest, AModeWhoseCanariesStrayIsSwitchedOff) {
  team_ =
      DaemonTeam::Open(*engine_, *model_, graph_, {.least_deposits = 2, .canary_share = 1}).value();
  TeamRun run(*engine_, graph_, *team_, nullptr, {.mode = Mode("mean+seg")});
  for (std::size_t i = 0; i < 2; ++i) {
    const auto line = run.Run("q", {{"question", kQuestions[i]}}, false);
    ASSERT_TRUE(line) << line.error().ToString();
    EXPECT_FALSE((*line)["agents"][0].contains("canary"));  // nothing was reused
  }
  const auto line = run.Run("q", {{"question", kQuestions[3]}}, false);
  ASSERT_TRUE(line) << line.error().ToString();
  const auto& canary = (*line)["agents"][0]["canary"];
  EXPECT_GT(canary["kl"], 0);
  EXPECT_LT(canary["kl"], 1);
  EXPECT_EQ(canary["enabled"], true);
  const std::string name = TeamQualityName(Mode("mean+seg"));
  EXPECT_EQ(name, "team-mean-seg");
  const auto known = model_->QualityOf(name);
  ASSERT_TRUE(known);
  EXPECT_GE(known->samples, 1u);
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(model_->ReportQuality(name, 100, 0));
  const DaemonContent content = Text("Ben has 17 pens and 4 of them are red. How many are not?");
  const Inputs inputs = {&content};
  const auto off = team_->Prefill(0, inputs, Mode("mean+seg")).value();
  EXPECT_EQ(off.reason, "switched_off");
  EXPECT_EQ(off.anchored, 0u);
  EXPECT_GT(team_->Prefill(0, inputs, Mode("rotate")).value().anchored, 0u);  // another mode
  for (const char* mode : {"R", "C", "compose", "trust+seg+d10"}) {
    const auto refused = team_->Prefill(0, inputs, Mode(mode));
    ASSERT_FALSE(refused) << mode;
    EXPECT_EQ(refused.error().code(), Code::kUnsupported) << mode;
  }
  ASSERT_TRUE(model_->ResetQuality(name).ok());
  EXPECT_GT(team_->Prefill(0, inputs, Mode("mean+seg")).value().anchored, 0u);
}

TEST_F(TeamTest, TwoProcessesTeachOneTeam) {
  const std::string folder = daemon_.folder();
  WriteTeamAndCases();
  {
    std::ofstream cases(folder + "/cases.jsonl", std::ios::app);
    cases << nlohmann::json{{"question",
                             "Ben has 17 pens and 4 of them are red. How many pens are not red?"}}
          << "\n";
  }
  const auto run = [&](const std::string& first, const std::string& count) {
    return RunProgram({KVCOMMONS_ENGINE_BINARY,
                       "team",
                       "--context",
                       "1024",
                       "--threads",
                       "1",
                       "--daemon",
                       daemon_.socket_path(),
                       "--graph",
                       folder + "/team.toml",
                       "--cases",
                       folder + "/cases.jsonl",
                       "--first",
                       first,
                       "--warm",
                       "0",
                       "--cases-max",
                       count,
                       "--least-deposits",
                       "4",
                       "--fixed-costs",
                       "--json",
                       folder + "/" + first + ".json"});
  };
  std::vector<ProgramOutput> ran(2);
  std::thread other([&] { ran[1] = run("2", "2"); });
  ran[0] = run("0", "2");
  other.join();
  for (const ProgramOutput& one : ran) ASSERT_EQ(one.exit_code, 0) << one.output;
  // Two contents each, and four are what it takes.
  const auto third = run("4", "1");
  ASSERT_EQ(third.exit_code, 0) << third.output;
  std::ifstream file(folder + "/4.json");
  const auto report = nlohmann::json::parse(file, nullptr, false);
  EXPECT_EQ(report["agents"][0]["reason"], "corrected") << third.output;
}

TEST_F(TeamTest, WhereTextIsCorrectedOnlyTheLastTokenIsComputed) {
  TeamRun run(*engine_, graph_, *team_, nullptr, {.mode = Mode("mean")});
  for (std::size_t i = 0; i < 3; ++i) {
    const auto line = run.Run("q", {{"question", kQuestions[i]}}, false);
    ASSERT_TRUE(line) << line.error().ToString();
    const auto& learned = (*line)["agents"][0]["learned"];
    ASSERT_EQ(learned.size(), i < 2 ? 2u : 0u) << "the question and the text behind it";
  }
  const DaemonContent content = Text(kQuestions[3]);
  const Inputs inputs = {&content};
  const auto turned = team_->Prefill(0, inputs, Mode("turn")).value();
  EXPECT_EQ(turned.mode, "turn");
  const double turned_kl = KlToDense(turned.prompt);
  const auto corrected = team_->Prefill(0, inputs, Mode("mean")).value();
  ASSERT_GT(corrected.anchored, 0u) << corrected.reason;
  EXPECT_EQ(corrected.anchored + corrected.exact + 1, corrected.prompt.size());
  const double corrected_kl = KlToDense(corrected.prompt);
  EXPECT_LT(corrected_kl, turned_kl);
  EXPECT_LT(corrected_kl, 1);
}

TEST_F(TeamTest, TheCommandReportsEveryAgentBesideDenseAndExact) {
  const std::string folder = daemon_.folder();
  WriteTeamAndCases();
  const auto team = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments{KVCOMMONS_ENGINE_BINARY,
                                       "team",
                                       "--context",
                                       "1024",
                                       "--daemon",
                                       daemon_.socket_path(),
                                       "--graph",
                                       folder + "/team.toml",
                                       "--cases",
                                       folder + "/cases.jsonl"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProgram(arguments);
  };
  const auto made = team({"--warm", "3", "--least-deposits", "2", "--compare", "--max-tokens", "4",
                          "--fixed-costs", "--json", folder + "/team.json"});
  ASSERT_EQ(made.exit_code, 0) << made.output;
  std::ifstream file(folder + "/team.json");
  const auto report = nlohmann::json::parse(file, nullptr, false);
  ASSERT_EQ(report["agents"].size(), 2U) << made.output;
  const auto& solver = report["agents"][0];
  EXPECT_EQ(solver["mode"], "trust+seg");
  EXPECT_EQ(solver["reason"], "corrected");
  EXPECT_EQ(solver["hits"], 1);
  EXPECT_EQ(solver["calls"], 1);
  for (const char* field : {"ttft_dense_ms", "ttft_exact_ms", "ttft_ms", "last_ms", "kl", "top1",
                            "charged", "base_ms"}) {
    EXPECT_TRUE(solver[field].is_number()) << field;
  }
  EXPECT_EQ(report["cases"], 1);
  EXPECT_GT(report["reuse_rate"], 0.4);
  EXPECT_TRUE(report["answer_agreement"].is_number());
  EXPECT_GT(report["pool_bytes"], 0);

  const auto anchors = team({"--mode", "C"});
  EXPECT_EQ(anchors.exit_code, 1);
  EXPECT_THAT(anchors.output, HasSubstr("the daemon corrects no text by anchors"));
  const auto unknown = team({"--mode", "best"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.output, HasSubstr("mode is 'best'; known are"));
}

}  // namespace
}  // namespace kvcommons
