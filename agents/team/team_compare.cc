#include "agents/team/team_compare.h"

#include <algorithm>

#include "agents/engine/elapsed.h"
#include "agents/engine/fidelity.h"
#include "agents/team/whole_answer.h"
#include "base/clock.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

Json SlotJson(const std::string& slot, const TeamContent& content, const SlotState& state) {
  return {{"slot", slot},
          {"tokens", content.base.rows},
          {"mean_rows", state.mean_rows},
          {"anchors", state.anchors},
          {"gate", state.gate ? Json(ShareReasonName(*state.gate)) : Json()},
          {"entropy_bits", state.entropy_bits},
          {"gate_ms", state.gate_ms}};
}

Json ModeJson(const std::string& mode, const TeamCall& call, const LogitRows& dense,
              const LogitRows& logits) {
  const Fidelity fidelity = Compare(dense, logits);
  return {{"mode", mode},
          {"kl", fidelity.kl_mean},
          {"kl_first", KlDivergence(dense.front(), logits.front())},
          {"top1", fidelity.top1_agreement},
          {"charged", call.charged},
          {"exact", call.exact},
          {"uncorrected", call.uncorrected},
          {"blend_ms", call.blend_ms},
          {"place_ms", call.place_ms},
          {"compute_ms", call.compute_ms},
          {"ttft_ms", call.ttft_ms}};
}

}  // namespace

Status TeamCompare::CheckGraph(const TeamGraph& graph, bool first_reader) {
  const std::string other = "; `kvcommons-engine team` runs such graphs";
  if (!graph.tools.empty()) {
    return Unsupported("tool '" + graph.tools.front().name +
                       "': modes are not compared where tools are called" + other);
  }
  if (graph.turns) {
    return Unsupported("turns is " + std::to_string(*graph.turns) +
                       ": modes are compared in graphs without turns" + other);
  }
  // Its answer is what answers are compared by.
  const auto& last = graph.agents.back();
  for (const std::string& slot : last.slots) {
    const bool is_field = std::binary_search(graph.fields.begin(), graph.fields.end(), slot);
    const bool is_read_before =
        std::any_of(graph.agents.begin(), graph.agents.end() - 1, [&slot](const TeamAgent& agent) {
          return std::find(agent.slots.begin(), agent.slots.end(), slot) != agent.slots.end();
        });
    if (!first_reader || !is_field || is_read_before) continue;
    return Unsupported("--first-reader: agent '" + last.name +
                       "', the last one, is the first that reads '" + slot +
                       "', and dense then; leave the option out");
  }
  return Status();
}

Result<std::string> TeamCompare::AnswerOf(Engine& engine, std::span<const TokenId> prompt,
                                          std::span<const TokenId> dense, const LogitRows& logits,
                                          std::uint32_t max_tokens) {
  std::vector<TokenId> tokens(prompt.begin(), prompt.end());
  const auto said = [&] { return static_cast<std::uint32_t>(tokens.size() - prompt.size()); };
  // Only what it says behind the first difference has to be generated.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto best = static_cast<TokenId>(std::max_element(logits[i].begin(), logits[i].end()) -
                                           logits[i].begin());
    if (best != dense[i] && engine.EndsGeneration(best)) {
      return engine.Detokenize(std::span(tokens).subspan(prompt.size()));
    }
    tokens.push_back(best);
    if (best != dense[i]) break;
  }
  if (said() < max_tokens && tokens.size() < engine.context_tokens()) {
    KVC_FAIL_IF_ERROR(engine.RunRest(tokens));
    const auto rest = engine.Generate(max_tokens - said());
    if (!rest) return Fail(rest.error());
    tokens.insert(tokens.end(), rest->begin(), rest->end());
  }
  return engine.Detokenize(std::span(tokens).subspan(prompt.size()));
}

