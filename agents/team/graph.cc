#include "agents/team/graph.h"

#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include "agents/team/tool_command.h"
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

// A whole number under `key`, 1 to `limit`; nothing where it is missing.
Result<std::optional<std::uint32_t>> NumberOf(const toml::table& table, const std::string& key,
                                              std::uint32_t limit, const std::string& source,
                                              const std::string& where) {
  const toml::node* const node = table.get(key);
  if (node == nullptr) return std::nullopt;
  const auto number = node->value_exact<std::int64_t>();
  if (number && *number >= 1 && *number <= limit) return static_cast<std::uint32_t>(*number);
  return Fail(Wrong(source, where,
                    key + " is " + (number ? std::to_string(*number) : "no whole number") +
                        "; the limit is 1 to " + std::to_string(limit)));
}

// A text with slots, apart: one piece more than slots.
struct SlotText {
  std::vector<std::string> text, slots;
};

Result<SlotText> SplitAtSlots(std::string_view text, const std::string& what,
                              const std::string& source, const std::string& where) {
  SlotText split;
  split.text.emplace_back();
  while (true) {
    const std::size_t open = text.find(kOpen);
    split.text.back() += text.substr(0, open);
    if (open == std::string_view::npos) return split;
    const std::size_t close = text.find(kClose, open);
    if (close == std::string_view::npos) {
      return Fail(Wrong(source, where, "'{{' in the " + what + " has no '}}'"));
    }
    std::string name(Trimmed(text.substr(open + kOpen.size(), close - open - kOpen.size())));
    if (name.empty()) {
      return Fail(Wrong(source, where, "'{{}}' in the " + what + " names no slot"));
    }
    if (name == "id") {
      return Fail(Wrong(source, where, "slot 'id' is what a case is called; use another field"));
    }
    if (split.slots.size() == PromptTemplate::kMaxSlots) {
      return Fail(Wrong(source, where,
                        "the " + what + " has more than " +
                            std::to_string(PromptTemplate::kMaxSlots) +
                            " slots, which is the limit"));
    }
    split.slots.push_back(std::move(name));
    split.text.emplace_back();
    text.remove_prefix(close + kClose.size());
  }
}

// What rows can be assembled for.
Status CheckPrompt(const SlotText& prompt, const std::string& source, const std::string& where) {
  if (prompt.slots.empty()) {
    return Wrong(source, where, "the prompt has no slot; write {{name}} where a content goes");
  }
  std::set<std::string_view> seen;
  for (const std::string& slot : prompt.slots) {
    if (seen.insert(slot).second) continue;
    return Wrong(source, where, "slot '" + slot + "' is in the prompt twice");
  }
  for (std::size_t i = 1; i + 1 < prompt.text.size(); ++i) {
    if (!prompt.text[i].empty()) continue;
    return Wrong(source, where,
                 "nothing stands between the slots '" + prompt.slots[i - 1] + "' and '" +
                     prompt.slots[i] + "'; a line break will do");
  }
  return Status();
}

Result<std::string> NameOf(const toml::table& table, const std::string& source,
                           const std::string& where) {
  auto name = TextOf(table, "name", source, where);
  if (!name) return Fail(name.error());
  if (!*name || (*name)->empty()) return Fail(Wrong(source, where, "it has no name"));
  if ((*name)->size() > PromptTemplate::kMaxSlotNameBytes) {
    return Fail(Wrong(source, where,
                      "its name has " + std::to_string((*name)->size()) + " bytes; the limit is " +
                          std::to_string(PromptTemplate::kMaxSlotNameBytes)));
  }
  return std::move(**name);
}

