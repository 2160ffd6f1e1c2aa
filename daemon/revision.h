// The new revision of a document: which stored rows make it up after a plan has been carried out.
//
// Thread safety: pure functions.

#pragma once

#include <functional>
#include <span>
#include <vector>

#include "daemon/plan_maker.h"
#include "store/document.h"

namespace kvcommons {

// A piece of the plan that was stored, and under which key.
struct CommittedPiece {
  WantedPiece piece;
  BlockKey key;
};

// Segments of the plan's first store_tokens tokens: blocks of the chain where the prompt is exact,
// then reused and committed rows. Rows that nobody stored are left out: the next plan computes
// them. `is_stored` tells which blocks are there now.
std::vector<DocumentSegment> SegmentsOf(const PreparedPlan& plan,
                                        std::span<const CommittedPiece> committed,
                                        const std::function<bool(const BlockKey&)>& is_stored);

// Keys of blocks that `before` uses and `after` does not. Only those of class kRevision are out of
// reach of everybody; the others may serve any prompt.
std::vector<BlockKey> Superseded(std::span<const DocumentSegment> before,
                                 std::span<const DocumentSegment> after);

}  // namespace kvcommons