Result<Json> TeamCompare::RunAgent(std::size_t index,
                                   std::map<std::string, SharedContent>& contents, bool measured) {
  const TeamAgent& agent = graph_.agents[index];
  const TeamTemplate& shape = session_.shape(index);
  std::vector<SharedContent> inputs;
  for (const std::string& slot : agent.slots) inputs.push_back(contents.at(slot));
  const TeamMode dense{.name = "dense", .exact_prefix = false};
  auto call = session_.Prepare(index, inputs, dense);
  if (!call) return Fail(call.error());
  const auto begin = static_cast<Position>(call->prompt.size());
  const auto answer = WholeAnswer(engine_, begin, agent.max_tokens);
  if (!answer) return Fail(answer.error());
  auto content = session_.FromAnswer(begin, *answer);
  if (!content) return Fail(content.error());
  KVC_FAIL_IF_ERROR(engine_.RemoveFrom(begin));
  const auto rows = session_.ReadPrompt(static_cast<std::uint32_t>(begin));
  if (!rows) return Fail(rows.error());
  Json report = {{"agent", agent.name},
                 {"tokens", call->prompt.size()},
                 {"answer_tokens", answer->size()},
                 {"ttft_dense_ms", call->ttft_ms}};
  if (const auto text = engine_.Detokenize(*answer)) report["answer"] = *text;
  bool is_first_reader = false;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]->base.block.empty() || inputs[i]->base.rows == 0) continue;
    is_first_reader = true;
    inputs[i] = contents[agent.slots[i]] =
        session_.FromRows(*rows, call->layout.slots[i].content_begin, inputs[i]->tokens);
  }

  if (measured && !answer->empty() && !is_first_reader) {
    std::vector<TokenId> forced = *answer;
    forced.resize(std::min<std::size_t>(forced.size(), options_.forced_tokens));
    const auto expected = TeacherForce(engine_, call->prompt, forced);
    if (!expected) return Fail(expected.error());
    report["slots"] = Json::array();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const SlotState state = session_.memory().StateOf(shape, i, *inputs[i], true);
      session_.memory().CountUses(shape, i, state);
      report["slots"].push_back(SlotJson(agent.slots[i], *inputs[i], state));
    }
    report["modes"] = Json::array();
    const bool is_last = index + 1 == graph_.agents.size();
    const auto add = [&](const std::string& mode, const TeamCall& made, Engine& engine) -> Status {
      const auto logits = TeacherForce(engine, call->prompt, forced);
      if (!logits) return logits.error();
      Json one = ModeJson(mode, made, *expected, *logits);
      if (is_last) {
        const auto said = AnswerOf(engine, call->prompt, *answer, *logits, agent.max_tokens);
        if (!said) return said.error();
        one["answer"] = *said;
      }
      report["modes"].push_back(std::move(one));
      return Status();
    };
    for (const TeamMode& mode : options_.modes) {
      const TeamMode exact{.name = "exact"};
      engine_.Clear();
      const auto made =
          session_.Prepare(index, inputs, mode.reuses && agent.exact_only ? exact : mode);
      if (!made) return Fail(made.error());
      KVC_FAIL_IF_ERROR(add(mode.name, *made, engine_));
    }
    if (options_.control != nullptr) {
      Engine& control = *options_.control;
      control.Clear();
      const SystemClock clock;
      const std::int64_t start_ns = clock.NowNs();
      KVC_FAIL_IF_ERROR(control.RunRest(call->prompt));
      TeamCall whole;
      whole.charged = 1;
      whole.compute_ms = whole.ttft_ms = MsSince(clock, start_ns);
      KVC_FAIL_IF_ERROR(add("control", whole, control));
    }
  }
  // Nobody would use what an agent that is never approximated teaches.
  const Status deposited =
      agent.exact_only ? Status() : session_.Deposit(index, inputs, *call, *rows);
  if (!deposited.ok() && deposited.code() != Code::kExhausted) return Fail(deposited);
  if (!deposited.ok()) report["deposit"] = deposited.message();
  session_.Remember(call->prompt, *rows);
  contents[agent.name] = std::move(*content);
  return report;
}

Result<Json> TeamCompare::Run(const std::string& id,
                              const std::map<std::string, std::string>& fields, bool measured) {
  const SystemClock clock;
  Json report = {{"id", id}, {"measured", measured}};
  const auto named = [](const std::string& what, const Status& status) {
    return Fail(Status(status.code(), what + ": " + status.message()));
  };
  const std::string name = "case '" + id + "'";
  std::map<std::string, SharedContent> contents;
  std::map<std::string, double> base_ms;
  for (const std::string& field : graph_.fields) {
    const auto found = fields.find(field);
    if (found == fields.end()) {
      return named(
          name, InvalidArgument("it has no text '" + field + "', which the graph's prompts name"));
    }
    const auto tokens = engine_.Tokenize(found->second, false);
    if (!tokens) return named(name, tokens.error());
    if (options_.first_reader && !tokens->empty()) {
      contents[field] = session_.Unread(*tokens);
      continue;
    }
    const std::int64_t start_ns = clock.NowNs();
    auto content = session_.FromText(*tokens);
    if (!content) return named(name + ": '" + field + "'", content.error());
    base_ms[field] = MsSince(clock, start_ns);
    contents[field] = std::move(*content);
  }
  session_.Forget();
  report["agents"] = Json::array();
  for (std::size_t i = 0; i < graph_.agents.size(); ++i) {
    auto agent = RunAgent(i, contents, measured);
    if (!agent) return named(name, agent.error());
    // Who reads a field first waits for its own rows.
    double waited_ms = 0;
    for (const std::string& slot : graph_.agents[i].slots) {
      if (const auto own = base_ms.extract(slot)) waited_ms += own.mapped();
    }
    (*agent)["base_ms"] = waited_ms;
    report["agents"].push_back(std::move(*agent));
  }
  report["mean_bytes"] = session_.memory().mean_bytes();
  report["text_mean_bytes"] = session_.memory().text_mean_bytes();
  report["anchor_bytes"] = session_.memory().anchor_bytes();
  return report;
}

}  // namespace kvcommons
