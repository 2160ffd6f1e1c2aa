// Brings a prompt into an engine by way of the daemon's library: exact prefix and canonical chunks
// are placed from its memory, a rule's rows and everything fresh are computed, the rest is
// completed.
//
// Guarantee: after Compose() the engine holds every position of the prompt and has logits of its
// last token, whatever the daemon did meanwhile: when it is gone, refuses, or lost the lease while
// rows were read, the prompt is computed in full and the report says why. What is approximate is
// never stored: Commit() gives back the rows that the plan asked for, and a plan asks for no row at
// or behind a canonical one (I3).
//
// Thread safety: none; belongs to the thread of its client and engine.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/elapsed.h"
#include "agents/rag/compose.h"
#include "agents/rag/plan_parts.h"
#include "client/library.h"

namespace kvcommons {

// What one prompt took and where its rows came from. Times in milliseconds.
struct RagReport {
  std::uint32_t total = 0;  // tokens of the prompt = exact + canonical + fresh
  std::uint32_t exact = 0;
  std::uint32_t canonical = 0;   // rows of composed chunks
  std::uint32_t recomputed = 0;  // of those
  std::uint32_t fresh = 0;
  double charged = 0;  // budget, as it was spent
  std::optional<BudgetChoice> budget_auto;
  struct Chunk {
    RootKind variant = RootKind::kEmpty;   // that was used; kEmpty: its rows were computed or exact
    std::string root, document;            // as in PlannedChunk
    std::optional<double> deviation = {};  // see ComposeReport; none where nothing was corrected
  };
  std::vector<Chunk> chunks;  // one for each of the request's
  bool completion = false;    // residual; where it is off, a rule's own may have corrected
  // See ComposeReport.
  std::uint32_t corrected = 0, left_few_rows = 0, left_worse = 0, left_without_loadings = 0;
  std::uint64_t corrected_rows = 0, left_wild_rows = 0;
  StaleRows stale;               // see ComposeReport
  double ttft_ms = 0;            // from token ids to logits
  std::vector<double> stall_ms;  // [layer]: see ComposeReport
  double plan_ms = 0, place_ms = 0, look_ms = 0, select_ms = 0, compute_ms = 0, complete_ms = 0;
  std::uint32_t loaded_blocks = 0;  // that came from disk
  double loaded_ms = 0;             // of plan_ms: waiting for them
  std::string explanation;          // the plan, span by span; then why this budget
  // Why the daemon was not used, canonical rows were not, completion was not. Empty: they were, or
  // nobody asked for it.
  std::string fallback, not_composed, not_completed;
};

class RagSession {
 public:
  struct Options {
    ComposerOptions compose;
    std::uint32_t variants = 0;  // bits 1 << RootKind; 0: all
    std::uint32_t min_chunk_rows = ComposeOptions{}.min_chunk_rows;
    std::uint32_t store_tokens = 0;  // leading tokens that Commit() may store, at most
    double canary_share = 0.01;      // of composed prompts; 0 to 1
    std::uint64_t canary_seed = 1;
  };

  // `model` and `library` may be null: everything is computed. All must outlive the session.
  RagSession(Engine& engine, ModelHandle* model, LibraryHandle* library, const Clock& clock)
      : engine_(engine), model_(model), library_(library), clock_(clock) {}

  // `chunks`: the documents within the prompt, ascending and disjoint. kInvalidArgument: chunks out
  // of order or of range, an unknown rule, a budget or share out of its limits or below what the
  // rule spends on looking. Otherwise fails only when the engine does.
  Result<RagReport> Compose(std::span<const TokenId> prompt,
                            std::span<const PlanRequest::Chunk> chunks, const Options& options);

  // Stores what the last Compose()'s plan asked for: exact rows of the prompt's beginning.
  // REQUIRES: the engine still holds the prompt's rows.
  Result<CommitOutcome> Commit(UploadAck ack);

  struct Canary {
    double kl = 0;  // of the first token's distribution, from full prefill's
    bool agrees = false;
    double full_ms = 0;
    std::string rule;  // that it was reported for
    ModelHandle::Quality quality;
  };
  // Where the last composed prompt was drawn as a sample: prefills it in full, compares and reports
  // to the daemon, which switches off a rule that strays. To be called when the answer is out: the
  // engine then holds the prompt, in full. nullopt: it was not drawn.
  Result<std::optional<Canary>> RunCanary();

 private:
  Result<std::unique_ptr<PlanHandle>> MakePlan(std::span<const TokenId> prompt,
                                               std::span<const PlanRequest::Chunk> chunks,
                                               const Options& options);
  Status CarryOut(std::span<const TokenId> prompt, std::span<const PlanRequest::Chunk> chunks,
                  const Options& options, RagReport& report);
  Status RunComposed(std::span<const TokenId> prompt, Position question_begin, PlanParts parts,
                     ComposerOptions options, RagReport& report);
  Status RunExact(std::span<const TokenId> prompt, const PlanParts& parts, RagReport& report);
  void DrawCanary(std::span<const TokenId> prompt, const Options& options, const RagReport& report);
  double MsSince(std::int64_t start_ns) const { return kvcommons::MsSince(clock_, start_ns); }

  Engine& engine_;
  ModelHandle* const model_;
  LibraryHandle* const library_;
  const Clock& clock_;
  std::unique_ptr<PlanHandle> plan_;  // of the last prompt; its lease is held until Commit
  struct Sample {
    std::vector<TokenId> prompt;
    std::vector<float> logits;
    std::string rule;
  };
  std::optional<Sample> sample_;
  std::uint64_t composed_ = 0;    // prompts so far
  double disk_bytes_per_us_ = 0;  // as the last plan that read from it measured; 0: none did
};

// What a rule's quality is reported under: the rule, and whether residual completion goes with it.
std::string QualityName(const std::string& rule, bool completion);

}  // namespace kvcommons
