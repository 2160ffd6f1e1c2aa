#include "daemon/revision.h"

#include <algorithm>
#include <unordered_set>

namespace kvcommons {
namespace {

DocumentSegment SegmentOf(const LeasedSpan& part, Position begin, Position end) {
  DocumentSegment segment;
  segment.begin = begin;
  segment.end = end;
  segment.block = part.block;
  segment.first_row = part.first_row + static_cast<std::uint32_t>(begin - part.span.begin);
  segment.origin = begin - part.span.delta;
  segment.generation = part.span.staleness.generation;
  segment.edited_tokens_left = part.span.staleness.edited_tokens_left;
  segment.min_distance_tokens = part.span.staleness.min_distance_tokens;
  return segment;
}

DocumentSegment SegmentOf(const CommittedPiece& committed) {
  DocumentSegment segment;
  segment.begin = committed.piece.begin;
  segment.end = committed.piece.end;
  segment.block = committed.key;
  segment.origin = committed.piece.begin;
  segment.generation = committed.piece.staleness.generation;
  segment.edited_tokens_left = committed.piece.staleness.edited_tokens_left;
  segment.min_distance_tokens = committed.piece.staleness.min_distance_tokens;
  return segment;
}

}  // namespace

std::vector<DocumentSegment> SegmentsOf(const PreparedPlan& plan,
                                        std::span<const CommittedPiece> committed,
                                        const std::function<bool(const BlockKey&)>& is_stored) {
  const Position stored = plan.request.store_tokens;
  std::vector<DocumentSegment> segments;
  for (const ChainBlock& block : ExactBlocks(plan.chain, plan.plan.exact_end, stored)) {
    if (!is_stored(block.key)) continue;
    DocumentSegment segment;
    segment.begin = block.begin;
    segment.end = block.end;
    segment.block = block.key;
    segment.origin = block.begin;
    segments.push_back(segment);
  }
  // Candidates for what the chain does not cover; they never overlap each other, since a committed
  // revision piece was computed and a reused span was not.
  std::vector<DocumentSegment> others;
  for (const LeasedSpan& part : plan.spans) {
    const Position end = std::min(part.span.end, stored);
    if (part.pin == LeasedSpan::kNoBlock || part.span.begin >= end) continue;
    others.push_back(SegmentOf(part, part.span.begin, end));
  }
  for (const CommittedPiece& piece : committed) {
    if (piece.piece.storage_class == StorageClass::kRevision) others.push_back(SegmentOf(piece));
  }
  std::sort(others.begin(), others.end(),
            [](const DocumentSegment& a, const DocumentSegment& b) { return a.begin < b.begin; });

  const std::vector<DocumentSegment> chain = std::move(segments);
  segments.clear();
  std::size_t next = 0;
  for (const DocumentSegment& other : others) {
    if (!is_stored(other.block)) continue;
    Position row = other.begin;
    while (row < other.end) {
      while (next < chain.size() && chain[next].end <= row) segments.push_back(chain[next++]);
      if (next < chain.size() && chain[next].begin <= row) {
        row = std::min(other.end, chain[next].end);
        continue;
      }
      DocumentSegment part = other;
      part.begin = row;
      part.end = next < chain.size() ? std::min(other.end, chain[next].begin) : other.end;
      part.first_row += static_cast<std::uint32_t>(row - other.begin);
      part.origin += row - other.begin;
      segments.push_back(part);
      row = part.end;
    }
  }
  while (next < chain.size()) segments.push_back(chain[next++]);
  return segments;
}

std::vector<BlockKey> Superseded(std::span<const DocumentSegment> before,
                                 std::span<const DocumentSegment> after) {
  std::unordered_set<BlockKey> kept;
  for (const DocumentSegment& segment : after) kept.insert(segment.block);
  std::vector<BlockKey> gone;
  for (const DocumentSegment& segment : before) {
    if (kept.insert(segment.block).second) gone.push_back(segment.block);
  }
  return gone;
}

}  // namespace kvcommons
