#include "agents/team/graph.h"

#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <utility>

#include "align/anchors/prompt_template.h"

namespace kvcommons {
namespace {

constexpr std::string_view kOpen = "{{", kClose = "}}";

Status Wrong(const std::string& source, const std::string& where, const std::string& what) {
  return InvalidArgument(source + ": " + (where.empty() ? "" : where + ": ") + what);
}

// Refuses other keys than these, and lists them.
Status CheckKeys(const toml::table& table, const std::set<std::string_view>& known,
                 const std::string& source, const std::string& where) {
  for (const auto& [key, value] : table) {
    if (known.contains(key.str())) continue;
    std::string list;
    for (const std::string_view one : known) list += (list.empty() ? "" : ", ") + std::string(one);
    return Wrong(source, where, "'" + std::string(key.str()) + "' is unknown; known are " + list);
  }
  return Status();
}

std::string_view Trimmed(std::string_view name) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t first = name.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return "";
  return name.substr(first, name.find_last_not_of(kBlank) + 1 - first);
}

// A text under `key`; nothing where it is missing.
Result<std::optional<std::string>> TextOf(const toml::table& table, std::string_view key,
                                          const std::string& source, const std::string& where) {
  const toml::node* const node = table.get(key);
  if (node == nullptr) return std::nullopt;
  const auto text = node->value_exact<std::string>();
  if (!text) return Fail(Wrong(source, where, "'" + std::string(key) + "' is not a text"));
  return *text;
}

Result<std::uint32_t> TokensOf(const toml::table& table, std::uint32_t otherwise,
                               const std::string& source, const std::string& where) {
  const toml::node* const node = table.get("max_tokens");
  if (node == nullptr) return otherwise;
  const auto number = node->value_exact<std::int64_t>();
  if (number && *number >= 1 && *number <= TeamGraph::kMaxAnswerTokens) {
    return static_cast<std::uint32_t>(*number);
  }
  return Fail(Wrong(source, where,
                    "max_tokens is " + (number ? std::to_string(*number) : "no whole number") +
                        "; the limit is 1 to " + std::to_string(TeamGraph::kMaxAnswerTokens)));
}

Status SplitPrompt(std::string_view prompt, const std::string& source, const std::string& where,
                   TeamAgent* agent) {
  agent->text.emplace_back();
  while (true) {
    const std::size_t open = prompt.find(kOpen);
    agent->text.back() += prompt.substr(0, open);
    if (open == std::string_view::npos) break;
    const std::size_t close = prompt.find(kClose, open);
    if (close == std::string_view::npos) {
      return Wrong(source, where, "'{{' in the prompt has no '}}'");
    }
    const std::string name(
        Trimmed(prompt.substr(open + kOpen.size(), close - open - kOpen.size())));
    if (name.empty()) return Wrong(source, where, "'{{}}' in the prompt names no slot");
    if (name == "id") {
      return Wrong(source, where, "slot 'id' is what a case is called; use another field");
    }
    if (agent->slots.size() == PromptTemplate::kMaxSlots) {
      return Wrong(source, where,
                   "the prompt has more than " + std::to_string(PromptTemplate::kMaxSlots) +
                       " slots, which is the limit");
    }
    if (std::find(agent->slots.begin(), agent->slots.end(), name) != agent->slots.end()) {
      return Wrong(source, where, "slot '" + name + "' is in the prompt twice");
    }
    agent->slots.push_back(name);
    agent->text.emplace_back();
    prompt.remove_prefix(close + kClose.size());
  }
  if (agent->slots.empty()) {
    return Wrong(source, where, "the prompt has no slot; write {{name}} where a content goes");
  }
  for (std::size_t i = 1; i + 1 < agent->text.size(); ++i) {
    if (!agent->text[i].empty()) continue;
    return Wrong(source, where,
                 "nothing stands between the slots '" + agent->slots[i - 1] + "' and '" +
                     agent->slots[i] + "'; a line break will do");
  }
  return Status();
}

Result<TeamAgent> AgentOf(const toml::table& table, std::size_t index, std::uint32_t max_tokens,
                          const std::string& source) {
  std::string where = "agent " + std::to_string(index + 1);
  KVC_FAIL_IF_ERROR(
      CheckKeys(table, {"name", "system", "prompt", "reuse", "max_tokens"}, source, where));
  const auto name = TextOf(table, "name", source, where);
  if (!name) return Fail(name.error());
  if (!*name || (*name)->empty()) return Fail(Wrong(source, where, "it has no name"));
  if ((*name)->size() > PromptTemplate::kMaxSlotNameBytes) {
    return Fail(Wrong(source, where,
                      "its name has " + std::to_string((*name)->size()) + " bytes; the limit is " +
                          std::to_string(PromptTemplate::kMaxSlotNameBytes)));
  }
  TeamAgent agent;
  agent.name = **name;
  where = "agent '" + agent.name + "'";
  auto system = TextOf(table, "system", source, where);
  if (!system) return Fail(system.error());
  agent.system = std::move(*system);
  const auto prompt = TextOf(table, "prompt", source, where);
  if (!prompt) return Fail(prompt.error());
  if (!*prompt) return Fail(Wrong(source, where, "it has no prompt"));
  KVC_FAIL_IF_ERROR(SplitPrompt(**prompt, source, where, &agent));
  const auto reuse = TextOf(table, "reuse", source, where);
  if (!reuse) return Fail(reuse.error());
  if (*reuse && **reuse != "auto" && **reuse != "exact") {
    return Fail(Wrong(source, where, "reuse is '" + **reuse + "'; known are auto, exact"));
  }
  agent.exact_only = *reuse == "exact";
  const auto tokens = TokensOf(table, max_tokens, source, where);
  if (!tokens) return Fail(tokens.error());
  agent.max_tokens = *tokens;
  return agent;
}

// Each agent that is left waits for another that is: following them long enough ends on a cycle.
std::string OnCycle(const TeamGraph& graph) {
  const TeamAgent* agent = &graph.agents.front();
  for (std::size_t step = 0; step < graph.agents.size(); ++step) {
    for (const std::string& slot : agent->slots) {
      if (const TeamAgent* const next = graph.Find(slot)) {
        agent = next;
        break;
      }
    }
  }
  return agent->name;
}

// Agents behind those whose answers they read, otherwise as they are in the file.
Status Sort(TeamGraph& graph, const std::string& source) {
  std::vector<TeamAgent> sorted;
  std::set<std::string> done, names;
  for (const TeamAgent& agent : graph.agents) names.insert(agent.name);
  while (!graph.agents.empty()) {
    const auto is_ready = [&](const TeamAgent& agent) {
      return std::all_of(agent.slots.begin(), agent.slots.end(), [&](const std::string& slot) {
        return !names.contains(slot) || done.contains(slot);
      });
    };
    const auto next = std::find_if(graph.agents.begin(), graph.agents.end(), is_ready);
    if (next == graph.agents.end()) {
      return Wrong(source, "agent '" + OnCycle(graph) + "'",
                   "it waits for an answer that waits for its own; break the cycle");
    }
    done.insert(next->name);
    sorted.push_back(std::move(*next));
    graph.agents.erase(next);
  }
  graph.agents = std::move(sorted);
  std::set<std::string> fields;
  for (const TeamAgent& agent : graph.agents) {
    for (const std::string& slot : agent.slots) {
      if (!names.contains(slot)) fields.insert(slot);
    }
  }
  graph.fields.assign(fields.begin(), fields.end());
  return Status();
}

Result<TeamGraph> GraphOf(const toml::table& table, const std::string& source) {
  KVC_FAIL_IF_ERROR(CheckKeys(table, {"name", "max_tokens", "agent"}, source, ""));
  TeamGraph graph;
  const auto name = TextOf(table, "name", source, "");
  if (!name) return Fail(name.error());
  graph.name = name->value_or("team");
  const auto max_tokens = TokensOf(table, 128, source, "");
  if (!max_tokens) return Fail(max_tokens.error());
  const toml::array* const agents = table["agent"].as_array();
  const std::size_t count = agents == nullptr ? 0 : agents->size();
  if (count == 0 || count > TeamGraph::kMaxAgents) {
    return Fail(Wrong(source, "",
                      "it has " + std::to_string(count) + " [[agent]]; the limit is 1 to " +
                          std::to_string(TeamGraph::kMaxAgents)));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const toml::table* const one = (*agents)[i].as_table();
    if (one == nullptr) return Fail(Wrong(source, "", "agent is not a list of tables"));
    auto agent = AgentOf(*one, i, *max_tokens, source);
    if (!agent) return Fail(agent.error());
    if (graph.Find(agent->name) != nullptr) {
      return Fail(Wrong(source, "agent '" + agent->name + "'", "there are two of this name"));
    }
    graph.agents.push_back(std::move(*agent));
  }
  KVC_FAIL_IF_ERROR(Sort(graph, source));
  return graph;
}

}  // namespace

const TeamAgent* TeamGraph::Find(std::string_view agent) const {
  const auto found = std::find_if(agents.begin(), agents.end(),
                                  [&](const TeamAgent& one) { return one.name == agent; });
  return found == agents.end() ? nullptr : &*found;
}

Result<TeamGraph> ParseTeamGraph(std::string_view toml, const std::string& source_name) {
  try {
    return GraphOf(toml::parse(toml, source_name), source_name);
  } catch (const toml::parse_error& failure) {
    const toml::source_position at = failure.source().begin;
    return Fail(InvalidArgument(source_name + ": line " + std::to_string(at.line) + ": " +
                                std::string(failure.description())));
  }
}

Result<TeamGraph> ReadTeamGraph(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Fail(NotFound(path + " cannot be read"));
  std::string text(TeamGraph::kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > TeamGraph::kMaxFileBytes) {
    return Fail(InvalidArgument(path + " is longer than " +
                                std::to_string(TeamGraph::kMaxFileBytes) + " bytes"));
  }
  return ParseTeamGraph(text, path);
}

}  // namespace kvcommons
