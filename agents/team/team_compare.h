// One request through a team, its agents one after the other, every mode beside dense prefill on
// the same contents: answers that are passed on are the dense ones, so that no mode inherits
// another's.
//
// Graphs with tools are refused, since whether a program prints the same twice only it knows; and
// those with turns.
//
// What earlier requests deposited is what a mode may use; this request's rows are deposited when it
// is measured. Thread safety: an engine's.

#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agents/engine/teacher_force.h"
#include "agents/team/team_session.h"

namespace kvcommons {

struct TeamCompareOptions {
  std::vector<TeamMode> modes;
  std::uint32_t forced_tokens = 32;  // of dense prefill's own answer, that modes are compared on
  // Another engine with the same vocabulary (other weights of the model), dense: how much modes
  // differ from dense prefill means little without it. Null: none.
  Engine* control = nullptr;
  // A field's own rows are those of the first agent that reads it (specs: KVCOMM §11), which is
  // dense then and has no modes; else they are computed apart.
  bool first_reader = false;
};

class TeamCompare {
 public:
  // kUnsupported: the graph is none for this, or not with `first_reader`.
  static Status CheckGraph(const TeamGraph& graph, bool first_reader = false);

  // REQUIRES: CheckGraph() is fine with it.
  TeamCompare(Engine& engine, const TeamGraph& graph, TeamSession& session,
              TeamCompareOptions options)
      : engine_(engine), graph_(graph), session_(session), options_(std::move(options)) {}

  // {"id", "measured", "mean_bytes", "anchor_bytes", "agents": [{"agent", "tokens",
  //  "answer_tokens", "answer", "ttft_dense_ms", "base_ms", "deposit"?, "slots"?: [{"slot",
  //  "tokens", "mean_rows", "anchors", "gate", "entropy_bits", "gate_ms"}], "modes"?: [{"mode",
  //  "kl", "kl_first", "top1", "charged", "exact", "uncorrected", "blend_ms", "place_ms",
  //  "compute_ms", "ttft_ms", "answer"?}]}]}. `answer`: of the last agent, what it goes on to say
  // by itself. The control is a mode with that name, all its rows computed. `base_ms`: of fields
  // that no agent before this one reads; `deposit`: why it was refused. Not `measured`: dense
  // alone, to fill the memory; slots and modes are there of a measured agent that answered
  // something. An agent that is never approximated runs `exact` in every mode that reuses. Errors
  // name the case; kInvalidArgument: a field that prompts name is missing or empty, a prompt is too
  // long.
  Result<nlohmann::json> Run(const std::string& id,
                             const std::map<std::string, std::string>& fields, bool measured);

 private:
  Result<nlohmann::json> RunAgent(std::size_t index, std::map<std::string, SharedContent>& contents,
                                  bool measured);
  // What `engine`, which holds the prompt's rows, answers by itself, where `logits` are of the
  // forced beginning of dense prefill's answer.
  static Result<std::string> AnswerOf(Engine& engine, std::span<const TokenId> prompt,
                                      std::span<const TokenId> dense, const LogitRows& logits,
                                      std::uint32_t max_tokens);

  Engine& engine_;
  const TeamGraph& graph_;
  TeamSession& session_;
  TeamCompareOptions options_;
};

}  // namespace kvcommons
