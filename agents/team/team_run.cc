#include "agents/team/team_run.h"

#include <algorithm>

#include "agents/engine/elapsed.h"
#include "agents/engine/fidelity.h"
#include "agents/engine/teacher_force.h"
#include "agents/team/tool_command.h"
#include "agents/team/whole_answer.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

}  // namespace

Status TeamRun::RunExact(std::size_t index, std::span<const DaemonContent* const> inputs,
                         const std::vector<TokenId>& answer, Json* report) {
  const TeamMode mode{.name = "exact"};
  auto call = exact_->Prefill(index, inputs, mode);
  if (!call) return call.error();
  (*report)["ttft_exact_ms"] = call->ttft_ms;
  (*report)["exact_rows"] = call->exact;
  std::vector<TokenId> tokens = call->prompt;
  tokens.insert(tokens.end(), answer.begin(), answer.end());
  if (!answer.empty()) KVC_RETURN_IF_ERROR(engine_.RunRest(tokens));
  return exact_->HoldExact(tokens);
}

Status TeamRun::Compare(std::size_t index, std::span<const DaemonContent* const> inputs,
                        const TeamMode& mode, const std::vector<TokenId>& prompt,
                        const std::vector<TokenId>& answer, Json* report) {
  KVC_RETURN_IF_ERROR(RunExact(index, inputs, answer, report));
  engine_.Clear();
  const std::int64_t start_ns = clock_.NowNs();
  KVC_RETURN_IF_ERROR(engine_.RunRest(prompt));
  (*report)["ttft_dense_ms"] = MsSince(clock_, start_ns);
  const auto begin = static_cast<Position>(prompt.size());
  auto dense = WholeAnswer(engine_, begin, graph_.agents[index].max_tokens);
  if (!dense) return dense.error();
  if (!options_.fills_answers) (*report)["same_answer"] = *dense == answer;
  std::vector<TokenId> forced = *dense;
  if (forced.empty()) forced.push_back(answer.empty() ? prompt.back() : answer.front());
  forced.resize(std::min<std::size_t>(forced.size(), options_.forced_tokens));
  KVC_RETURN_IF_ERROR(engine_.RemoveFrom(begin));
  const auto expected = TeacherForce(engine_, prompt, forced);
  if (!expected) return expected.error();
  // Once more, since the engine holds dense rows now: the same epoch gives the same bytes.
  const auto again = team_.Prefill(index, inputs, mode, false);
  if (!again) return again.error();
  if (again->mode != (*report)["mode"]) {
    (*report)["compared_mode"] = again->mode;  // another process taught the team meanwhile
  }
  const auto logits = TeacherForce(engine_, prompt, forced);
  if (!logits) return logits.error();
  const Fidelity fidelity = kvcommons::Compare(*expected, *logits);
  (*report)["kl"] = fidelity.kl_mean;
  (*report)["kl_first"] = KlDivergence(expected->front(), logits->front());
  (*report)["top1"] = fidelity.top1_agreement;
  return Status();
}

Status TeamRun::Fill(const DaemonContent& with, const TeamAgent& agent,
                     const std::vector<TokenId>& prompt, std::vector<TokenId>* answer) {
  std::vector<TokenId> tokens = prompt;
  tokens.insert(tokens.end(), answer->begin(), answer->end());
  const std::size_t room = engine_.context_tokens() - prompt.size();
  const std::size_t length = std::min<std::size_t>(agent.max_tokens, room);
  for (std::size_t i = 0; answer->size() < length; ++i) {
    answer->push_back(with.tokens[i % with.tokens.size()]);
    tokens.push_back(answer->back());
  }
  return static_cast<std::size_t>(engine_.held_end()) == tokens.size() ? Status()
                                                                       : engine_.RunRest(tokens);
}

