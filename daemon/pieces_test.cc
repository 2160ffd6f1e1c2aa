#include "daemon/pieces.h"

#include <gtest/gtest.h>

#include <set>

#include "daemon/revision.h"

namespace kvcommons {
namespace {

BlockKey KeyOf(std::uint8_t n) {
  BlockKey key;
  key.bytes[0] = n;
  return key;
}

// Blocks of 16: full ones with keys 1, 2, ..., a short one with key 100.
PromptChain Chain(Position count, Position short_end) {
  PromptChain chain;
  for (Position begin = 0; begin + 16 <= count; begin += 16) {
    chain.full.push_back({KeyOf(static_cast<std::uint8_t>(1 + begin / 16)), begin, begin + 16});
  }
  if (short_end % 16 != 0) {
    chain.short_last.push_back({KeyOf(100), short_end / 16 * 16, short_end});
  }
  return chain;
}

Span Part(Position begin, Position end, SpanKind kind, std::uint32_t generation = 0) {
  Span span;
  span.begin = begin;
  span.end = end;
  span.kind = kind;
  span.source = kind == SpanKind::kCompute ? SpanSource::kNone : SpanSource::kParent;
  span.staleness.generation = generation;
  return span;
}

std::vector<WantedPiece> Wanted(const std::vector<Span>& spans, Position exact_end,
                                Position store_tokens, bool has_document,
                                std::set<BlockKey> stored = {}) {
  return WantedPieces({.spans = spans,
                       .exact_end = exact_end,
                       .store_tokens = store_tokens,
                       .block_tokens = 16,
                       .has_document = has_document},
                      Chain(spans.back().end, store_tokens),
                      [&](const BlockKey& key) { return stored.contains(key); });
}

struct Expected {
  Position begin, end;
  StorageClass storage_class;
};
void ExpectPieces(const std::vector<WantedPiece>& pieces, const std::vector<Expected>& expected) {
  ASSERT_EQ(pieces.size(), expected.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_EQ(pieces[i].begin, expected[i].begin) << i;
    EXPECT_EQ(pieces[i].end, expected[i].end) << i;
    EXPECT_EQ(pieces[i].storage_class, expected[i].storage_class) << i;
  }
}
constexpr auto kExact = StorageClass::kExact;
constexpr auto kRevision = StorageClass::kRevision;

TEST(PiecesTest, AColdPromptGivesFullBlocksAndAShortOneAtTheEndOfStoring) {
  const std::vector<Span> spans = {Part(0, 60, SpanKind::kCompute)};
  ExpectPieces(Wanted(spans, 60, 40, false), {{0, 16, kExact}, {16, 32, kExact}, {32, 40, kExact}});
  ExpectPieces(Wanted(spans, 60, 48, false), {{0, 16, kExact}, {16, 32, kExact}, {32, 48, kExact}});
  ExpectPieces(Wanted(spans, 60, 0, false), {});
}

TEST(PiecesTest, WhatIsStoredIsNotAskedFor) {
  const std::vector<Span> spans = {Part(0, 60, SpanKind::kCompute)};
  ExpectPieces(Wanted(spans, 60, 40, false, {KeyOf(1), KeyOf(100)}), {{16, 32, kExact}});
}

TEST(PiecesTest, BehindTheExactZoneOnlyADocumentWantsRows) {
  // Edited at [20, 24), four rows after it, then moved rows, then another edit.
  const std::vector<Span> spans = {
      Part(0, 20, SpanKind::kExact),     Part(20, 28, SpanKind::kCompute),
      Part(28, 50, SpanKind::kMoved, 1), Part(50, 70, SpanKind::kCompute, 1),
      Part(70, 79, SpanKind::kMoved, 1), Part(79, 80, SpanKind::kCompute, 1)};
  ExpectPieces(Wanted(spans, 28, 80, false), {{0, 16, kExact}});
  // [20, 28) is exact but in no exact block; [50, 70) is cut after 16 rows.
  const auto pieces = Wanted(spans, 28, 80, true);
  ExpectPieces(pieces, {{0, 16, kExact},
                        {20, 28, kRevision},
                        {50, 66, kRevision},
                        {66, 70, kRevision},
                        {79, 80, kRevision}});
  EXPECT_TRUE(pieces[1].staleness.exact());
  EXPECT_FALSE(pieces[2].staleness.exact());
}

// A block of the chain is exact though its rows come from two places.
TEST(PiecesTest, ABlockThatIsPartlyReusedAndPartlyComputedIsExact) {
  const std::vector<Span> spans = {Part(0, 20, SpanKind::kExact), Part(20, 33, SpanKind::kCompute),
                                   Part(33, 47, SpanKind::kMoved, 1),
                                   Part(47, 48, SpanKind::kCompute, 1)};
  ExpectPieces(Wanted(spans, 33, 48, true, {KeyOf(1)}),
               {{16, 32, kExact}, {32, 33, kRevision}, {47, 48, kRevision}});
}

TEST(PiecesTest, NothingBeyondStoringIsAskedFor) {
  const std::vector<Span> spans = {Part(0, 10, SpanKind::kMoved, 1),
                                   Part(10, 40, SpanKind::kCompute, 1)};
  ExpectPieces(Wanted(spans, 0, 30, true), {{10, 26, kRevision}, {26, 30, kRevision}});
  ExpectPieces(Wanted(spans, 0, 10, true), {});
}

// -- the revision that comes of it ----------------------------------------------------------------

class RevisionTest : public testing::Test {
 protected:
  LeasedSpan Reused(Position begin, Position end, std::uint8_t key, std::uint32_t first_row,
                    Position delta, std::uint32_t generation) {
    LeasedSpan part;
    part.span = Part(begin, end, generation == 0 ? SpanKind::kExact : SpanKind::kMoved, generation);
    part.span.delta = delta;
    part.pin = 0;
    part.block = KeyOf(key);
    part.first_row = first_row;
    return part;
  }
  CommittedPiece Committed(Position begin, Position end, std::uint8_t key) {
    CommittedPiece piece;
    piece.piece.begin = begin;
    piece.piece.end = end;
    piece.piece.storage_class = kRevision;
    piece.piece.staleness.generation = 1;
    piece.key = KeyOf(key);
    return piece;
  }
  std::vector<DocumentSegment> Segments(const std::vector<CommittedPiece>& committed) {
    return SegmentsOf(plan_, committed,
                      [this](const BlockKey& key) { return !gone_.contains(key); });
  }

