// Which rows the daemon wants back once a prompt has been computed.
//
// Rows of the exact zone (before the first moved row) are wanted as blocks of the prompt's chain,
// under shared keys, where the store lacks them. Everything else that was computed is approximate,
// or exact but in no exact block: it is wanted only for a document, as private rows of its revision
// (I3). Thread safety: pure functions.

#pragma once

#include <functional>
#include <span>
#include <vector>

#include "align/plan.h"
#include "daemon/prompt.h"
#include "store/block_record.h"

namespace kvcommons {

struct WantedPiece {
  Position begin = 0;
  Position end = 0;  // at most block_tokens after `begin`
  StorageClass storage_class = StorageClass::kExact;
  BlockKey chain_key;   // kExact
  Staleness staleness;  // kRevision: of the rows once computed

  friend bool operator==(const WantedPiece& a, const WantedPiece& b) {
    return a.begin == b.begin && a.end == b.end && a.storage_class == b.storage_class;
  }
};

struct PieceRules {
  std::span<const Span> spans;  // of the whole plan
  Position exact_end = 0;       // Plan::exact_end
  Position store_tokens = 0;
  Position block_tokens = 0;
  bool has_document = false;
};

// The chain's blocks that lie wholly in the exact zone and in what may be stored.
std::vector<ChainBlock> ExactBlocks(const PromptChain& chain, Position exact_end,
                                    Position store_tokens);

// Ascending and disjoint.
std::vector<WantedPiece> WantedPieces(const PieceRules& rules, const PromptChain& chain,
                                      const std::function<bool(const BlockKey&)>& is_stored);

}  // namespace kvcommons
