// What these tests hold the records to: what was encoded decodes to an equal value, and nothing
// else decodes at all.

#include "store/block_record.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "store/byte_codec.h"

namespace kvcommons {
namespace {

BlockRecord SampleRecord(std::size_t tokens = 5, std::size_t planes = 4) {
  BlockRecord record;
  for (std::size_t i = 0; i < 16; ++i) {
    record.key.bytes[i] = static_cast<std::uint8_t>(i + 1);
    record.content_key.bytes[i] = static_cast<std::uint8_t>(i + 33);
    record.fingerprint.bytes[i] = static_cast<std::uint8_t>(i + 65);
    record.domain.bytes[i] = static_cast<std::uint8_t>(i + 97);
  }
  record.storage_class = StorageClass::kCanonical;
  record.origin = 1234;
  for (std::size_t i = 0; i < tokens; ++i) record.tokens.push_back(static_cast<TokenId>(7 * i));
  for (std::size_t i = 0; i < planes; ++i) {
    record.planes.row_bytes.push_back(static_cast<std::uint32_t>(16 + i));
  }
  record.producer_uid = 1000;
  record.created_us = 1'700'000'000'000'000;
  record.checksum = {0x0123456789abcdef, 0xfedcba9876543210};
  return record;
}

Code CodeOf(const BlockRecord& record) {
  const Result<BlockRecord> decoded = DecodeBlockRecord(EncodeBlockRecord(record));
  return decoded ? Code::kOk : decoded.error().code();
}

TEST(BlockRecordTest, DecodesToWhatWasEncoded) {
  const BlockRecord record = SampleRecord();
  const Result<BlockRecord> decoded = DecodeBlockRecord(EncodeBlockRecord(record));
  ASSERT_TRUE(decoded) << decoded.error().ToString();
  EXPECT_EQ(decoded->key, record.key);
  EXPECT_EQ(decoded->content_key, record.content_key);
  EXPECT_EQ(decoded->fingerprint, record.fingerprint);
  EXPECT_EQ(decoded->domain, record.domain);
  EXPECT_EQ(decoded->storage_class, record.storage_class);
  EXPECT_EQ(decoded->origin, record.origin);
  EXPECT_EQ(decoded->tokens, record.tokens);
  EXPECT_EQ(decoded->planes, record.planes);
  EXPECT_EQ(decoded->producer_uid, record.producer_uid);
  EXPECT_EQ(decoded->created_us, record.created_us);
  EXPECT_EQ(decoded->checksum, record.checksum);
}

TEST(BlockRecordTest, EveryChangedByteIsRefused) {
  const std::string bytes = EncodeBlockRecord(SampleRecord());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      EXPECT_FALSE(DecodeBlockRecord(damaged)) << "byte " << i << " bit " << bit;
    }
  }
}

TEST(BlockRecordTest, EveryTruncationAndAnyTrailingByteIsRefused) {
  const std::string bytes = EncodeBlockRecord(SampleRecord());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Result<BlockRecord> decoded = DecodeBlockRecord(std::string_view(bytes).substr(0, size));
    ASSERT_FALSE(decoded) << size;
    EXPECT_EQ(decoded.error().code(), Code::kCorrupted) << size;
  }
  const Result<BlockRecord> longer = DecodeBlockRecord(bytes + '\0');
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().code(), Code::kCorrupted);
}

TEST(BlockRecordTest, RandomBytesAreRefused) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string good = EncodeBlockRecord(SampleRecord());
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2 == 0) bytes.replace(0, std::min<std::size_t>(bytes.size(), 8), good, 0, 8);
    EXPECT_FALSE(DecodeBlockRecord(bytes));
  }
}

TEST(BlockRecordTest, AnotherFormatVersionIsUnsupportedAndNamed) {
  std::string bytes = EncodeBlockRecord(SampleRecord());
  bytes[4] = 3;
  const Result<BlockRecord> decoded = DecodeBlockRecord(bytes);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), Code::kUnsupported);
  EXPECT_NE(decoded.error().message().find("version is 3"), std::string::npos);
  EXPECT_NE(decoded.error().message().find("reads 2"), std::string::npos);
}

TEST(BlockRecordTest, TokenCountIsLimited) {
  EXPECT_EQ(CodeOf(SampleRecord(0)), Code::kCorrupted);
  EXPECT_EQ(CodeOf(SampleRecord(1)), Code::kOk);
  EXPECT_EQ(CodeOf(SampleRecord(BlockRecord::kMaxTokens)), Code::kOk);
  EXPECT_EQ(CodeOf(SampleRecord(BlockRecord::kMaxTokens + 1)), Code::kCorrupted);
  const Status status = CheckBlockRecord(SampleRecord(BlockRecord::kMaxTokens + 1));
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.message(), "tokens is 257; the limit is 1 to 256");
}

TEST(BlockRecordTest, PlaneCountIsLimited) {
  EXPECT_EQ(CodeOf(SampleRecord(1, 0)), Code::kCorrupted);
  EXPECT_EQ(CodeOf(SampleRecord(1, BlockRecord::kMaxPlanes)), Code::kOk);
  EXPECT_EQ(CodeOf(SampleRecord(1, BlockRecord::kMaxPlanes + 1)), Code::kCorrupted);
}

