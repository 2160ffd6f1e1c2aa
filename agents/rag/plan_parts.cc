#include "agents/rag/plan_parts.h"

namespace kvcommons {
namespace {

std::uint32_t RowsOf(const PlannedSpan& span) {
  return static_cast<std::uint32_t>(span.end - span.begin);
}

// The canonical spans of one chunk, consecutive in a plan.
struct Group {
  ComposeChunk chunk;
  std::uint32_t rows = 0;
  bool is_whole = true;  // so far: whole blocks, from row 0 on, without a gap
  bool has_loadings = true;

  void Add(const PlannedSpan& span, Position chunk_begin) {
    const bool is_next = span.chunk_row == static_cast<Position>(rows) &&
                         span.begin == chunk_begin + span.chunk_row && span.delta == chunk_begin;
    is_whole &= is_next && span.first_row == 0 && RowsOf(span) == span.block_tokens;
    const std::uint32_t rank = span.loadings == nullptr ? 0 : span.loadings_layout.rank;
    if (chunk.parts.empty()) chunk.rank = rank;
    has_loadings &= rank > 0 && rank == chunk.rank;
    chunk.begin = chunk_begin;
    chunk.parts.push_back({span.block, span.block_tokens, span.loadings});
    rows += RowsOf(span);
  }
};

void Finish(Group& group, std::uint32_t index, std::span<const PlanRequest::Chunk> chunks,
            PlanParts& parts) {
  if (group.rows == 0) return;
  const Position wanted = chunks[index].end - chunks[index].begin;
  if (!group.is_whole || static_cast<Position>(group.rows) != wanted) {
    parts.left_out_rows += group.rows;
  } else {
    if (!group.has_loadings) {
      group.chunk.rank = 0;
      parts.has_loadings = false;
    }
    parts.canonical_rows += group.rows;
    parts.chunks.push_back(std::move(group.chunk));
    parts.chunk_indices.push_back(index);
  }
  group = Group{};
}

}  // namespace

PlanParts PartsOf(std::span<const PlannedSpan> spans, std::span<const PlanRequest::Chunk> chunks) {
  PlanParts parts;
  Group group;
  std::uint32_t index = 0;
  for (const PlannedSpan& span : spans) {
    if (span.kind == SpanKind::kExact) {
      parts.exact.push_back(
          {span.begin, RowsOf(span), span.delta, span.block, span.block_tokens, span.first_row});
      parts.exact_rows += RowsOf(span);
    }
    if (span.kind != SpanKind::kCanonical || span.chunk >= chunks.size()) continue;
    if (span.chunk != index) Finish(group, index, chunks, parts);
    index = span.chunk;
    group.Add(span, chunks[index].begin);
  }
  Finish(group, index, chunks, parts);
  return parts;
}

}  // namespace kvcommons
