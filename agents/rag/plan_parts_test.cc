#include "agents/rag/plan_parts.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

// Spans of blocks of 4 rows; pointers are told apart, not followed.
class PlanPartsTest : public testing::Test {
 protected:
  void AddExact(Position begin, Position end) {
    PlannedSpan& span = Add(begin, end, SpanKind::kExact);
    span.block_tokens = static_cast<std::uint32_t>(end - begin);
  }

  // The rows of chunk `index` from `row` on, a whole block unless `block_tokens` says otherwise.
  PlannedSpan& AddCanonical(std::uint32_t index, Position row, Position count,
                            std::uint32_t rank = 2) {
    const Position begin = chunks_[index].begin + row;
    PlannedSpan& span = Add(begin, begin + count, SpanKind::kCanonical);
    span.chunk = index;
    span.chunk_row = row;
    span.delta = chunks_[index].begin;
    span.block_tokens = static_cast<std::uint32_t>(count);
    span.loadings = rank > 0 ? &loadings_[spans_.size()] : nullptr;
    span.loadings_layout = {1, span.block_tokens, rank};
    return span;
  }

  void AddComputed(Position begin, Position end) { Add(begin, end, SpanKind::kCompute); }

  PlanParts Parts() const { return PartsOf(spans_, chunks_); }

  std::vector<PlanRequest::Chunk> chunks_ = {{8, 18}, {20, 26}};
  std::vector<PlannedSpan> spans_;

 private:
  PlannedSpan& Add(Position begin, Position end, SpanKind kind) {
    PlannedSpan& span = spans_.emplace_back();
    span.begin = begin;
    span.end = end;
    span.kind = kind;
    if (kind != SpanKind::kCompute) span.block = &blocks_[spans_.size()];
    return span;
  }

  std::byte blocks_[32] = {};
  float loadings_[32] = {};
};

TEST_F(PlanPartsTest, BlocksOfAChunkBecomeItsPartsInOrder) {
  AddExact(0, 4);
  AddExact(4, 8);
  AddCanonical(0, 0, 4);
  AddCanonical(0, 4, 4);
  AddCanonical(0, 8, 2);
  AddComputed(18, 20);
  AddCanonical(1, 0, 4);
  AddCanonical(1, 4, 2);
  AddComputed(26, 30);
  const PlanParts parts = Parts();
  EXPECT_EQ(parts.exact.size(), 2U);
  EXPECT_EQ(parts.exact_rows, 8U);
  ASSERT_EQ(parts.chunks.size(), 2U);
  EXPECT_EQ(parts.chunk_indices, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(parts.chunks[0].begin, 8);
  EXPECT_EQ(parts.chunks[0].rows(), 10U);
  EXPECT_EQ(parts.chunks[0].rank, 2U);
  ASSERT_EQ(parts.chunks[0].parts.size(), 3U);
  EXPECT_EQ(parts.chunks[0].parts[1].planes, spans_[3].block);
  EXPECT_EQ(parts.chunks[0].parts[1].loadings, spans_[3].loadings);
  EXPECT_EQ(parts.chunks[0].parts[2].block_tokens, 2U);
  EXPECT_EQ(parts.chunks[1].begin, 20);
  EXPECT_EQ(parts.canonical_rows, 16U);
  EXPECT_EQ(parts.left_out_rows, 0U);
  EXPECT_TRUE(parts.has_loadings);
}

TEST_F(PlanPartsTest, AChunkWhoseBeginningIsExactIsLeftOut) {
  AddExact(0, 12);
  AddCanonical(0, 4, 4);
  AddCanonical(0, 8, 2);
  AddComputed(18, 20);
  AddCanonical(1, 0, 4);
  AddCanonical(1, 4, 2);
  AddComputed(26, 30);
  const PlanParts parts = Parts();
  EXPECT_EQ(parts.chunk_indices, (std::vector<std::uint32_t>{1}));
  EXPECT_EQ(parts.canonical_rows, 6U);
  EXPECT_EQ(parts.left_out_rows, 6U);
}

TEST_F(PlanPartsTest, AChunkThatEndsInsideABlockIsLeftOut) {
  AddComputed(0, 8);
  AddCanonical(0, 0, 4);
  AddCanonical(0, 4, 4);
  AddCanonical(0, 8, 1).block_tokens = 2;  // The prompt's last token is computed.
  AddComputed(17, 18);
  const PlanParts parts = Parts();
  EXPECT_TRUE(parts.chunks.empty());
  EXPECT_EQ(parts.left_out_rows, 9U);
}

TEST_F(PlanPartsTest, AChunkThatUsesPartOfABlockIsLeftOut) {
  AddComputed(0, 8);
  AddCanonical(0, 0, 4);
  AddCanonical(0, 4, 4).block_tokens = 6;
  AddCanonical(0, 8, 2);
  AddComputed(18, 30);
  EXPECT_EQ(Parts().left_out_rows, 10U);
}

TEST_F(PlanPartsTest, AChunkWithAGapIsLeftOut) {
  AddComputed(0, 8);
  AddCanonical(0, 0, 4);
  AddComputed(12, 16);
  AddCanonical(0, 8, 2);
  AddComputed(18, 30);
  EXPECT_TRUE(Parts().chunks.empty());
}

TEST_F(PlanPartsTest, OneBlockWithoutLoadingsLeavesItsChunkWithoutThem) {
  AddComputed(0, 8);
  AddCanonical(0, 0, 4);
  AddCanonical(0, 4, 4, 0);
  AddCanonical(0, 8, 2);
  AddComputed(18, 20);
  AddCanonical(1, 0, 6, 3);
  AddComputed(26, 30);
  const PlanParts parts = Parts();
  ASSERT_EQ(parts.chunks.size(), 2U);
  EXPECT_EQ(parts.chunks[0].rank, 0U);
  EXPECT_EQ(parts.chunks[1].rank, 3U);
  EXPECT_FALSE(parts.has_loadings);
}

TEST_F(PlanPartsTest, BlocksOfDifferentRankGiveNoLoadings) {
  AddComputed(0, 20);
  AddCanonical(1, 0, 4, 2);
  AddCanonical(1, 4, 2, 3);
  AddComputed(26, 30);
  EXPECT_FALSE(Parts().has_loadings);
}

TEST_F(PlanPartsTest, APlanWithoutCanonicalRowsHasNoChunks) {
  AddExact(0, 16);
  AddComputed(16, 30);
  const PlanParts parts = Parts();
  EXPECT_TRUE(parts.chunks.empty());
  EXPECT_TRUE(parts.has_loadings);
  EXPECT_EQ(parts.exact_rows, 16U);
}

}  // namespace
}  // namespace kvcommons
