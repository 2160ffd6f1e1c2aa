#include "store/document.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace kvcommons {
namespace {

DocumentRevision SampleDocument(std::size_t tokens = 100) {
  DocumentRevision revision;
  revision.document.bytes[0] = 1;
  revision.domain.bytes[0] = 2;
  revision.fingerprint.bytes[0] = 3;
  revision.name = "notes.md";
  revision.revision = 4;
  revision.created_us = -5;
  revision.tokens.resize(tokens);
  std::iota(revision.tokens.begin(), revision.tokens.end(), 5);
  DocumentSegment first{.begin = 0, .end = 64, .block = {}, .first_row = 0, .origin = 0};
  first.block.bytes[3] = 9;
  DocumentSegment second{.begin = 70, .end = 90, .block = {}, .first_row = 6, .origin = 66};
  second.generation = 2;
  second.edited_tokens_left = 3;
  second.min_distance_tokens = 4;
  revision.segments = {first, second};
  return revision;
}

Code CodeOf(const DocumentRevision& revision) {
  const Result<DocumentRevision> decoded = DecodeDocument(EncodeDocument(revision));
  return decoded ? Code::kOk : decoded.error().code();
}

TEST(DocumentTest, DecodesToWhatWasEncoded) {
  const DocumentRevision revision = SampleDocument();
  const Result<DocumentRevision> decoded = DecodeDocument(EncodeDocument(revision));
  ASSERT_TRUE(decoded) << decoded.error().ToString();
  EXPECT_EQ(decoded->document, revision.document);
  EXPECT_EQ(decoded->domain, revision.domain);
  EXPECT_EQ(decoded->fingerprint, revision.fingerprint);
  EXPECT_EQ(decoded->name, revision.name);
  EXPECT_EQ(decoded->revision, revision.revision);
  EXPECT_EQ(decoded->created_us, revision.created_us);
  EXPECT_EQ(decoded->tokens, revision.tokens);
  ASSERT_EQ(decoded->segments.size(), 2u);
  EXPECT_EQ(decoded->segments[0].block, revision.segments[0].block);
  const DocumentSegment& second = decoded->segments[1];
  EXPECT_EQ(second.begin, 70);
  EXPECT_EQ(second.end, 90);
  EXPECT_EQ(second.first_row, 6u);
  EXPECT_EQ(second.origin, 66);
  EXPECT_EQ(second.generation, 2u);
  EXPECT_EQ(second.edited_tokens_left, 3u);
  EXPECT_EQ(second.min_distance_tokens, 4u);
}

TEST(DocumentTest, EveryChangedByteAndEveryTruncationIsRefused) {
  const std::string bytes = EncodeDocument(SampleDocument());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x40);
    EXPECT_FALSE(DecodeDocument(damaged)) << "byte " << i;
    const Result<DocumentRevision> shorter = DecodeDocument(std::string_view(bytes).substr(0, i));
    ASSERT_FALSE(shorter) << "size " << i;
    EXPECT_EQ(shorter.error().code(), Code::kCorrupted);
  }
  EXPECT_FALSE(DecodeDocument(bytes + 'x'));
}

TEST(DocumentTest, AnotherFormatVersionIsUnsupported) {
  std::string bytes = EncodeDocument(SampleDocument());
  bytes[4] = 9;
  const Result<DocumentRevision> decoded = DecodeDocument(bytes);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), Code::kUnsupported);
}

TEST(DocumentTest, NameAndRevisionAreLimited) {
  DocumentRevision revision = SampleDocument();
  revision.name = "";
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
  revision.name = std::string(DocumentRevision::kMaxNameBytes, 'n');
  EXPECT_EQ(CodeOf(revision), Code::kOk);
  revision.name += 'n';
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
  EXPECT_EQ(CheckDocument(revision).message(), "name bytes is 1025; the limit is 1 to 1024");
  revision = SampleDocument();
  revision.revision = 0;
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
}

TEST(DocumentTest, TokenCountIsLimited) {
  DocumentRevision revision = SampleDocument(DocumentRevision::kMaxTokens);
  EXPECT_EQ(CodeOf(revision), Code::kOk);
  revision.tokens.push_back(0);
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
}

TEST(DocumentTest, SegmentCountIsLimited) {
  DocumentRevision revision = SampleDocument(DocumentRevision::kMaxSegments + 1);
  revision.segments.clear();
  for (std::size_t i = 0; i < DocumentRevision::kMaxSegments; ++i) {
    const auto at = static_cast<Position>(i);
    revision.segments.push_back({.begin = at, .end = at + 1, .block = {}});
  }
  EXPECT_EQ(CodeOf(revision), Code::kOk);
  const auto last = static_cast<Position>(DocumentRevision::kMaxSegments);
  revision.segments.push_back({.begin = last, .end = last + 1, .block = {}});
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
}

TEST(DocumentTest, SegmentsAscendWithoutOverlapInsideTheTokens) {
  DocumentRevision revision = SampleDocument(100);
  revision.segments[1].begin = 64;
  EXPECT_EQ(CodeOf(revision), Code::kOk);
  revision.segments[1].begin = 63;
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
  revision.segments[1] = {.begin = 70, .end = 100, .block = {}};
  EXPECT_EQ(CodeOf(revision), Code::kOk);
  revision.segments[1].end = 101;
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
  revision.segments[1].end = 70;
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
}

TEST(DocumentTest, SegmentRowsAndPositionsAreLimited) {
  DocumentRevision revision = SampleDocument(100);
  revision.segments[0].first_row = 256 - 64;
  EXPECT_EQ(CodeOf(revision), Code::kOk);
  revision.segments[0].first_row = 256 - 63;
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
  revision.segments[0].first_row = std::numeric_limits<std::uint32_t>::max();
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
  revision = SampleDocument(100);
  revision.segments[0].origin = std::numeric_limits<Position>::max() - 63;
  EXPECT_EQ(CodeOf(revision), Code::kOk);
  revision.segments[0].origin += 1;
  EXPECT_EQ(CodeOf(revision), Code::kCorrupted);
}

}  // namespace
}  // namespace kvcommons
