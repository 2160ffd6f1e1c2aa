#include "store/block_record.h"

#include <limits>

#include "store/byte_codec.h"

namespace kvcommons {
namespace {

constexpr FrameKind kBlockRecordFrame = {"block record", 0x4272766b /* "kvrB" */, 1};
// With loadings. A block without them is still written as before, so that a release before
// loadings reads everything but canonical blocks.
constexpr FrameKind kLoadedRecordFrame = {"block record", 0x4272766b, 2};

Status OutOfRange(const char* field, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  return InvalidArgument(std::string(field) + " is " + std::to_string(value) + "; the limit is " +
                         std::to_string(low) + " to " + std::to_string(high));
}

Status CheckLoadings(const BlockRecord& record) {
  if (record.loadings_version == 0) {
    if (record.loadings_rank == 0 && record.loadings_bytes == 0) return Status();
    return InvalidArgument("loadings_version is 0, of no loadings, but loadings_rank is " +
                           std::to_string(record.loadings_rank) + " and loadings_bytes is " +
                           std::to_string(record.loadings_bytes));
  }
  if (record.storage_class != StorageClass::kCanonical) {
    return InvalidArgument("loadings_version is " + std::to_string(record.loadings_version) +
                           "; only canonical blocks have loadings");
  }
  if (record.loadings_rank < 1 || record.loadings_rank > kMaxLoadingsRank) {
    return OutOfRange("loadings_rank", record.loadings_rank, 1, kMaxLoadingsRank);
  }
  if (record.loadings_version != kLoadingsVersion) return Status();
  if (record.planes.plane_count() % 2 != 0) {
    return InvalidArgument("planes is " + std::to_string(record.planes.plane_count()) +
                           "; loadings need two a layer");
  }
  const std::size_t wanted = record.loadings().Bytes();
  if (record.loadings_bytes == wanted) return Status();
  return OutOfRange("loadings_bytes", record.loadings_bytes, wanted, wanted);
}

}  // namespace

Status CheckBlockRecord(const BlockRecord& record) {
  if (record.tokens.empty() || record.tokens.size() > BlockRecord::kMaxTokens) {
    return OutOfRange("tokens", record.tokens.size(), 1, BlockRecord::kMaxTokens);
  }
  if (record.planes.plane_count() == 0 || record.planes.plane_count() > BlockRecord::kMaxPlanes) {
    return OutOfRange("planes", record.planes.plane_count(), 1, BlockRecord::kMaxPlanes);
  }
  for (const std::uint32_t bytes : record.planes.row_bytes) {
    if (bytes == 0) return InvalidArgument("row_bytes is 0; every plane has at least 1");
  }
  // 2^12 planes of 2^32 bytes and 2^8 tokens stay below 2^53: nothing overflows before the check.
  if (record.block_bytes() > BlockRecord::kMaxBlockBytes) {
    return OutOfRange("block_bytes", record.block_bytes(), 1, BlockRecord::kMaxBlockBytes);
  }
  KVC_RETURN_IF_ERROR(CheckLoadings(record));
  const std::int64_t last_position =
      std::int64_t{record.origin} + static_cast<std::int64_t>(record.tokens.size()) - 1;
  if (record.origin < 0 || last_position > std::numeric_limits<Position>::max()) {
    return InvalidArgument("origin is " + std::to_string(record.origin) +
                           "; the block's positions must be 0 to 2^31 - 1");
  }
  if (record.storage_class > kLastStorageClass) {
    return OutOfRange("storage_class", static_cast<std::uint64_t>(record.storage_class), 0,
                      static_cast<std::uint64_t>(kLastStorageClass));
  }
  return Status();
}

std::string EncodeBlockRecord(const BlockRecord& record) {
  ByteWriter writer;
  writer.Put(record.key);
  writer.Put(record.content_key);
  writer.Put(record.fingerprint);
  writer.Put(record.domain);
  writer.Put(record.storage_class);
  writer.Put(record.origin);
  writer.Put(record.producer_uid);
  writer.Put(record.created_us);
  writer.Put(record.checksum.low);
  writer.Put(record.checksum.high);
  writer.PutArray(record.tokens);
  writer.PutArray(record.planes.row_bytes);
  if (record.loadings_version == 0) return SealFrame(kBlockRecordFrame, writer.Take());
  writer.Put(record.loadings_version);
  writer.Put(record.loadings_rank);
  writer.Put(record.loadings_bytes);
  return SealFrame(kLoadedRecordFrame, writer.Take());
}

Result<BlockRecord> DecodeBlockRecord(std::string_view bytes) {
  Result<std::string_view> payload = OpenFrame(kBlockRecordFrame, bytes);
  const bool has_loadings = !payload && payload.error().code() == Code::kUnsupported;
  if (has_loadings) payload = OpenFrame(kLoadedRecordFrame, bytes);
  if (!payload) return Fail(payload.error());
  ByteReader reader(*payload);
  BlockRecord record;
  std::uint8_t storage_class = 0;
  const bool whole = reader.Get(&record.key) && reader.Get(&record.content_key) &&
                     reader.Get(&record.fingerprint) && reader.Get(&record.domain) &&
                     reader.Get(&storage_class) && reader.Get(&record.origin) &&
                     reader.Get(&record.producer_uid) && reader.Get(&record.created_us) &&
                     reader.Get(&record.checksum.low) && reader.Get(&record.checksum.high) &&
                     reader.GetArray(&record.tokens, BlockRecord::kMaxTokens) &&
                     reader.GetArray(&record.planes.row_bytes, BlockRecord::kMaxPlanes) &&
                     (!has_loadings ||
                      (reader.Get(&record.loadings_version) && reader.Get(&record.loadings_rank) &&
                       reader.Get(&record.loadings_bytes) && record.loadings_version != 0)) &&
                     reader.remaining_bytes() == 0;
  if (!whole) return Fail(Corrupted("block record: fields do not fill the payload"));
  record.storage_class = static_cast<StorageClass>(storage_class);
  if (const Status status = CheckBlockRecord(record); !status.ok()) {
    return Fail(Corrupted("block record: " + status.message()));
  }
  return record;
}

}  // namespace kvcommons