Result<TeamAgent> AgentOf(const toml::table& table, std::size_t index, std::uint32_t max_tokens,
                          const std::string& source) {
  std::string where = "agent " + std::to_string(index + 1);
  KVC_FAIL_IF_ERROR(
      CheckKeys(table, {"name", "system", "prompt", "reuse", "max_tokens"}, source, where));
  auto name = NameOf(table, source, where);
  if (!name) return Fail(name.error());
  TeamAgent agent;
  agent.name = std::move(*name);
  where = "agent '" + agent.name + "'";
  auto system = TextOf(table, "system", source, where);
  if (!system) return Fail(system.error());
  agent.system = std::move(*system);
  const auto prompt = TextOf(table, "prompt", source, where);
  if (!prompt) return Fail(prompt.error());
  if (!*prompt) return Fail(Wrong(source, where, "it has no prompt"));
  auto split = SplitAtSlots(**prompt, "prompt", source, where);
  if (!split) return Fail(split.error());
  KVC_FAIL_IF_ERROR(CheckPrompt(*split, source, where));
  agent.text = std::move(split->text);
  agent.slots = std::move(split->slots);
  const auto reuse = TextOf(table, "reuse", source, where);
  if (!reuse) return Fail(reuse.error());
  if (*reuse && **reuse != "auto" && **reuse != "exact") {
    return Fail(Wrong(source, where, "reuse is '" + **reuse + "'; known are auto, exact"));
  }
  agent.exact_only = *reuse == "exact";
  const auto tokens = NumberOf(table, "max_tokens", TeamGraph::kMaxAnswerTokens, source, where);
  if (!tokens) return Fail(tokens.error());
  agent.max_tokens = tokens->value_or(max_tokens);
  return agent;
}

Result<std::vector<std::string>> CommandOf(const toml::table& table, const std::string& source,
                                           const std::string& where) {
  const toml::array* const list = table["command"].as_array();
  const std::size_t count = list == nullptr ? 0 : list->size();
  if (count == 0 || count > TeamGraph::kMaxToolArguments) {
    return Fail(Wrong(source, where,
                      (list == nullptr ? std::string("command is no list of texts")
                                       : "command has " + std::to_string(count) + " texts") +
                          "; the limit is 1 to " + std::to_string(TeamGraph::kMaxToolArguments)));
  }
  std::vector<std::string> command;
  for (const toml::node& node : *list) {
    auto text = node.value_exact<std::string>();
    if (!text || text->find('\0') != std::string::npos) {
      return Fail(Wrong(source, where,
                        "command[" + std::to_string(command.size()) + "] is " +
                            (text ? "a text with a zero byte" : "not a text")));
    }
    command.push_back(std::move(*text));
  }
  if (command.front().empty()) {
    return Fail(Wrong(source, where, "command[0] is empty; it names the program"));
  }
  return command;
}

Result<double> TimeOf(const toml::table& table, double otherwise, const std::string& source,
                      const std::string& where) {
  const toml::node* const node = table.get("time_s");
  if (node == nullptr) return otherwise;
  const auto number = node->is_number() ? node->value<double>() : std::nullopt;
  if (number && *number >= TeamGraph::kLeastToolTimeS && *number <= TeamGraph::kMaxToolTimeS) {
    return *number;
  }
  std::ostringstream message;
  message << "time_s is ";
  if (number) {
    message << *number;
  } else {
    message << "no number";
  }
  message << "; the limit is " << TeamGraph::kLeastToolTimeS << " to " << TeamGraph::kMaxToolTimeS;
  return Fail(Wrong(source, where, message.str()));
}

Result<TeamTool> ToolOf(const toml::table& table, std::size_t index, const std::string& source) {
  std::string where = "tool " + std::to_string(index + 1);
  KVC_FAIL_IF_ERROR(CheckKeys(table, {"name", "command", "input", "time_s"}, source, where));
  auto name = NameOf(table, source, where);
  if (!name) return Fail(name.error());
  TeamTool tool;
  tool.name = std::move(*name);
  where = "tool '" + tool.name + "'";
  auto command = CommandOf(table, source, where);
  if (!command) return Fail(command.error());
  tool.command = std::move(*command);
  const auto input = TextOf(table, "input", source, where);
  if (!input) return Fail(input.error());
  auto split = SplitAtSlots(input->value_or(""), "input", source, where);
  if (!split) return Fail(split.error());
  tool.text = std::move(split->text);
  tool.slots = std::move(split->slots);
  const auto time_s = TimeOf(table, ToolLimits().time_s, source, where);
  if (!time_s) return Fail(time_s.error());
  tool.time_s = *time_s;
  return tool;
}

