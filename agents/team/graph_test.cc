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
  EXPECT_THAT(Refusal("agents = 3"), HasSubstr("'agents' is unknown; known are agent, max_tokens"));
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

TEST(TeamGraph, AFileThatIsNoTomlIsRefusedWithItsLine) {
  EXPECT_THAT(Refusal("name = 'a'\nname = = 3"), HasSubstr("team.toml: line 2: "));
  EXPECT_THAT(ReadTeamGraph("/nowhere.toml").error().message(), HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace kvcommons
