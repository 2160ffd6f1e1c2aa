// From a daemon's plan to what a Composer takes: exact rows to place, and the chunks whose
// canonical rows the plan has from the first to the last.
//
// A chunk of which the plan has only some rows canonical (its beginning is in the exact prefix, or
// it ends the prompt) is left out: those rows are computed. Pure functions.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "agents/rag/compose.h"
#include "client/client.h"

namespace kvcommons {

struct PlanParts {
  std::vector<PlaceSpan> exact;
  std::vector<ComposeChunk> chunks;
  std::vector<std::uint32_t> chunk_indices;  // into the request's chunks, one for each of `chunks`
  std::uint32_t exact_rows = 0;
  std::uint32_t canonical_rows = 0;  // of `chunks`
  std::uint32_t left_out_rows = 0;   // canonical in the plan, and computed all the same
  // Whether every chunk has loadings of one rank from beginning to end: completion needs that.
  bool has_loadings = true;
};

// REQUIRES: `spans` are a plan's for `chunks`, and outlive the parts' use.
PlanParts PartsOf(std::span<const PlannedSpan> spans, std::span<const PlanRequest::Chunk> chunks);

}  // namespace kvcommons
