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
//
// {{name}} is a slot, blanks around its name not counted: an agent's answer where an agent is
// called so, otherwise a field of the case. Agents are in an order in which every answer is there
// before it is read. Refused, naming agent and field: unknown keys, no agent, two of one name, a
// slot twice in a prompt or two side by side, `id`, which a case has for itself, a cycle.
//
// Thread safety: a value.

#pragma once

#include <cstdint>
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

struct TeamGraph {
  static constexpr std::size_t kMaxAgents = 64;
  static constexpr std::size_t kMaxFileBytes = 1u << 20;
  static constexpr std::uint32_t kMaxAnswerTokens = 1u << 16;

  std::string name;
  std::vector<TeamAgent> agents;    // each behind those whose answers it reads
  std::vector<std::string> fields;  // of a case, that prompts name; sorted

  const TeamAgent* Find(std::string_view agent) const;
};

Result<TeamGraph> ParseTeamGraph(std::string_view toml, const std::string& source_name);
Result<TeamGraph> ReadTeamGraph(const std::string& path);

}  // namespace kvcommons