// An agent or a tool as the order sees it.
struct Member {
  TeamStep step;
  std::string name;
  std::vector<std::string> slots;
  toml::source_position at;

  std::string Where() const {
    return (step.kind == TeamStep::Kind::kTool ? "tool '" : "agent '") + name + "'";
  }
};

// Each that is left waits for another that is: following them long enough ends on a cycle.
const Member& OnCycle(const std::vector<Member>& left) {
  const Member* member = &left.front();
  for (std::size_t step = 0; step < left.size(); ++step) {
    const auto next = std::find_if(left.begin(), left.end(), [&](const Member& other) {
      return std::find(member->slots.begin(), member->slots.end(), other.name) !=
             member->slots.end();
    });
    if (next != left.end()) member = &*next;
  }
  return *member;
}

// Behind those whose contents they read, otherwise as they are.
Status Sort(std::vector<Member>& members, const std::string& source) {
  std::vector<Member> sorted;
  std::set<std::string> waiting;
  for (const Member& member : members) waiting.insert(member.name);
  while (!members.empty()) {
    const auto next = std::find_if(members.begin(), members.end(), [&](const Member& member) {
      return std::none_of(member.slots.begin(), member.slots.end(),
                          [&](const std::string& slot) { return waiting.contains(slot); });
    });
    if (next == members.end()) {
      return Wrong(source, OnCycle(members).Where(),
                   "it waits for an answer that waits for its own; break the cycle, or say with "
                   "`turns` how often all are called");
    }
    waiting.erase(next->name);
    sorted.push_back(std::move(*next));
    members.erase(next);
  }
  members = std::move(sorted);
  return Status();
}

// Lists agents, tools, steps and fields by `members`, which point into the lists of before.
void PutInOrder(const std::vector<Member>& members, TeamGraph& graph) {
  std::vector<TeamAgent> agents;
  std::vector<TeamTool> tools;
  std::set<std::string> names, fields;
  for (const Member& member : members) names.insert(member.name);
  for (const Member& member : members) {
    TeamStep step = member.step;
    if (step.kind == TeamStep::Kind::kTool) {
      tools.push_back(std::move(graph.tools[step.index]));
      step.index = tools.size() - 1;
    } else {
      agents.push_back(std::move(graph.agents[step.index]));
      step.index = agents.size() - 1;
    }
    graph.steps.push_back(step);
    for (const std::string& slot : member.slots) {
      if (!names.contains(slot)) fields.insert(slot);
    }
  }
  const std::size_t count = graph.steps.size();
  for (std::uint32_t turn = 2; turn <= graph.turns.value_or(1); ++turn) {
    for (std::size_t i = 0; i < count; ++i) {
      TeamStep step = graph.steps[i];
      step.turn = turn;
      graph.steps.push_back(step);
    }
  }
  graph.agents = std::move(agents);
  graph.tools = std::move(tools);
  graph.fields.assign(fields.begin(), fields.end());
}

// The tables under `key`, of which there are `least` to `limit`.
Result<std::vector<const toml::table*>> TablesOf(const toml::table& table, const std::string& key,
                                                 std::size_t least, std::size_t limit,
                                                 const std::string& source) {
  const toml::node* const node = table.get(key);
  const toml::array* const list = node == nullptr ? nullptr : node->as_array();
  if (node != nullptr && list == nullptr) {
    return Fail(Wrong(source, "", key + " is not a list of tables"));
  }
  const std::size_t count = list == nullptr ? 0 : list->size();
  if (count < least || count > limit) {
    return Fail(Wrong(source, "",
                      "it has " + std::to_string(count) + " [[" + key + "]]; the limit is " +
                          std::to_string(least) + " to " + std::to_string(limit)));
  }
  std::vector<const toml::table*> tables;
  for (std::size_t i = 0; i < count; ++i) {
    tables.push_back((*list)[i].as_table());
    if (tables.back() == nullptr) {
      return Fail(Wrong(source, "", key + " is not a list of tables"));
    }
  }
  return tables;
}

