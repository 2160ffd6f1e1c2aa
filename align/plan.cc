#include "align/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include "align/diff.h"

namespace kvcommons {
namespace {

static_assert(kMaxPlanTokens == static_cast<Position>(kMaxDiffTokens));

// A span in the making. Adjacent computed spans merge and keep the reason of the largest.
struct Draft {
  Span span;
  Position reason_rows = 0;

  Position rows() const { return span.end - span.begin; }
  bool computed() const { return span.kind == SpanKind::kCompute; }
  bool moved() const { return span.kind == SpanKind::kMoved; }
  bool approximate() const {
    return moved() || span.kind == SpanKind::kCanonical || span.kind == SpanKind::kAnchored;
  }
};

std::uint32_t SaturatedSum(std::uint32_t a, std::int64_t b) {
  const std::int64_t sum = std::int64_t{a} + b;
  return static_cast<std::uint32_t>(
      std::min<std::int64_t>(sum, std::numeric_limits<std::uint32_t>::max()));
}

Draft Computed(Position begin, Position end, const char* reason) {
  Draft draft;
  draft.span.begin = begin;
  draft.span.end = end;
  draft.span.reason = reason;
  draft.reason_rows = end - begin;
  return draft;
}

void Compute(Draft& draft, const char* reason) {
  draft = Computed(draft.span.begin, draft.span.end, reason);
}

// Whether `next` goes on where `last` ends, from the same source with the same δ.
bool Continues(const Span& last, const Span& next) {
  return last.kind == next.kind && last.source == next.source && last.delta == next.delta &&
         last.staleness.generation == next.staleness.generation &&
         last.staleness.edited_tokens_left == next.staleness.edited_tokens_left &&
         last.chunk == next.chunk &&
         last.parent_begin + (last.end - last.begin) == next.parent_begin;
}

void Append(std::vector<Draft>& drafts, const Draft& next) {
  if (next.rows() == 0) return;
  if (!drafts.empty()) {
    Draft& last = drafts.back();
    if (last.computed() && next.computed()) {
      last.span.end = next.span.end;
      if (next.reason_rows > last.reason_rows) {
        last.reason_rows = next.reason_rows;
        last.span.reason = next.span.reason;
      }
      return;
    }
    if (!next.computed() && Continues(last.span, next.span)) {
      last.span.end = next.span.end;
      last.span.staleness.min_distance_tokens = std::min(last.span.staleness.min_distance_tokens,
                                                         next.span.staleness.min_distance_tokens);
      return;
    }
  }
  drafts.push_back(next);
}

void Merge(std::vector<Draft>& drafts) {
  std::vector<Draft> merged;
  merged.reserve(drafts.size());
  for (const Draft& draft : drafts) Append(merged, draft);
  drafts = std::move(merged);
}

std::string RangeText(Position begin, Position end) {
  return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

std::string SegmentName(std::size_t i) { return "parent_segments[" + std::to_string(i) + "]"; }

Status CheckCount(const char* field, std::size_t count, std::size_t low) {
  if (count >= low && count <= static_cast<std::size_t>(kMaxPlanTokens)) return Status();
  return InvalidArgument(std::string(field) + " has " + std::to_string(count) +
                         " entries; the limit is " + std::to_string(low) + " to " +
                         std::to_string(kMaxPlanTokens));
}

Status CheckCost(const char* field, double value) {
  if (std::isfinite(value) && value >= 0) return Status();
  return InvalidArgument(std::string(field) + " is " + std::to_string(value) +
                         "; it must be finite and not negative");
}

// Of chunks or slots.
template <typename Offer>
Status CheckOffers(const char* field, std::span<const Offer> offers, Position count) {
  Position end = 0;
  for (std::size_t i = 0; i < offers.size(); ++i) {
    const Offer& chunk = offers[i];
    if (chunk.begin < end || chunk.end <= chunk.begin || chunk.end > count) {
      return InvalidArgument(std::string(field) + "[" + std::to_string(i) + "] is " +
                             RangeText(chunk.begin, chunk.end) + "; it must lie in " +
                             RangeText(end, count) + " and not be empty");
    }
    end = chunk.end;
  }
  return Status();
}

const char* CanonicalReason(RootKind variant) {
  switch (variant) {
    case RootKind::kEmpty:
      return "not_in_library";
    case RootKind::kSink:
      return "canonical_sink";
    case RootKind::kSystem:
      return "canonical_system";
    case RootKind::kWarm:
      return "canonical_warm";
    case RootKind::kMean:
      return "canonical_mean";
    case RootKind::kNear:
      return "canonical_near";
  }
  return "not_in_library";
}

Status Check(const PlanInput& input) {
  KVC_RETURN_IF_ERROR(CheckCount("tokens", input.tokens.size(), 1));
  KVC_RETURN_IF_ERROR(CheckCount("parent_tokens", input.parent_tokens.size(), 0));
  const auto count = static_cast<Position>(input.tokens.size());
  if (input.exact_tokens < 0 || input.exact_tokens > count) {
    return InvalidArgument("exact_tokens is " + std::to_string(input.exact_tokens) +
                           "; the limit is 0 to " + std::to_string(count));
  }
  if (static_cast<int>(input.policy) > static_cast<int>(Policy::kTeam)) {
    return InvalidArgument("policy is " + std::to_string(static_cast<int>(input.policy)) +
                           "; the limit is 0 to 4");
  }
  if (!(input.edit.max_stale_share >= 0 && input.edit.max_stale_share <= 1)) {
    return InvalidArgument("max_stale_share is " + std::to_string(input.edit.max_stale_share) +
                           "; the limit is 0 to 1");
  }
  if (!(input.compose.recompute_share >= 0 && input.compose.recompute_share <= 1)) {
    return InvalidArgument("recompute_share is " + std::to_string(input.compose.recompute_share) +
                           "; the limit is 0 to 1");
  }
  const CostModel& costs = input.costs;
  KVC_RETURN_IF_ERROR(CheckCost("prefill_us_per_token", costs.prefill_us_per_token));
  KVC_RETURN_IF_ERROR(CheckCost("attention_us_per_token_k", costs.attention_us_per_token_k));
  KVC_RETURN_IF_ERROR(CheckCost("place_us_per_token", costs.place_us_per_token));
  KVC_RETURN_IF_ERROR(CheckCost("rotate_us_per_token", costs.rotate_us_per_token));
  KVC_RETURN_IF_ERROR(CheckCost("run_us", costs.run_us));
  KVC_RETURN_IF_ERROR(CheckCost("lookup_us", costs.lookup_us));
  KVC_RETURN_IF_ERROR(CheckCost("blend_us_per_token", costs.blend_us_per_token));
  const auto parent_count = static_cast<Position>(input.parent_tokens.size());
  Position end = 0;
  for (std::size_t i = 0; i < input.parent_segments.size(); ++i) {
    const ParentSegment& segment = input.parent_segments[i];
    if (segment.begin < end || segment.end <= segment.begin || segment.end > parent_count) {
      return InvalidArgument(SegmentName(i) + " is " + RangeText(segment.begin, segment.end) +
                             "; it must lie in " + RangeText(end, parent_count) +
                             " and not be empty");
    }
    if (segment.origin < 0 || segment.origin > kMaxPlanTokens) {
      return InvalidArgument(SegmentName(i) + ".origin is " + std::to_string(segment.origin) +
                             "; the limit is 0 to " + std::to_string(kMaxPlanTokens));
    }
    end = segment.end;
  }
  KVC_RETURN_IF_ERROR(CheckOffers("chunks", input.chunks, count));
  return CheckOffers("slots", input.slots, count);
}

class Planner {
 public:
  explicit Planner(const PlanInput& input)
      : input_(input),
        count_(static_cast<Position>(input.tokens.size())),
        last_(count_ - 1),
        prefill_us_(ComputeUs(0, count_)) {}

  Result<Plan> Make() {
    if (input_.policy == Policy::kOff) return ComputeAll("policy_off");
    Draft chain = Computed(0, std::min(input_.exact_tokens, last_), "exact_chain");
    chain.span.kind = SpanKind::kExact;
    chain.span.source = SpanSource::kChain;
    Append(drafts_, chain);
    const Position begin = chain.span.end;
    if (input_.policy == Policy::kExact) {
      Append(drafts_, Computed(begin, last_, "missing"));
    } else if (input_.policy == Policy::kCompose) {
      AddChunks(begin);
    } else if (input_.policy == Policy::kTeam) {
      AddSlots(begin);
    } else if (input_.parent_tokens.empty()) {
      Append(drafts_, Computed(begin, last_, "no_parent"));
    } else if (begin < last_) {
      auto runs = DiffTokens(input_.parent_tokens, input_.tokens);
      if (!runs) return Fail(std::move(runs.error()));
      AddParent(begin, *runs);
    }
    Append(drafts_, Computed(last_, count_, "last_token"));
    DropShort();
    DropUnprofitable();
    LimitRisk();
    return Finish();
  }

 private:
  double ComputeUs(Position begin, Position end) const {
    return input_.costs.ComputeUs(end - begin, (std::int64_t{begin} + end) / 2);
  }
  double DraftUs(const Draft& draft) const {
    const double compute_us = ComputeUs(draft.span.begin, draft.span.end);
    if (draft.computed()) return compute_us;
    const double place_us = input_.costs.PlaceUs(draft.rows(), draft.span.delta != 0);
    if (draft.span.kind == SpanKind::kAnchored) {
      return place_us + input_.costs.blend_us_per_token * draft.rows();
    }
    return draft.span.kind == SpanKind::kCanonical
               ? place_us + input_.compose.recompute_share * compute_us
               : place_us;
  }

  Plan ComputeAll(const char* reason) const {
    Plan plan;
    plan.spans.push_back(Computed(0, count_, reason).span);
    plan.computed_rows = count_;
    plan.exact_end = count_;
    plan.predicted_us = prefill_us_;
    plan.prefill_us = prefill_us_;
    return plan;
  }

  // Covers [begin, last_) with canonical rows where a library holds the chunk.
  void AddChunks(Position begin) {
    Position cursor = begin;
    for (std::size_t i = 0; i < input_.chunks.size(); ++i) {
      const ChunkOffer& chunk = input_.chunks[i];
      const Position row = std::max(chunk.begin, cursor);
      const Position end = std::min(chunk.end, last_);
      if (row >= end) continue;
      Append(drafts_, Computed(cursor, row, "between_chunks"));
      cursor = end;
      Draft draft = Computed(row, end, CanonicalReason(chunk.variant));
      if (chunk.variant == RootKind::kEmpty) {
        Append(drafts_, draft);
        continue;
      }
      if (end - row < std::int64_t{input_.compose.min_chunk_rows}) {
        Append(drafts_, Computed(row, end, "short_chunk"));
        continue;
      }
      draft.span.kind = SpanKind::kCanonical;
      draft.span.source = SpanSource::kCanonical;
      draft.span.chunk = static_cast<std::uint32_t>(i);
      draft.span.parent_begin = row - chunk.begin;
      draft.span.delta = chunk.begin;
      draft.span.staleness.generation = 1;
      Append(drafts_, draft);
    }
    Append(drafts_, Computed(cursor, last_, "between_chunks"));
  }

  // Covers [begin, last_) with corrected rows where a slot offers them.
  void AddSlots(Position begin) {
    Position cursor = begin;
    for (std::size_t i = 0; i < input_.slots.size(); ++i) {
      const SlotOffer& slot = input_.slots[i];
      const Position row = std::max(slot.begin, cursor);
      const Position end = std::min(slot.end, last_);
      if (row >= end) continue;
      Append(drafts_, Computed(cursor, row, "between_slots"));
      cursor = end;
      const auto first = static_cast<Position>(std::clamp(
          std::int64_t{slot.begin} + slot.first_rows, std::int64_t{row}, std::int64_t{end}));
      Append(drafts_, Computed(row, first, "slot_begin"));
      Draft draft = Computed(first, end, "corrected");
      draft.span.kind = SpanKind::kAnchored;
      draft.span.source = SpanSource::kSlot;
      draft.span.chunk = static_cast<std::uint32_t>(i);
      draft.span.parent_begin = first - slot.begin;
      draft.span.staleness.generation = 1;
      Append(drafts_, draft);
    }
    Append(drafts_, Computed(cursor, last_, "between_slots"));
  }

  // Covers [begin, last_) with rows of the parent where it kept the tokens.
  void AddParent(Position begin, const std::vector<KeptRun>& runs) {
    Position cursor = begin;
    std::int64_t edited_left = 0;  // tokens inserted or removed before the run, in this revision
    KeptRun before;
    for (const KeptRun& run : runs) {
      edited_left += (run.a_begin - before.a_end()) + (run.b_begin - before.b_end());
      before = run;
      Position row = std::max(run.b_begin, cursor);
      const Position end = std::min(run.b_end(), last_);
      if (row >= end) continue;
      Append(drafts_, Computed(cursor, row, "edited"));
      cursor = end;
      if (edited_left > 0) {
        if (run.length < std::int64_t{input_.edit.min_run}) {
          Append(drafts_, Computed(row, end, "short_run"));
          continue;
        }
        const auto after = static_cast<Position>(
            std::min(std::int64_t{run.b_begin} + input_.edit.after_rows, std::int64_t{end}));
        if (row < after) {
          Append(drafts_, Computed(row, after, "after_edit"));
          row = after;
        }
      }
      AddKept(run, row, end, edited_left);
    }
    Append(drafts_, Computed(cursor, last_, "edited"));
  }

  // Rows [row, end) of a kept run, split where the parent's stored rows change.
  void AddKept(const KeptRun& run, Position row, Position end, std::int64_t edited_left) {
    const Position shift = run.b_begin - run.a_begin;
    const auto& segments = input_.parent_segments;
    while (row < end) {
      const Position a = row - shift;
      while (segment_ < segments.size() && segments[segment_].end <= a) ++segment_;
      if (segment_ == segments.size() || segments[segment_].begin - a >= end - row) {
        Append(drafts_, Computed(row, end, "missing"));
        return;
      }
      const ParentSegment& segment = segments[segment_];
      if (segment.begin > a) {
        const Position stored = segment.begin + shift;
        Append(drafts_, Computed(row, stored, "missing"));
        row = stored;
        continue;
      }
      const Position stop = std::min(end, segment.end + shift);
      Append(drafts_, Kept(segment, a, row, stop, row - run.b_begin, edited_left));
      row = stop;
    }
  }

  // Row `a` of the parent, stored in `segment`, lands at `row`; the nearest edit of this revision
  // is `distance` before it.
  Draft Kept(const ParentSegment& segment, Position a, Position row, Position end,
             Position distance, std::int64_t edited_left) {
    Draft draft = Computed(row, end, "unchanged");
    Span& span = draft.span;
    span.source = SpanSource::kParent;
    span.parent_begin = a;
    span.delta = row - (segment.origin + (a - segment.begin));
    Staleness& staleness = span.staleness;
    staleness = segment.staleness;
    if (edited_left == 0 && staleness.exact() && span.delta == 0 && parent_exact_) {
      span.kind = SpanKind::kExact;
      staleness = Staleness();
      return draft;
    }
    parent_exact_ = false;
    span.kind = SpanKind::kMoved;
    const bool edited_before = staleness.edited_tokens_left > 0;
    if (edited_before) {
      staleness.min_distance_tokens =
          SaturatedSum(staleness.min_distance_tokens, a - segment.begin);
    }
    if (edited_left > 0) {
      const auto nearest = static_cast<std::uint32_t>(distance);
      staleness.min_distance_tokens =
          edited_before ? std::min(staleness.min_distance_tokens, nearest) : nearest;
      staleness.generation = SaturatedSum(staleness.generation, 1);
      staleness.edited_tokens_left = SaturatedSum(staleness.edited_tokens_left, edited_left);
    }
    staleness.generation = std::max(staleness.generation, 1u);
    if (staleness.generation > input_.edit.max_generation) Compute(draft, "too_stale");
    return draft;
  }

  // Calls `visit(first, last)` for every maximal stretch drafts_[first, last) of reused spans.
  template <typename Visit>
  void ForEachReused(Visit visit) {
    for (std::size_t i = 0; i < drafts_.size();) {
      if (drafts_[i].computed()) {
        ++i;
        continue;
      }
      std::size_t next = i;
      while (next < drafts_.size() && !drafts_[next].computed()) ++next;
      visit(i, next);
      i = next;
    }
  }

  void ComputeStretch(std::size_t first, std::size_t last, const char* reason) {
    for (std::size_t i = first; i < last; ++i) Compute(drafts_[i], reason);
  }

  // A stretch that starts at row 0 makes no seam, so it is never too short.
  void DropShort() {
    ForEachReused([this](std::size_t first, std::size_t last) {
      const Position begin = drafts_[first].span.begin;
      const Position rows = drafts_[last - 1].span.end - begin;
      if (begin > 0 && rows < std::int64_t{input_.edit.min_run}) {
        ComputeStretch(first, last, "short_run");
      }
    });
    Merge(drafts_);
  }

  // Moved spans that cost more than computing them; then stretches that do not pay for the run of
  // computed rows that they split off.
  void DropUnprofitable() {
    for (Draft& draft : drafts_) {
      if (draft.approximate() && DraftUs(draft) >= ComputeUs(draft.span.begin, draft.span.end)) {
        Compute(draft, "not_worth_it");
      }
    }
    ForEachReused([this](std::size_t first, std::size_t last) {
      const Position begin = drafts_[first].span.begin;
      double reuse_us = begin > 0 ? input_.costs.run_us : 0;
      for (std::size_t i = first; i < last; ++i) reuse_us += DraftUs(drafts_[i]);
      if (reuse_us >= ComputeUs(begin, drafts_[last - 1].span.end)) {
        ComputeStretch(first, last, "not_worth_it");
      }
    });
    Merge(drafts_);
  }

  void LimitRisk() {
    std::int64_t stale = 0;
    for (const Draft& draft : drafts_) stale += draft.moved() ? draft.rows() : 0;
    if (static_cast<double>(stale) <= input_.edit.max_stale_share * count_) return;
    for (Draft& draft : drafts_) {
      if (draft.moved()) Compute(draft, "risk_limit");
    }
    Merge(drafts_);
  }

  Plan Finish() {
    Plan plan;
    plan.prefill_us = prefill_us_;
    plan.exact_end = count_;
    std::size_t runs = 0;
    for (Draft& draft : drafts_) {
      Span& span = draft.span;
      plan.predicted_us += DraftUs(draft);
      if (draft.approximate()) {
        (draft.moved()                       ? plan.moved_rows
         : span.kind == SpanKind::kCanonical ? plan.canonical_rows
                                             : plan.anchored_rows) += draft.rows();
        plan.exact_end = std::min(plan.exact_end, span.begin);
      } else if (draft.computed()) {
        ++runs;
        plan.computed_rows += draft.rows();
        // It attends to such rows, so it is as approximate as they are.
        if (span.begin > plan.exact_end) span.staleness.generation = 1;
      } else {
        plan.exact_rows += draft.rows();
      }
    }
    if (plan.computed_rows == count_) return ComputeAll(drafts_.front().span.reason);
    plan.predicted_us +=
        input_.costs.lookup_us + input_.costs.run_us * static_cast<double>(runs - 1);
    if (plan.predicted_us >= prefill_us_) return ComputeAll("not_worth_it");
    plan.spans.reserve(drafts_.size());
    for (const Draft& draft : drafts_) plan.spans.push_back(draft.span);
    return plan;
  }

  const PlanInput& input_;
  const Position count_;
  const Position last_;
  const double prefill_us_;
  std::vector<Draft> drafts_;
  std::size_t segment_ = 0;   // first parent segment that may still be needed
  bool parent_exact_ = true;  // no stale row of the parent has been met
};

const char* KindName(SpanKind kind) {
  switch (kind) {
    case SpanKind::kExact:
      return "exact";
    case SpanKind::kMoved:
      return "moved";
    case SpanKind::kCanonical:
      return "canonical";
    case SpanKind::kAnchored:
      return "anchored";
    case SpanKind::kCompute:
      return "compute";
  }
  return "unknown";
}

}  // namespace

Result<Plan> MakePlan(const PlanInput& input) {
  KVC_FAIL_IF_ERROR(Check(input));
  Result<Plan> plan = Planner(input).Make();
  if (!plan || plan->anchored_rows == 0) return plan;
  PlanInput exact_input = input;
  exact_input.policy = Policy::kExact;
  Result<Plan> exact = Planner(exact_input).Make();
  if (!exact || plan->predicted_us < exact->predicted_us) return plan;
  for (Span& span : exact->spans) {
    if (std::string_view(span.reason) == "missing") span.reason = "not_worth_it";
  }
  return exact;
}

std::vector<ParentSegment> SegmentsAfter(const Plan& plan) {
  std::vector<ParentSegment> segments;
  for (const Span& span : plan.spans) {
    const ParentSegment next{span.begin, span.end, span.begin - span.delta, span.staleness};
    if (!segments.empty()) {
      ParentSegment& last = segments.back();
      if (last.origin + (last.end - last.begin) == next.origin &&
          last.staleness == next.staleness) {
        last.end = next.end;
        continue;
      }
    }
    segments.push_back(next);
  }
  return segments;
}

std::string Explain(const Plan& plan) {
  std::string text;
  for (const Span& span : plan.spans) {
    text += RangeText(span.begin, span.end) + " " + KindName(span.kind) + ": " + span.reason;
    if (span.source == SpanSource::kParent) {
      text += ", parent rows from " + std::to_string(span.parent_begin);
    }
    if (span.source == SpanSource::kCanonical) {
      text += ", chunk " + std::to_string(span.chunk) + " from row " +
              std::to_string(span.parent_begin);
    }
    if (span.source == SpanSource::kSlot) {
      text +=
          ", slot " + std::to_string(span.chunk) + " from row " + std::to_string(span.parent_begin);
    }
    if (span.delta != 0) text += ", moved by " + std::to_string(span.delta);
    if (span.staleness.generation > 0) {
      text += ", generation " + std::to_string(span.staleness.generation);
    }
    text += "\n";
  }
  return text;
}

}  // namespace kvcommons