  PreparedPlan plan_;
  std::set<BlockKey> gone_;
};

TEST_F(RevisionTest, IsMadeOfChainBlocksReusedRowsAndCommittedPieces) {
  plan_.request.store_tokens = 60;
  plan_.chain = Chain(61, 60);
  plan_.plan.exact_end = 40;
  plan_.spans = {Reused(0, 16, 1, 0, 0, 0),
                 Reused(16, 36, 50, 3, 0, 0),
                 {.span = Part(36, 40, SpanKind::kCompute)},
                 Reused(40, 61, 60, 2, 5, 1)};
  const auto segments = Segments({Committed(36, 40, 70)});
  ASSERT_EQ(segments.size(), 5u);
  EXPECT_EQ(segments[0].block, KeyOf(1));
  EXPECT_EQ(segments[1].block, KeyOf(2)) << "the chain's block, not the parent's rows under it";
  EXPECT_EQ(segments[2].block, KeyOf(50)) << "what the chain does not cover of [16, 36)";
  EXPECT_EQ(segments[2].begin, 32);
  EXPECT_EQ(segments[2].end, 36);
  EXPECT_EQ(segments[2].first_row, 19u);
  EXPECT_EQ(segments[2].origin, 32);
  EXPECT_EQ(segments[3].block, KeyOf(70));
  EXPECT_EQ(segments[3].generation, 1u);
  EXPECT_EQ(segments[4].begin, 40);
  EXPECT_EQ(segments[4].end, 60) << "the document ends where storing ends";
  EXPECT_EQ(segments[4].origin, 35);
}

TEST_F(RevisionTest, LeavesOutWhatIsNotStored) {
  plan_.request.store_tokens = 48;
  plan_.chain = Chain(49, 48);
  plan_.plan.exact_end = 49;
  plan_.spans = {Reused(0, 16, 1, 0, 0, 0), {.span = Part(16, 49, SpanKind::kCompute)}};
  gone_ = {KeyOf(2)};
  const auto segments = Segments({});
  ASSERT_EQ(segments.size(), 2u);
  EXPECT_EQ(segments[0].end, 16);
  EXPECT_EQ(segments[1].begin, 32);
}

// The parent's rows stand in for a chain block that the client did not hand back.
TEST_F(RevisionTest, ReusedRowsFillAHoleInTheChain) {
  plan_.request.store_tokens = 48;
  plan_.chain = Chain(49, 48);
  plan_.plan.exact_end = 49;
  plan_.spans = {Reused(0, 40, 50, 0, 0, 0), {.span = Part(40, 49, SpanKind::kCompute)}};
  gone_ = {KeyOf(2)};
  const auto segments = Segments({});
  ASSERT_EQ(segments.size(), 3u);
  EXPECT_EQ(segments[0].block, KeyOf(1));
  EXPECT_EQ(segments[1].block, KeyOf(50));
  EXPECT_EQ(segments[1].begin, 16);
  EXPECT_EQ(segments[1].end, 32);
  EXPECT_EQ(segments[1].first_row, 16u);
  EXPECT_EQ(segments[2].block, KeyOf(3));
}

TEST(SupersededTest, NamesEachBlockThatIsUsedNoMoreOnce) {
  const auto segment = [](std::uint8_t key) {
    DocumentSegment made;
    made.block = KeyOf(key);
    return made;
  };
  const std::vector<DocumentSegment> before = {segment(1), segment(2), segment(2), segment(3)};
  const std::vector<DocumentSegment> after = {segment(3), segment(4)};
  EXPECT_EQ(Superseded(before, after), (std::vector<BlockKey>{KeyOf(1), KeyOf(2)}));
}

}  // namespace
}  // namespace kvcommons
