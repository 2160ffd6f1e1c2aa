// A team of agents: who reads what, as a TOML file says it.
//
//   name = "three at a question"
//   max_tokens = 128                    # of an answer
//   [[agent]]
//   name = "planner"
//   system = "You plan."                # the model's own where it is missing
//   prompt = "Question: {{question}}\nPlan:"
//   [[agent]]
//   name = "judge"
//   prompt = "Question: {{question}}\nPlan: {{planner}}\nVerdict:"
//   reuse = "exact"                     # its prompts are never approximated
//   max_tokens = 16
//   allow_tools = true                  # of the whole graph: it may run programs
//   [[tool]]
//   name = "calculator"
//   command = ["python3", "-c", "..."]  # as RunTool() has it
//   input = "{{planner}}"               # its standard input; empty where it is missing
//   time_s = 10
//   turns = 3                           # at the top: all are called three times
//
// {{name}} is a slot, blanks around its name not counted: what an agent answered or a tool printed
// where one is called so, otherwise a field of the case. Steps are in an order in which everything
// is there before it is read. With `turns` they are in the file's order, turn by turn, and a slot
// is the newest that there is when it is read: of this turn, else of the last one, else
// kNothingYet; so there may be cycles. Refused, naming agent or tool and field: unknown keys, no
// agent, two of one name, a slot twice in a prompt or two side by side, `id`, which a case has for
// itself, a cycle without `turns`, a tool where the graph does not allow any.
//
// Thread safety: a value.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kvcommons {

struct TeamAgent {
  std::string name;
  std::optional<std::string> system;
  std::vector<std::string> text;   // around the slots: one more than slots
  std::vector<std::string> slots;  // in the prompt's order
  bool exact_only = false;
  std::uint32_t max_tokens = 0;
};

struct TeamTool {
  std::string name;
  std::vector<std::string> command;
  std::vector<std::string> text;   // of its input, around the slots: one more than slots
  std::vector<std::string> slots;  // in the input's order
  double time_s = 0;

  // REQUIRES: `content` knows every slot.
  std::string Input(const std::function<std::string_view(const std::string& slot)>& content) const;
};

// One call.
struct TeamStep {
  enum class Kind : std::uint8_t { kAgent, kTool };
  Kind kind = Kind::kAgent;
  std::size_t index = 0;   // of agents, or of tools
  std::uint32_t turn = 1;  // counted from it
};

struct TeamGraph {
  static constexpr std::size_t kMaxAgents = 64;
  static constexpr std::size_t kMaxTools = 64;
  static constexpr std::size_t kMaxToolArguments = 256;
  static constexpr std::uint32_t kMaxTurns = 16;
  // A content needs a token; and a model is better told than left to guess.
  static constexpr std::string_view kNothingYet = "(nothing yet)";
  static constexpr double kLeastToolTimeS = 0.1, kMaxToolTimeS = 600;
  static constexpr std::size_t kMaxFileBytes = 1u << 20;
  static constexpr std::uint32_t kMaxAnswerTokens = 1u << 16;

  std::string name;
  std::vector<TeamAgent> agents;  // in the order of the first calls, as are tools
  std::vector<TeamTool> tools;
  std::optional<std::uint32_t> turns;
  std::vector<TeamStep> steps;      // of a request; without turns each behind what it reads
  std::vector<std::string> fields;  // of a case, that prompts and inputs name; sorted

  const TeamAgent* Find(std::string_view agent) const;
};

// A graph comes from anywhere: its own word is not enough to run programs on a user's machine.
// kInvalidArgument names the tool and the option that would allow it.
Status CheckToolsAllowed(const TeamGraph& graph, bool allow_tools);

Result<TeamGraph> ParseTeamGraph(std::string_view toml, const std::string& source_name);
Result<TeamGraph> ReadTeamGraph(const std::string& path);

}  // namespace kvcommons
