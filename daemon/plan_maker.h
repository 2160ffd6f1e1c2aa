// PlanMaker: from a checked request to a plan whose reused rows are pinned, and to the pieces that
// the daemon wants back.
//
// Guarantees: every row that a span points to stays where it is while the PreparedPlan lives (I2);
// exact mode looks at nothing but the exact chain, and a composed plan names the variants that it
// uses (I3); where a model cannot move rows, or a
// document is not there, the plan is exact and says why (I12). A block that turns out to be missing
// is planned without, a bounded number of times. Rows of a team's slots are cut but not made:
// whoever asked for kTeam fills them in (team_plan.h). Thread safety: one thread at a time, any
// thread.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "align/plan.h"
#include "base/status.h"
#include "daemon/canonical_chunks.h"
#include "daemon/pieces.h"
#include "daemon/prompt.h"
#include "store/store.h"

namespace kvcommons {

// A planned run of rows within one block.
struct LeasedSpan {
  static constexpr std::uint32_t kNoBlock = ~0u;

  // Its rows lie in a block that the store has.
  bool is_stored() const {
    return span.source != SpanSource::kNone && span.source != SpanSource::kSlot;
  }

  Span span;                     // cut at block boundaries
  std::uint32_t pin = kNoBlock;  // index into PreparedPlan::pins; kNoBlock: computed
  BlockKey block = {};           // of the pin
  std::uint32_t first_row = 0;   // row of the block that lands at span.begin
};

struct PreparedPlan {
  std::shared_ptr<const OpenedModel> model;
  PromptRequest request;
  PromptChain chain;
  DocumentKey document;  // zero: none named
  Plan plan;             // as the planner made it
  std::vector<LeasedSpan> spans;
  std::vector<PinnedBlock> pins;
  std::vector<WantedPiece> pieces;
  // kCompose: of each chunk, what it is served from: its only variant, or none.
  std::vector<CanonicalChunk> chunks;
  // Of variants that were offered: blocks that the store has not.
  std::vector<std::pair<ContentKey, ChainRoot>> lost_variants;
  std::uint64_t parent_revision = 0;  // 0: nothing of a parent is used
  std::uint32_t loaded_blocks = 0;    // that came from disk
  std::uint64_t loaded_bytes = 0;     // of those
  double loaded_us = 0;               // how long the plan waited for them
  std::string notes;                  // lines for the explanation
};

class PlanMaker {
 public:
  static constexpr int kMaxTries = 4;

  // `memo` may be null; it is used here only. `chunks`: what a library offers for the request's.
  PlanMaker(Store& store, const Clock& clock, std::shared_ptr<const OpenedModel> model,
            PromptRequest request, ChainMemo* memo = nullptr,
            std::vector<CanonicalChunk> chunks = {});

  // True: Take() has the plan. False, only without `may_block`: a block has to be read from disk,
  // or the work is too long for an event loop; call again with `may_block` on a thread that may
  // wait.
  Result<bool> Make(bool may_block);
  PreparedPlan Take() { return std::move(result_); }

 private:
  // Prompts and parents that are longer together are compared on a worker.
  static constexpr std::size_t kMaxLoopTokens = 32768;

  void FindParent();
  // Leading tokens whose blocks the store has; the first matched_blocks_ of them in full blocks.
  Position MatchChain();
  void OfferParentRows();
  // For every chunk the first variant whose blocks are all there.
  void ChooseVariants();
  bool IsThere(const CanonicalVariant& variant) const;
  // Cuts the plan's spans at block boundaries.
  std::vector<LeasedSpan> Cut(const Plan& plan) const;
  // Pins what these spans name, from disk where it is not in memory. May wait.
  void Load(const std::vector<LeasedSpan>& spans);
  std::optional<PinnedBlock> PinOne(const BlockKey& key);
  enum class PinOutcome { kPinned, kOnDisk, kMissing };
  // What is missing is remembered in missing_: the next try plans without.
  // Says in every span which of held_ it is.
  PinOutcome PinAll(std::vector<LeasedSpan>& spans, bool may_block);
  // What the chunks are served from, what is gone, and whose loadings cannot be read.
  void NameVariants(const Plan& plan);
  void Finish(Plan plan, std::vector<LeasedSpan> spans);

  Store& store_;
  const Clock& clock_;
  PreparedPlan result_;
  std::optional<DocumentRevision> parent_;
  std::vector<ParentSegment> parent_rows_;
  std::vector<CanonicalChunk> chunks_;
  std::vector<const CanonicalVariant*> chosen_;  // of chunks_; null: none
  std::vector<ChunkOffer> chunk_offers_;         // the same for the planner
  std::size_t matched_blocks_ = 0;
  std::unordered_set<BlockKey> missing_;
  struct Held {
    PinnedBlock pin;
    std::uint32_t index = LeasedSpan::kNoBlock;  // in the plan's pins, once it is known to be used
  };
  std::unordered_map<BlockKey, PinnedBlock> loaded_;
  std::vector<Held> held_;                                  // what any try pinned
  std::unordered_map<BlockKey, std::uint32_t> held_index_;  // of what a document's segments name
};

}  // namespace kvcommons
