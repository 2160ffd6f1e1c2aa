// A team's agents on one engine: contents prefilled once, each agent's prompt assembled from them.
//
// A call is Prepare(), which leaves the prompt's rows and the logits of its last token in the
// engine. A content that is new to a reader is prefilled densely there, and Deposit() then learns
// from it. Thread safety: an engine's.

#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agents/team/graph.h"
#include "agents/team/team_memory.h"
#include "agents/team/team_mode.h"
#include "agents/team/team_template.h"

namespace kvcommons {

struct TeamCall {
  std::vector<TokenId> prompt;
  PromptLayout layout;
  std::uint32_t exact = 0;        // rows of the beginning that were held
  std::uint32_t computed = 0;     // of those behind
  std::uint32_t uncorrected = 0;  // rows that were only turned to their place
  double charged = 0;             // computed ÷ rows behind the first text (specs: KVCOMM §16.4)
  // Of this call: contents' own rows are computed once, before, for all their readers.
  double blend_ms = 0, place_ms = 0, compute_ms = 0, ttft_ms = 0;
};

class TeamSession {
 public:
  // Prefills what stands before every agent's first slot and, for modes that do not compute it, its
  // text with nothing in the slots. kUnsupported: keys of this model cannot be moved, or rows in
  // between not be computed.
  static Result<std::unique_ptr<TeamSession>> Create(Engine& engine, const TeamGraph& graph,
                                                     const std::string& chat,
                                                     TeamMemoryOptions options);

  const TeamTemplate& shape(std::size_t agent) const { return templates_[agent]; }
  TeamMemory& memory() { return memory_; }

  // A text's own rows: behind the beginning of a user's message, whose rows are dropped. Empties
  // the engine. kInvalidArgument: no tokens, or too many for the context.
  Result<SharedContent> FromText(std::span<const TokenId> tokens);
  // An answer's, as the engine holds them at [begin, begin + tokens.size()).
  Result<SharedContent> FromAnswer(Position begin, std::span<const TokenId> tokens);

  // The same out of rows that a prefill gave, `rows.origin` on.
  SharedContent FromRows(const TeamRows& rows, Position begin,
                         std::span<const TokenId> tokens) const {
    return MakeContent(tokens, Slice(rows, begin, static_cast<std::uint32_t>(tokens.size())));
  }
  // A content whose rows nobody computed yet: for Prepare() with the mode `dense` alone.
  SharedContent Unread(std::span<const TokenId> tokens) const {
    return MakeContent(tokens, {static_cast<std::uint32_t>(tokens.size()), 0, {}});
  }

  // kInvalidArgument: contents do not fit the template or the context.
  Result<TeamCall> Prepare(std::size_t agent, std::span<const SharedContent> contents,
                           const TeamMode& mode);

  // Rows of a full prefill of that call: `block` holds the whole prompt.
  Status Deposit(std::size_t agent, std::span<const SharedContent> contents, const TeamCall& call,
                 const TeamRows& prompt);
  // What the engine holds of [0, rows).
  Result<TeamRows> ReadPrompt(std::uint32_t rows) const;
  // For the mode `exact`: prompts whose beginnings are held. Forget() leaves those of the agents.
  void Remember(std::vector<TokenId> tokens, TeamRows rows);
  void Forget() { remembered_.resize(templates_.size()); }

 private:
  struct Known {
    std::vector<TokenId> tokens;
    TeamRows rows;
  };

  TeamSession(Engine& engine, TeamMemoryOptions options)
      : engine_(engine), memory_(engine.profile(), options) {}
  // Rows by the rule `design` in place of first rows. REQUIRES: call.layout and call.prompt are
  // made.
  Status Compose(const TeamTemplate& shape, std::span<const SharedContent> contents,
                 const TeamMode& mode, TeamCall* call);
  TeamRows Slice(const TeamRows& from, Position begin, std::uint32_t rows) const;
  SharedContent MakeContent(std::span<const TokenId> tokens, TeamRows rows) const;
  // The longest beginning of the prompt, but for its last token, that is known; null: none.
  const Known* LongestKnown(std::span<const TokenId> prompt, std::size_t known_count,
                            std::uint32_t* rows) const;

  Engine& engine_;
  TeamMemory memory_;
  std::vector<TeamTemplate> templates_;
  Known lead_in_;                  // what a text's own rows are computed behind
  std::vector<Known> remembered_;  // first the agents' heads
};

}  // namespace kvcommons
