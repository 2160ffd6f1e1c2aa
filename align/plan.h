// The planner: from candidates to spans that cover a prompt exactly once, each with its reason.
//
// Pure and deterministic: equal inputs give equal plans. A plan always ends in a computed token,
// since no logits are cached (I4). It never contains reuse that the cost model predicts to be
// slower than prefill (I11). What it cannot place it computes: unsure means a miss.
//
// Source: specs: positional re-encoding §1.5 (multi-place edits), §1.8 (staleness), §5.4 (diff).

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "align/cost_model.h"
#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

inline constexpr Position kMaxPlanTokens = Position{1} << 24;

enum class Policy : std::uint8_t {
  kOff = 0,      // compute everything
  kExact = 1,    // exact chains only
  kEdit = 2,     // and rows of the declared parent revision, moved
  kCompose = 3,  // and chunks of the prompt that a library holds
  kTeam = 4,     // and contents of a team's slots, corrected
};

// Values travel over the wire.
enum class SpanKind : std::uint8_t {
  kExact = 0,
  kMoved = 1,
  kCanonical = 2,
  kAnchored = 3,
  kCompute = 4
};

// Where the rows of a reused span come from.
enum class SpanSource : std::uint8_t {
  kNone = 0,       // computed
  kChain = 1,      // the exact chain of this prompt; row i is token i
  kParent = 2,     // the parent revision; rows parent_begin ...
  kCanonical = 3,  // a chunk's own canonical rows; rows parent_begin ... of the chunk
  kSlot = 4,       // a slot's corrected rows; rows parent_begin ... of its content
};

// How far a stored row's left context has drifted from the one it was computed in (§1.8).
struct Staleness {
  // Revisions with an edit in its left context since. 0: exact. A row that was computed behind
  // moved rows starts at 1: it read stale rows, though no edit passed it by.
  std::uint32_t generation = 0;
  std::uint32_t edited_tokens_left = 0;   // tokens inserted or removed to its left since
  std::uint32_t min_distance_tokens = 0;  // to the nearest edit; meaningless when none are edited
  bool exact() const { return generation == 0; }
  friend bool operator==(const Staleness& a, const Staleness& b) {
    return a.generation == b.generation && a.edited_tokens_left == b.edited_tokens_left &&
           a.min_distance_tokens == b.min_distance_tokens;
  }
};

// Rows [begin, end) of the parent revision that the store still has, rotated for the contiguous
// positions from `origin`. Ascending, disjoint; what is missing between them must be computed.
struct ParentSegment {
  Position begin = 0;
  Position end = 0;
  Position origin = 0;
  Staleness staleness;
};

struct EditOptions {
  // The first rows after every edit are recomputed, not moved: they depend most on what changed.
  std::uint32_t after_rows = 16;
  // Kept runs shorter than this are computed: each costs a seam and a run (8 to 32, §5.4).
  std::uint32_t min_run = 16;
  // Rows staler than this are computed.
  std::uint32_t max_generation = 64;
  // When more than this share of the prompt would be stale, everything after the exact part is
  // computed: the risk limit.
  double max_stale_share = 1.0;
};

// Tokens [begin, end) of the prompt that are a text of their own. Where a library holds its rows,
// `variant` says in which form: row i was computed at position i behind those prefaces.
struct ChunkOffer {
  Position begin = 0;
  Position end = 0;
  RootKind variant = RootKind::kEmpty;  // kEmpty: not held
};

struct ComposeOptions {
  // Chunks of which fewer rows could be used are computed.
  std::uint32_t min_chunk_rows = 16;
  // What the caller will spend on canonical rows anyway, looking and recompute, as a share of
  // computing them (the charged budget of its rule): part of what reuse costs (I11). 0 to 1.
  double recompute_share = 0;
};

// A content within the prompt of a team's agent, whose rows can be had corrected and in place.
struct SlotOffer {
  Position begin = 0;
  Position end = 0;
  std::uint32_t first_rows = 0;  // that are computed all the same
};

struct PlanInput {
  std::span<const TokenId> tokens;         // the prompt; at least 1
  Position exact_tokens = 0;               // leading tokens whose exact chain the store holds
  std::span<const TokenId> parent_tokens;  // empty: no parent
  std::span<const ParentSegment> parent_segments;
  std::span<const ChunkOffer> chunks;  // ascending, disjoint, not empty
  std::span<const SlotOffer> slots;    // kTeam: ascending, disjoint, not empty
  Policy policy = Policy::kExact;
  EditOptions edit;
  ComposeOptions compose;
  CostModel costs;
};

struct Span {
  Position begin = 0;  // [begin, end) of the prompt
  Position end = 0;
  SpanKind kind = SpanKind::kCompute;
  SpanSource source = SpanSource::kNone;
  Position parent_begin = 0;  // of parent, chunk or content: its row that lands at `begin`
  std::uint32_t chunk = 0;    // kCanonical, kSlot: index into PlanInput::chunks or ::slots
  Position delta = 0;         // begin - origin position of the row at `begin`; constant in the span
  Staleness staleness;        // of the rows once the plan has been carried out
  const char* reason = "";    // a fixed word: "exact_chain", "unchanged", "edited", "after_edit",
                              // "short_run", "missing", "too_stale", "last_token", "no_parent",
                              // "not_worth_it", "policy_off", "risk_limit", "canonical_near" and
                              // so on, "not_in_library", "between_chunks", "short_chunk",
                              // "corrected", "slot_begin", "between_slots"
};

struct Plan {
  std::vector<Span> spans;  // ascending, covers [0, tokens) exactly once, last is kCompute
  Position exact_rows = 0;
  Position moved_rows = 0;
  Position canonical_rows = 0;
  Position anchored_rows = 0;
  Position computed_rows = 0;
  // Rows before this are exact when the plan has been carried out: the first moved, canonical or
  // anchored row, or the end.
  Position exact_end = 0;
  double predicted_us = 0;  // by the cost model; the lookup counts when anything is reused
  double prefill_us = 0;    // what computing everything would take; predicted_us is never more
};

// Fails with kInvalidArgument on an empty prompt, on more than kMaxPlanTokens tokens on a side, on
// segments, chunks or slots out of order or out of range, and on options or costs that are negative
// or not finite.
//
// What is exact: rows of the chain, and rows of the parent at generation 0 and their own position
// whose whole left context is unchanged. A row that claims to be exact behind a stale one
// contradicts itself and is taken as moved (by 0).
//
// With kTeam the plan is that of kExact where it is predicted to be no slower.
Result<Plan> MakePlan(const PlanInput& input);

// What the store can offer as the parent of the next edit once the plan has been carried out:
// reused rows keep the origin of their stored bytes, computed rows have their own position.
std::vector<ParentSegment> SegmentsAfter(const Plan& plan);

// One line per span for people: "[0, 1280) exact: exact_chain".
std::string Explain(const Plan& plan);

}  // namespace kvcommons
