// Graphs that are read, and every one that is refused, with what the message says.

#include "agents/team/graph.h"

#include <gmock/gmock.h>

namespace kvcommons {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Refusal(const std::string& toml) {
  const auto graph = ParseTeamGraph(toml, "team.toml");
  return graph ? "" : graph.error().message();
}

std::string Agent(const std::string& name, const std::string& prompt,
                  const std::string& more = "") {
  return "[[agent]]\nname = '" + name + "'\nprompt = '" + prompt + "'\n" + more + "\n";
}

TEST(TeamGraph, AgentsStandBehindThoseWhoseAnswersTheyRead) {
  const auto graph = ParseTeamGraph(
      "name = 'two'\nmax_tokens = 7\n" +
          Agent("judge", "Q {{question}} A {{solver}} V", "reuse = 'exact'\nmax_tokens = 3") +
          Agent("solver", "Q: {{question}} hint {{hint}}", "system = 'You solve.'"),
      "team.toml");
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_EQ(graph->name, "two");
  ASSERT_EQ(graph->agents.size(), 2u);
  const TeamAgent &solver = graph->agents[0], &judge = graph->agents[1];
  EXPECT_EQ(solver.name, "solver");
  EXPECT_EQ(solver.system, "You solve.");
  EXPECT_THAT(solver.text, ElementsAre("Q: ", " hint ", ""));
  EXPECT_THAT(solver.slots, ElementsAre("question", "hint"));
  EXPECT_EQ(solver.max_tokens, 7u);
  EXPECT_FALSE(solver.exact_only);
  EXPECT_EQ(judge.system, std::nullopt);
  EXPECT_TRUE(judge.exact_only);
  EXPECT_EQ(judge.max_tokens, 3u);
  EXPECT_THAT(graph->fields, ElementsAre("hint", "question"));
}

TEST(TeamGraph, ACycleIsRefused) {
  EXPECT_THAT(Refusal(Agent("a", "{{b}}.") + Agent("b", "{{a}}.")),
              HasSubstr("agent 'a': it waits for an answer that waits for its own"));
  EXPECT_THAT(Refusal(Agent("a", "{{a}}.")), HasSubstr("break the cycle"));
  // One that only reads what the cycle would give is not to blame.
  EXPECT_THAT(Refusal(Agent("reader", "{{b}}.") + Agent("b", "{{c}}.") + Agent("c", "{{b}}.")),
              HasSubstr("agent 'b': it waits"));
}

TEST(TeamGraph, SlotsThatCannotBeFilledAreRefused) {
  EXPECT_THAT(Refusal(Agent("a", "no slot")), HasSubstr("the prompt has no slot"));
  EXPECT_THAT(Refusal(Agent("a", "{{x}}{{y}}.")),
              HasSubstr("nothing stands between the slots 'x' and 'y'"));
  EXPECT_THAT(Refusal(Agent("a", "{{x}} and {{x}}.")),
              HasSubstr("slot 'x' is in the prompt twice"));
  EXPECT_THAT(Refusal(Agent("a", "{{x")), HasSubstr("has no '}}'"));
  EXPECT_THAT(Refusal(Agent("a", "{{}}.")), HasSubstr("names no slot"));
  EXPECT_THAT(Refusal(Agent("a", "{{ }}.")), HasSubstr("names no slot"));
  EXPECT_THAT(Refusal(Agent("a", "{{id}}.")), HasSubstr("slot 'id' is what a case is called"));
  std::string slots;
  for (int i = 0; i < 64; ++i) slots += "{{s" + std::to_string(i) + "}}.";
  EXPECT_EQ(Refusal(Agent("a", slots)), "");
  EXPECT_THAT(Refusal(Agent("a", slots + "{{x}}.")), HasSubstr("more than 64 slots"));
}

TEST(TeamGraph, BlanksAroundASlotsNameAreNotPartOfIt) {
  const auto graph =
      ParseTeamGraph(Agent("b", "{{ a }} and {{x}}.") + Agent("a", "{{ x}}."), "team.toml");
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_EQ(graph->agents[0].name, "a");
  EXPECT_THAT(graph->fields, ElementsAre("x"));
}

TEST(TeamGraph, WhatIsUnknownOrOutOfLimitsIsRefusedByName) {
  EXPECT_THAT(Refusal("agents = 3"), HasSubstr("'agents' is unknown; known are agent, allow_tools, "
                                               "max_tokens, name, tool, turns"));
  EXPECT_THAT(Refusal(Agent("a", "{{x}}.", "model = 'm'")),
              HasSubstr("agent 1: 'model' is unknown"));
  EXPECT_THAT(Refusal(Agent("a", "{{x}}.", "reuse = 'always'")),
              HasSubstr("agent 'a': reuse is 'always'; known are auto, exact"));
  EXPECT_THAT(Refusal(Agent("a", "{{x}}.", "system = 4")), HasSubstr("'system' is not a text"));
  EXPECT_THAT(Refusal(Agent("a", "{{x}}.") + Agent("a", "{{x}}.")),
              HasSubstr("there are two of this name"));
  EXPECT_THAT(Refusal("[[agent]]\nprompt = '{{x}}.'"), HasSubstr("agent 1: it has no name"));
  EXPECT_THAT(Refusal("[[agent]]\nname = 'a'"), HasSubstr("agent 'a': it has no prompt"));
  EXPECT_THAT(Refusal(""), HasSubstr("it has 0 [[agent]]; the limit is 1 to 64"));
  EXPECT_EQ(Refusal(Agent("a", "{{x}}.", "max_tokens = 65536")), "");
  EXPECT_THAT(Refusal(Agent("a", "{{x}}.", "max_tokens = 65537")),
              HasSubstr("max_tokens is 65537; the limit is 1 to 65536"));
  EXPECT_THAT(Refusal(Agent("a", "{{x}}.", "max_tokens = 0")), HasSubstr("max_tokens is 0"));
  EXPECT_THAT(Refusal(Agent("a", "{{x}}.", "max_tokens = 1.5")), HasSubstr("no whole number"));
  EXPECT_EQ(Refusal(Agent(std::string(256, 'n'), "{{x}}.")), "");
  EXPECT_THAT(Refusal(Agent(std::string(257, 'n'), "{{x}}.")),
              HasSubstr("its name has 257 bytes; the limit is 256"));
  std::string many;
  for (int i = 0; i < 64; ++i) many += Agent("a" + std::to_string(i), "{{x}}.");
  EXPECT_EQ(Refusal(many), "");
  many += Agent("a64", "{{x}}.");
  EXPECT_THAT(Refusal(many), HasSubstr("it has 65 [[agent]]"));
}

std::string Tool(const std::string& name, const std::string& input, const std::string& more = "") {
  return "[[tool]]\nname = '" + name + "'\ncommand = ['cat']\ninput = '" + input + "'\n" + more +
         "\n";
}

std::vector<std::string> Steps(const TeamGraph& graph) {
  std::vector<std::string> names;
  for (const TeamStep& step : graph.steps) {
    names.push_back(step.kind == TeamStep::Kind::kTool ? graph.tools[step.index].name
                                                       : graph.agents[step.index].name);
  }
  return names;
}

constexpr const char* kAllowed = "allow_tools = true\n";

TEST(TeamGraph, ToolsStandBetweenWhatTheyReadAndTheirReaders) {
  const auto graph =
      ParseTeamGraph(kAllowed + Agent("judge", "{{calculator}} of {{question}}.") +
                         Tool("calculator", "{{solver}}{{unit}}{{solver}}!", "time_s = 2.5") +
                         Tool("first", "") + Agent("solver", "{{question}} with {{first}}."),
                     "team.toml");
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_THAT(Steps(*graph), ElementsAre("first", "solver", "calculator", "judge"));
  EXPECT_EQ(graph->agents[0].name, "solver");
  EXPECT_THAT(graph->fields, ElementsAre("question", "unit"));
  const TeamTool &first = graph->tools[0], &calculator = graph->tools[1];
  EXPECT_EQ(calculator.time_s, 2.5);
  EXPECT_EQ(first.time_s, 10);
  EXPECT_THAT(calculator.command, ElementsAre("cat"));
  const auto content = [](const std::string& slot) -> std::string_view {
    return slot == "solver" ? "2+2" : "cm";
  };
  EXPECT_EQ(calculator.Input(content), "2+2cm2+2!");
  EXPECT_EQ(first.Input(content), "");
}

TEST(TeamGraph, WhatIsReadyIsInTheFilesOrderToolsAmongAgents) {
  const auto graph = ParseTeamGraph(kAllowed + Agent("a", "{{x}}.") + Tool("b", "{{x}}") +
                                        Agent("c", "{{x}}.") + Tool("d", "{{x}}"),
                                    "team.toml");
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_THAT(Steps(*graph), ElementsAre("a", "b", "c", "d"));
}

TEST(TeamGraph, ToolsAreRunWhereGraphAndUserAllowIt) {
  const std::string team = Agent("a", "{{t}}.") + Tool("t", "");
  EXPECT_THAT(Refusal(team), HasSubstr("tool 't': the graph does not allow tools"));
  EXPECT_THAT(Refusal("allow_tools = false\n" + team), HasSubstr("does not allow tools"));
  EXPECT_THAT(Refusal("allow_tools = 1\n" + team), HasSubstr("neither true nor false"));
  const auto graph = ParseTeamGraph(kAllowed + team, "team.toml");
  ASSERT_TRUE(graph);
  EXPECT_EQ(CheckToolsAllowed(*graph, false).ToString(),
            "invalid_argument: tool 't' would run 'cat' on this machine; --allow-tools allows what "
            "the graph names");
  EXPECT_TRUE(CheckToolsAllowed(*graph, true).ok());
  EXPECT_TRUE(CheckToolsAllowed(*ParseTeamGraph(kAllowed + Agent("a", "{{x}}."), ""), false).ok());
}

TEST(TeamGraph, ToolsThatCannotBeCalledAreRefusedByName) {
  const auto refusal = [](const std::string& tools) {
    return Refusal(kAllowed + Agent("a", "{{x}}.") + tools);
  };
  EXPECT_THAT(refusal(Tool("a", "")), HasSubstr("tool 'a': there are two of this name"));
  EXPECT_THAT(refusal(Tool("t", "") + Tool("t", "")), HasSubstr("two of this name"));
  EXPECT_THAT(refusal(Tool("t", "", "shell = 'sh'")),
              HasSubstr("tool 1: 'shell' is unknown; known are command, input, name, time_s"));
  EXPECT_THAT(refusal(Tool("t", "{{id}}")), HasSubstr("slot 'id' is what a case is called"));
  EXPECT_THAT(refusal(Tool("t", "{{x")), HasSubstr("'{{' in the input has no '}}'"));
  EXPECT_THAT(refusal("[[tool]]\ncommand = ['cat']"), HasSubstr("tool 1: it has no name"));
  EXPECT_THAT(refusal("[[tool]]\nname = 't'"),
              HasSubstr("tool 't': command is no list of texts; the limit is 1 to 256"));
  const auto command = [&](const std::string& list) {
    return refusal("[[tool]]\nname = 't'\ncommand = " + list);
  };
  EXPECT_THAT(command("[]"), HasSubstr("command has 0 texts"));
  EXPECT_THAT(command("['a', 3]"), HasSubstr("command[1] is not a text"));
  EXPECT_THAT(command("['']"), HasSubstr("command[0] is empty"));
  EXPECT_THAT(command("['a', \"b\\u0000\"]"), HasSubstr("command[1] is a text with a zero byte"));
  std::string list;
  for (int i = 0; i < 256; ++i) list += "'a',";
  EXPECT_EQ(command("[" + list + "]"), "");
  EXPECT_THAT(command("[" + list + "'a']"), HasSubstr("command has 257 texts"));
  for (const char* time : {"0.1", "600", "600.0"}) {
    EXPECT_EQ(refusal(Tool("t", "", std::string("time_s = ") + time)), "") << time;
  }
  EXPECT_THAT(refusal(Tool("t", "", "time_s = 0.09")),
              HasSubstr("tool 't': time_s is 0.09; the limit is 0.1 to 600"));
  EXPECT_THAT(refusal(Tool("t", "", "time_s = 601")), HasSubstr("time_s is 601"));
  EXPECT_THAT(refusal(Tool("t", "", "time_s = nan")), HasSubstr("time_s is nan"));
  EXPECT_THAT(refusal(Tool("t", "", "time_s = '9'")), HasSubstr("time_s is no number"));
  EXPECT_THAT(Refusal("tool = 3\n" + Agent("a", "{{x}}.")),
              HasSubstr("tool is not a list of tables"));
  std::string many;
  for (int i = 0; i < 64; ++i) many += Tool("t" + std::to_string(i), "");
  EXPECT_EQ(refusal(many), "");
  EXPECT_THAT(refusal(many + Tool("t64", "")),
              HasSubstr("it has 65 [[tool]]; the limit is 0 to 64"));
}

TEST(TeamGraph, ACycleThroughAToolIsRefused) {
  EXPECT_THAT(Refusal(kAllowed + Agent("a", "{{t}}.") + Tool("t", "{{a}}")),
              HasSubstr("it waits for an answer that waits for its own"));
  EXPECT_THAT(Refusal(kAllowed + Agent("a", "{{x}}.") + Tool("t", "{{t}}")),
              HasSubstr("tool 't': it waits"));
}

TEST(TeamGraph, TurnsCallAllInTheFilesOrderAgainAndAgain) {
  const auto graph = ParseTeamGraph(std::string("turns = 2\n") + kAllowed +
                                        Agent("solver", "{{question}} {{critic}} {{solver}}.") +
                                        Tool("calculator", "{{solver}}") +
                                        Agent("critic", "{{solver}} {{calculator}}."),
                                    "team.toml");
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_EQ(graph->turns, 2u);
  EXPECT_THAT(Steps(*graph),
              ElementsAre("solver", "calculator", "critic", "solver", "calculator", "critic"));
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(graph->steps[i].turn, i < 3 ? 1u : 2u) << i;
  EXPECT_EQ(graph->agents.size(), 2u);
  EXPECT_THAT(graph->fields, ElementsAre("question"));
  // One turn is not the same as none: who is named before it is called is read as nothing yet.
  const std::string early = Agent("judge", "{{solver}}.") + Agent("solver", "{{x}}.");
  EXPECT_THAT(Steps(*ParseTeamGraph(early, "")), ElementsAre("solver", "judge"));
  EXPECT_THAT(Steps(*ParseTeamGraph("turns = 1\n" + early, "")), ElementsAre("judge", "solver"));
}

TEST(TeamGraph, TurnsHaveALimit) {
  const std::string cycle = Agent("a", "{{b}}.") + Agent("b", "{{a}}.");
  EXPECT_THAT(Refusal(cycle), HasSubstr("or say with `turns` how often all are called"));
  EXPECT_EQ(Refusal("turns = 1\n" + cycle), "");
  EXPECT_EQ(Refusal("turns = 16\n" + cycle), "");
  EXPECT_THAT(Refusal("turns = 17\n" + cycle), HasSubstr("turns is 17; the limit is 1 to 16"));
  EXPECT_THAT(Refusal("turns = 0\n" + cycle), HasSubstr("turns is 0"));
  EXPECT_THAT(Refusal("turns = 1.5\n" + cycle), HasSubstr("turns is no whole number"));
}

TEST(TeamGraph, AFileThatIsNoTomlIsRefusedWithItsLine) {
  EXPECT_THAT(Refusal("name = 'a'\nname = = 3"), HasSubstr("team.toml: line 2: "));
  EXPECT_THAT(ReadTeamGraph("/nowhere.toml").error().message(), HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace kvcommons