Result<Json> TeamRun::RunAgent(std::size_t index, Contents& contents, bool measured) {
  const TeamAgent& agent = graph_.agents[index];
  std::vector<const DaemonContent*> inputs;
  double base_ms = 0;
  for (const std::string& slot : agent.slots) {
    DaemonContent& content = contents.at(slot).rows;
    inputs.push_back(&content);
    // Who reads a text first waits for its own rows; an answer's were made by its producer.
    if (!content.is_answer) base_ms += std::exchange(content.base_ms, 0);
  }
  const TeamMode exact{.name = "exact"};
  const TeamMode& mode = options_.mode.reuses && agent.exact_only ? exact : options_.mode;
  auto call = team_.Prefill(index, inputs, mode);
  if (!call) return Fail(call.error());
  const auto begin = static_cast<Position>(call->prompt.size());
  auto answer = WholeAnswer(engine_, begin, agent.max_tokens);
  if (!answer) return Fail(answer.error());
  if (options_.fills_answers)
    KVC_FAIL_IF_ERROR(Fill(*inputs.front(), agent, call->prompt, &*answer));
  Json report = {{"agent", agent.name},
                 {"mode", call->mode},
                 {"reason", call->reason},
                 {"tokens", call->prompt.size()},
                 {"answer_tokens", answer->size()},
                 {"exact", call->exact},
                 {"anchored", call->anchored},
                 {"computed", call->computed},
                 {"charged", call->charged},
                 {"deposits", call->deposits},
                 {"ttft_ms", call->ttft_ms},
                 {"plan_ms", call->plan_ms},
                 {"gate_ms", call->gate_ms},
                 {"weights_ms", call->weights_ms},
                 {"blend_ms", call->blend_ms},
                 {"place_ms", call->place_ms},
                 {"last_ms", call->compute_ms},
                 {"text_ms", call->text_ms},
                 {"base_ms", base_ms}};
  auto text = engine_.Detokenize(*answer);
  if (!text) return Fail(text.error());
  report["answer"] = *text;
  if (!call->fallback.empty()) report["fallback"] = call->fallback;
  DaemonContent content;
  content.tokens = *answer;
  content.is_answer = true;
  // Where nothing is reused nobody will ask for its rows.
  if (options_.mode.reuses) content = team_.FromAnswer(*call, *answer, options_.ack);
  report["answer_base_ms"] = content.base_ms;
  if (!content.fallback.empty()) report["answer_fallback"] = content.fallback;
  if (measured && options_.compares) {
    // Before the call is given back: afterwards a dense one would be found whole.
    std::vector<std::byte> held(
        engine_.profile().planes().BlockBytes(static_cast<std::size_t>(begin)));
    KVC_FAIL_IF_ERROR(engine_.ReadRows(0, static_cast<std::uint32_t>(begin), held.data()));
    KVC_FAIL_IF_ERROR(Compare(index, inputs, mode, call->prompt, *answer, &report));
    const PlaceSpan rows{0,           static_cast<std::uint32_t>(begin), 0,
                         held.data(), static_cast<std::uint32_t>(begin), 0};
    KVC_FAIL_IF_ERROR(engine_.Place({&rows, 1}));
  }
  const std::int64_t finish_ns = clock_.NowNs();
  const DaemonTeam::Finished finished = team_.Finish(*call, options_.ack);
  report["finish_ms"] = MsSince(clock_, finish_ns);
  if (!finished.fallback.empty()) report["finish_fallback"] = finished.fallback;
  report["learned"] = Json::array();
  for (const auto& deposit : finished.deposits) {
    report["learned"].push_back(deposit.outcome);
    if (!deposit.message.empty()) report["deposit"] = deposit.message;
  }
  contents[agent.name] = {std::move(content), std::move(*text)};
  const auto canary = team_.RunCanary();
  if (!canary) {
    report["canary"] = {{"fallback", canary.error().ToString()}};
  } else if (*canary) {
    report["canary"] = {
        {"kl", (*canary)->kl}, {"agrees", (*canary)->agrees}, {"enabled", (*canary)->enabled}};
  }
  return report;
}

Result<Json> TeamRun::CallTool(std::size_t index, Contents& contents) {
  const TeamTool& tool = graph_.tools[index];
  const auto named = [&tool](const Status& status) {
    return Fail(Status(status.code(), "tool '" + tool.name + "': " + status.message()));
  };
  ToolLimits limits;
  limits.time_s = tool.time_s;
  const std::string input = tool.Input(
      [&](const std::string& slot) -> std::string_view { return contents.at(slot).text; });
  const std::int64_t start_ns = clock_.NowNs();
  const auto ran = RunTool(tool.command, input, limits);
  const double ms = MsSince(clock_, start_ns);
  if (!ran) return named(ran.error());
  auto content = FromText(ran->output.empty() ? "(no output)" : ran->output);
  if (!content) return named(content.error());
  contents[tool.name] = std::move(*content);
  return Json{{"tool", tool.name},           {"ms", ms},
              {"exit_code", ran->exit_code}, {"timed_out", ran->timed_out},
              {"was_cut", ran->was_cut},     {"output", ran->output}};
}

Result<Json> TeamRun::Call(const TeamStep& step, Contents& contents, bool measured) {
  const bool is_tool = step.kind == TeamStep::Kind::kTool;
  const auto& slots = is_tool ? graph_.tools[step.index].slots : graph_.agents[step.index].slots;
  for (const std::string& slot : slots) {
    if (contents.contains(slot)) continue;
    auto nothing = FromText(std::string(TeamGraph::kNothingYet));
    if (!nothing) return Fail(nothing.error());
    contents[slot] = std::move(*nothing);
  }
  auto report = is_tool ? CallTool(step.index, contents) : RunAgent(step.index, contents, measured);
  if (report && step.turn > 1) (*report)["turn"] = step.turn;
  return report;
}

Result<TeamRun::Content> TeamRun::FromText(const std::string& text) {
  const auto tokens = engine_.Tokenize(text, false);
  if (!tokens) return Fail(tokens.error());
  if (tokens->empty()) return Fail(InvalidArgument("the content is empty; it needs a token"));
  if (!options_.mode.reuses) {
    // Nobody will ask for its own rows.
    DaemonContent bare;
    bare.tokens = *tokens;
    return Content{std::move(bare), text};
  }
  auto content = team_.FromText(*tokens);
  if (!content) return Fail(content.error());
  return Content{std::move(*content), text};
}

Result<Json> TeamRun::Run(const std::string& id, const std::map<std::string, std::string>& fields,
                          bool measured) {
  const auto named = [](const std::string& what, const Status& status) {
    return Fail(Status(status.code(), what + ": " + status.message()));
  };
  const std::string name = "case '" + id + "'";
  if (const Status allowed = CheckToolsAllowed(graph_, options_.allow_tools); !allowed.ok()) {
    return named(name, allowed);
  }
  Contents contents;
  for (const std::string& field : graph_.fields) {
    const auto found = fields.find(field);
    if (found == fields.end()) {
      return named(
          name, InvalidArgument("it has no text '" + field + "', which the graph's prompts name"));
    }
    auto content = FromText(found->second);
    if (!content) return named(name + ": '" + field + "'", content.error());
    contents[field] = std::move(*content);
  }
  Json report = {{"id", id}, {"measured", measured}, {"agents", Json::array()}};
  for (const TeamStep& step : graph_.steps) {
    auto called = Call(step, contents, measured);
    if (!called) return named(name, called.error());
    report[step.kind == TeamStep::Kind::kTool ? "tools" : "agents"].push_back(std::move(*called));
  }
  return report;
}

}  // namespace kvcommons