Result<bool> AllowsTools(const toml::table& table, const std::string& source) {
  const toml::node* const node = table.get("allow_tools");
  if (node == nullptr) return false;
  const auto allows = node->value_exact<bool>();
  if (!allows) return Fail(Wrong(source, "", "'allow_tools' is neither true nor false"));
  return *allows;
}

Result<TeamGraph> GraphOf(const toml::table& table, const std::string& source) {
  KVC_FAIL_IF_ERROR(CheckKeys(
      table, {"name", "max_tokens", "turns", "allow_tools", "agent", "tool"}, source, ""));
  TeamGraph graph;
  const auto name = TextOf(table, "name", source, "");
  if (!name) return Fail(name.error());
  graph.name = name->value_or("team");
  const auto max_tokens = NumberOf(table, "max_tokens", TeamGraph::kMaxAnswerTokens, source, "");
  if (!max_tokens) return Fail(max_tokens.error());
  const auto turns = NumberOf(table, "turns", TeamGraph::kMaxTurns, source, "");
  if (!turns) return Fail(turns.error());
  graph.turns = *turns;
  const auto allows_tools = AllowsTools(table, source);
  if (!allows_tools) return Fail(allows_tools.error());
  const auto agents = TablesOf(table, "agent", 1, TeamGraph::kMaxAgents, source);
  if (!agents) return Fail(agents.error());
  const auto tools = TablesOf(table, "tool", 0, TeamGraph::kMaxTools, source);
  if (!tools) return Fail(tools.error());
  std::vector<Member> members;
  std::set<std::string> names;
  const auto add = [&](Member member) -> Status {
    if (!names.insert(member.name).second) {
      return Wrong(source, member.Where(), "there are two of this name");
    }
    members.push_back(std::move(member));
    return Status();
  };
  for (std::size_t i = 0; i < agents->size(); ++i) {
    const toml::table& one = *(*agents)[i];
    auto agent = AgentOf(one, i, max_tokens->value_or(128), source);
    if (!agent) return Fail(agent.error());
    KVC_FAIL_IF_ERROR(
        add({{TeamStep::Kind::kAgent, i, 1}, agent->name, agent->slots, one.source().begin}));
    graph.agents.push_back(std::move(*agent));
  }
  for (std::size_t i = 0; i < tools->size(); ++i) {
    const toml::table& one = *(*tools)[i];
    auto tool = ToolOf(one, i, source);
    if (!tool) return Fail(tool.error());
    Member member = {{TeamStep::Kind::kTool, i, 1}, tool->name, tool->slots, one.source().begin};
    if (!*allows_tools) {
      return Fail(Wrong(source, member.Where(),
                        "the graph does not allow tools; allow_tools = true at its top would"));
    }
    KVC_FAIL_IF_ERROR(add(std::move(member)));
    graph.tools.push_back(std::move(*tool));
  }
  std::stable_sort(members.begin(), members.end(),
                   [](const Member& a, const Member& b) { return a.at < b.at; });
  if (!graph.turns) KVC_FAIL_IF_ERROR(Sort(members, source));
  PutInOrder(members, graph);
  return graph;
}

}  // namespace

const TeamAgent* TeamGraph::Find(std::string_view agent) const {
  const auto found = std::find_if(agents.begin(), agents.end(),
                                  [&](const TeamAgent& one) { return one.name == agent; });
  return found == agents.end() ? nullptr : &*found;
}

std::string TeamTool::Input(
    const std::function<std::string_view(const std::string& slot)>& content) const {
  std::string input = text.front();
  for (std::size_t i = 0; i < slots.size(); ++i) {
    input += content(slots[i]);
    input += text[i + 1];
  }
  return input;
}

Status CheckToolsAllowed(const TeamGraph& graph, bool allow_tools) {
  if (allow_tools || graph.tools.empty()) return Status();
  const TeamTool& tool = graph.tools.front();
  return InvalidArgument("tool '" + tool.name + "' would run '" + tool.command.front() +
                         "' on this machine; --allow-tools allows what the graph names");
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
