// The second stage of `dhd` (KVShare) on an engine: with every token of an answer a few rows that
// prefill left stale are computed again, those that the token before it read most wrongly.
//
// The first token has nothing to go by yet: its rows are chosen when it was computed, and computed
// along with the next. What is repaired belongs to this request and is never stored (I3).
//
// Source: specs: selective recompute §B.3; align/select/decode_stage.h. Thread safety: an engine's.

#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "agents/engine/teacher_force.h"
#include "align/select/decode_stage.h"

namespace kvcommons {

class DecodeRepair {
 public:
  // REQUIRES: the engine holds the rows of `prompt`, of which `stale` are.
  DecodeRepair(Engine& engine, std::span<const TokenId> prompt, StaleRows stale,
               std::uint32_t rows_per_token = kDecodeRows)
      : engine_(engine),
        tokens_(prompt.begin(), prompt.end()),
        stale_(std::move(stale)),
        rows_per_token_(rows_per_token) {}

  // Computes the last token once more, and `repairs` with it; the engine then has its logits.
  // kInvalidArgument: more than kMaxDecodeRows rows a token; otherwise as Engine::Run.
  Status RunLast();
  // Appends a token, and computes it likewise.
  Status Run(TokenId token);

  // As kvcommons::TeacherForce and Engine::Generate, with repairs. Generate begins with the logits
  // that the engine has: after RunLast(), or those of the prompt.
  Result<LogitRows> TeacherForce(std::span<const TokenId> forced);
  Result<std::vector<TokenId>> Generate(std::uint32_t max_tokens);

  std::uint32_t repaired() const { return repaired_; }
  std::size_t stale_count() const { return stale_.rows.size(); }

 private:
  Engine& engine_;
  std::vector<TokenId> tokens_;
  StaleRows stale_;
  std::uint32_t rows_per_token_;
  std::vector<Position> chosen_;  // for the next pass
  std::uint32_t repaired_ = 0;
};

}  // namespace kvcommons
