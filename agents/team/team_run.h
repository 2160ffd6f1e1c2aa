// Requests answered by a team by way of the daemon: every agent's call as a service would do it,
// measured, and beside it, where asked for, dense prefill and an exact prefix cache on the same
// prompt.
//
// Answers go on to their readers as token ids, from whatever the mode made of the prompt; what a
// tool printed is a text like a field, "(no output)" where it printed nothing; what is read before
// its first turn is TeamGraph::kNothingYet. A tool that ends badly or late is told, and its readers
// read what there is; one that cannot be run ends the request. The exact prefix cache has a world
// of its own in the same daemon (a model of another adapter name, with blocks of 16 tokens), where
// every prompt and answer is committed, whatever the mode held.
//
// Thread safety: an engine's and its client's.

#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/team/daemon_team.h"

namespace kvcommons {

struct TeamRunOptions {
  TeamMode mode;
  bool compares = false;
  std::uint32_t forced_tokens = 32;  // of dense prefill's own answer, that rows are compared on
  UploadAck ack = UploadAck::kHeld;
  bool allow_tools = false;
  // For timing: an answer that ends early is filled up to its greatest length with its prompt's
  // first content.
  bool fills_answers = false;
};

class TeamRun {
 public:
  // `exact`: where prompts are committed as a prefix cache has them; null without `compares`.
  TeamRun(Engine& engine, const TeamGraph& graph, DaemonTeam& team, DaemonTeam* exact,
          TeamRunOptions options)
      : engine_(engine), graph_(graph), team_(team), exact_(exact), options_(std::move(options)) {}

  // {"id", "agents": [{"agent", "turn"?, "mode", "reason", "tokens", "answer", "answer_tokens",
  //  "exact", "anchored", "computed", "charged", "deposits", "ttft_ms", "plan_ms", "gate_ms",
  //  "weights_ms", "blend_ms", "place_ms", "last_ms", "text_ms", "base_ms", "answer_base_ms",
  //  "finish_ms", "learned": [outcome …], "fallback"?, "ttft_dense_ms"?, "ttft_exact_ms"?,
  //  "exact_rows"?, "kl"?, "kl_first"?, "top1"?, "same_answer"?, "canary"?}], "tools"?: [{"tool",
  //  "turn"?, "ms", "exit_code", "timed_out", "was_cut", "output"}]}.
  // `turn`: where it is not the first. `last_ms` is the pass that computes what is not held;
  // `base_ms`: texts' own rows that this agent's call waited for. Errors name the case;
  // kInvalidArgument: a field that prompts name is missing or empty, a prompt is too long, tools
  // are not allowed.
  Result<nlohmann::json> Run(const std::string& id,
                             const std::map<std::string, std::string>& fields, bool measured);

 private:
  struct Content {
    DaemonContent rows;
    std::string text;  // as a tool's input has it
  };
  using Contents = std::map<std::string, Content>;
  Result<Content> FromText(const std::string& text);
  Result<nlohmann::json> Call(const TeamStep& step, Contents& contents, bool measured);
  Result<nlohmann::json> RunAgent(std::size_t index, Contents& contents, bool measured);
  Result<nlohmann::json> CallTool(std::size_t index, Contents& contents);
  // Dense prefill and the exact prefix cache on `prompt`, and how far the mode's rows are.
  Status Compare(std::size_t index, std::span<const DaemonContent* const> inputs,
                 const TeamMode& mode, const std::vector<TokenId>& prompt,
                 const std::vector<TokenId>& answer, nlohmann::json* report);
  Status Fill(const DaemonContent& with, const TeamAgent& agent, const std::vector<TokenId>& prompt,
              std::vector<TokenId>* answer);
  // What an exact prefix cache takes for it; it holds prompt and answer afterwards.
  Status RunExact(std::size_t index, std::span<const DaemonContent* const> inputs,
                  const std::vector<TokenId>& answer, nlohmann::json* report);

  Engine& engine_;
  const TeamGraph& graph_;
  DaemonTeam& team_;
  DaemonTeam* const exact_;
  const TeamRunOptions options_;
  const SystemClock clock_;
};

}  // namespace kvcommons
