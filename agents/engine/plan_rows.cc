#include "agents/engine/plan_rows.h"

namespace kvcommons {

PlanRows RowsOf(const PlanHandle& plan) {
  PlanRows rows;
  for (const PlannedSpan& span : plan.spans) {
    if (span.block == nullptr) {
      rows.runs.push_back({span.begin, span.end});
      continue;
    }
    rows.places.push_back({.begin = span.begin,
                           .count = static_cast<std::uint32_t>(span.end - span.begin),
                           .delta = span.delta,
                           .block = span.block,
                           .block_tokens = span.block_tokens,
                           .first_row = span.first_row});
  }
  return rows;
}

Status PlacePlan(Engine& engine, PlanHandle& plan, const std::vector<PlaceSpan>& places) {
  if (places.empty()) return Status();
  KVC_RETURN_IF_ERROR(engine.Place(places));
  // Bytes of a slab whose lease is gone may be another block's.
  if (!plan.StillHeld()) return Unavailable("the lease was lost during the copy");
  return Status();
}

}  // namespace kvcommons