TEST(BlockRecordTest, BlockBytesAreLimited) {
  BlockRecord record = SampleRecord(256, 1);
  record.planes.row_bytes = {BlockRecord::kMaxBlockBytes / 256};
  EXPECT_EQ(CodeOf(record), Code::kOk);
  record.planes.row_bytes = {BlockRecord::kMaxBlockBytes / 256 + 1};
  EXPECT_EQ(CodeOf(record), Code::kCorrupted);
  record.planes.row_bytes = {16, 0};
  EXPECT_EQ(CodeOf(record), Code::kCorrupted);
}

TEST(BlockRecordTest, PositionsAndClassAreLimited) {
  BlockRecord record = SampleRecord(2);
  record.origin = std::numeric_limits<Position>::max() - 1;
  EXPECT_EQ(CodeOf(record), Code::kOk);
  record.origin += 1;
  EXPECT_EQ(CodeOf(record), Code::kCorrupted);
  record.origin = -1;
  EXPECT_EQ(CodeOf(record), Code::kCorrupted);
  record = SampleRecord();
  record.storage_class = StorageClass::kTeam;
  EXPECT_EQ(CodeOf(record), Code::kOk);
  record.storage_class = static_cast<StorageClass>(4);
  EXPECT_EQ(CodeOf(record), Code::kCorrupted);
  EXPECT_EQ(CheckBlockRecord(record).message(), "storage_class is 4; the limit is 0 to 3");
}

BlockRecord WithLoadings(std::uint32_t rank) {
  BlockRecord record = SampleRecord();
  record.loadings_version = kLoadingsVersion;
  record.loadings_rank = rank;
  record.loadings_bytes = static_cast<std::uint32_t>(
      LoadingsLayout{.planes = 4, .rows = record.tokens.size(), .rank = rank}.Bytes());
  return record;
}

TEST(BlockRecordTest, LoadingsAreRememberedAndCountAsBytesOfTheBlock) {
  const BlockRecord record = WithLoadings(4);
  const auto decoded = DecodeBlockRecord(EncodeBlockRecord(record));
  ASSERT_TRUE(decoded) << decoded.error().ToString();
  EXPECT_EQ(decoded->loadings_version, kLoadingsVersion);
  EXPECT_EQ(decoded->loadings_rank, 4u);
  EXPECT_EQ(decoded->loadings_bytes, record.loadings_bytes);
  EXPECT_EQ(decoded->loadings().rank, 4u);
  EXPECT_EQ(record.plane_bytes(), 5u * (16 + 17 + 18 + 19));
  EXPECT_EQ(decoded->block_bytes(), 384u + (4 + 1) * (5 * 4 + 1) * 4);  // two layers, their mean
}

TEST(BlockRecordTest, ARecordWithoutLoadingsIsStillWrittenInTheFirstFormat) {
  EXPECT_EQ(EncodeBlockRecord(SampleRecord())[4], 1);
  EXPECT_EQ(EncodeBlockRecord(WithLoadings(1))[4], 2);
}

TEST(BlockRecordTest, TheRankOfLoadingsIsLimited) {
  EXPECT_EQ(CodeOf(WithLoadings(0)), Code::kCorrupted);
  EXPECT_EQ(CodeOf(WithLoadings(kMaxLoadingsRank)), Code::kOk);
  EXPECT_EQ(CodeOf(WithLoadings(kMaxLoadingsRank + 1)), Code::kCorrupted);
  EXPECT_EQ(CheckBlockRecord(WithLoadings(kMaxLoadingsRank + 1)).message(),
            "loadings_rank is 65; the limit is 1 to 64");
}

TEST(BlockRecordTest, LoadingsMustBeAsLongAsTheirRankSaysAndOnlyCanonical) {
  BlockRecord record = WithLoadings(4);
  record.loadings_bytes += 4;
  EXPECT_EQ(CodeOf(record), Code::kCorrupted);
  for (const StorageClass other :
       {StorageClass::kExact, StorageClass::kRevision, StorageClass::kTeam}) {
    record = WithLoadings(4);
    record.storage_class = other;
    EXPECT_EQ(CodeOf(record), Code::kCorrupted);
  }
  record = SampleRecord();
  record.loadings_bytes = 4;
  EXPECT_EQ(CheckBlockRecord(record).code(), Code::kInvalidArgument);
}

TEST(BlockRecordTest, LoadingsOfAnotherVersionKeepTheirLengthAndAreNeverRead) {
  BlockRecord record = WithLoadings(4);
  record.loadings_version = kLoadingsVersion + 1;
  record.loadings_bytes = 12;
  const auto decoded = DecodeBlockRecord(EncodeBlockRecord(record));
  ASSERT_TRUE(decoded) << decoded.error().ToString();
  EXPECT_EQ(decoded->block_bytes(), 384u + 12);
  EXPECT_EQ(decoded->loadings().rank, 0u);
}

TEST(ByteReaderTest, ALyingCountAllocatesNothing) {
  ByteWriter writer;
  writer.Put(std::uint64_t{1} << 60);
  const std::string bytes = writer.Take();
  ByteReader reader(bytes);
  std::vector<std::uint32_t> values;
  EXPECT_FALSE(reader.GetArray(&values, std::size_t{1} << 61));
  EXPECT_EQ(values.capacity(), 0u);
}

}  // namespace
}  // namespace kvcommons
