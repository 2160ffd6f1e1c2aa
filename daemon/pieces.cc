#include "daemon/pieces.h"

#include <algorithm>

namespace kvcommons {

std::vector<ChainBlock> ExactBlocks(const PromptChain& chain, Position exact_end,
                                    Position store_tokens) {
  const Position zone = std::min(exact_end, store_tokens);
  std::vector<ChainBlock> blocks;
  for (const ChainBlock& block : chain.full) {
    if (block.end <= zone) blocks.push_back(block);
  }
  const Position covered = blocks.empty() ? 0 : blocks.back().end;
  for (const ChainBlock& block : chain.short_last) {
    if (block.begin == covered && block.end <= zone && block.end == store_tokens) {
      blocks.push_back(block);
    }
  }
  return blocks;
}

std::vector<WantedPiece> WantedPieces(const PieceRules& rules, const PromptChain& chain,
                                      const std::function<bool(const BlockKey&)>& is_stored) {
  std::vector<WantedPiece> pieces;
  Position covered = 0;  // by blocks of the chain
  for (const ChainBlock& block : ExactBlocks(chain, rules.exact_end, rules.store_tokens)) {
    covered = block.end;
    if (is_stored(block.key)) continue;
    pieces.push_back({block.begin, block.end, StorageClass::kExact, block.key, {}});
  }
  if (!rules.has_document) return pieces;
  for (const Span& span : rules.spans) {
    if (span.kind != SpanKind::kCompute) continue;
    const Position end = std::min(span.end, rules.store_tokens);
    for (Position row = std::max(span.begin, covered); row < end; row += rules.block_tokens) {
      WantedPiece piece;
      piece.begin = row;
      piece.end = std::min(row + rules.block_tokens, end);
      piece.storage_class = StorageClass::kRevision;
      piece.staleness = span.staleness;
      pieces.push_back(piece);
    }
  }
  return pieces;
}

}  // namespace kvcommons
