// Brings a prompt into an engine by way of the daemon: plan, place what is stored, compute the rest
// in one pass, and give back what the daemon wants to keep.
//
// Guarantee: after Prefill() the engine holds every position of the prompt and has logits of its
// last token, whatever the daemon did meanwhile: when it is gone, refuses, or lost the lease during
// the copy, the prompt is computed in full and the report says why.
//
// Thread safety: none; belongs to the thread of its client and engine.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/elapsed.h"
#include "agents/engine/llama_engine.h"
#include "align/plan.h"
#include "client/client.h"

namespace kvcommons {

// What one prefill took and where its rows came from. Times in milliseconds.
struct PrefillReport {
  std::uint32_t total = 0;  // tokens of the prompt = exact + moved + computed
  std::uint32_t exact = 0;
  std::uint32_t moved = 0;
  std::uint32_t computed = 0;
  double ttft_ms = 0;  // from token ids to logits: plan, place and compute
  double plan_ms = 0;
  double place_ms = 0;
  double compute_ms = 0;
  std::uint32_t loaded_blocks = 0;    // that came from disk
  std::uint64_t parent_revision = 0;  // of the document that the plan started from; 0: none
  std::string explanation;            // the plan, span by span
  std::string fallback;               // why the daemon was not used; empty: it was
};

class EditSession {
 public:
  struct Options {
    Policy policy = Policy::kEdit;
    std::string document;            // parent and target of the revision
    std::uint32_t store_tokens = 0;  // leading tokens that Commit() may store
    EditOptions edit;
  };

  // `model` may be null: everything is computed. All must outlive the session.
  EditSession(Engine& engine, ModelHandle* model, const Clock& clock)
      : engine_(engine), model_(model), clock_(clock) {}

  // Fails only when the engine does.
  Result<PrefillReport> Prefill(std::span<const TokenId> prompt, const Options& options);

  // Stores what the last Prefill()'s plan asked for: exact blocks, and the document's new revision.
  // REQUIRES: the engine still holds the prompt's rows.
  Result<CommitOutcome> Commit(UploadAck ack);

 private:
  // Places the plan's reused rows and computes the others.
  Status CarryOut(std::span<const TokenId> prompt, PlanHandle& plan, PrefillReport& report);
  double MsSince(std::int64_t start_ns) const { return kvcommons::MsSince(clock_, start_ns); }

  Engine& engine_;
  ModelHandle* const model_;
  const Clock& clock_;
  std::unique_ptr<PlanHandle> plan_;  // of the last Prefill; its lease is held until Commit
};

// "Off", "exact" or "edit", as on the command line; kInvalidArgument names the three.
Result<Policy> ParsePolicy(std::string_view name);

}  // namespace kvcommons
