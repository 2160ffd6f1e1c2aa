// A block's record: everything about a block but its planes.
//
// Encoded with magic and format version; decoding refuses what is torn, too long or of an unknown
// version; those of a release before loadings decode as having none. On disk one record is 1 to 4
// KB and lives in RocksDB; in memory it hangs on the block.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "kernels/checksum.h"
#include "kernels/loadings_layout.h"
#include "kernels/plane_layout.h"

namespace kvcommons {

// What a block may be used for (DESIGN §2). Values are stored and travel: append, never renumber.
enum class StorageClass : std::uint8_t {
  kExact = 0,      // chain rooted at the empty root: interchangeable bytes
  kCanonical = 1,  // chain rooted at a preface
  kRevision = 2,   // private rows of one document version
  // Private rows of a team: contents' own rows and offsets that were measured on them.
  kTeam = 3,
};
inline constexpr StorageClass kLastStorageClass = StorageClass::kTeam;

struct BlockRecord {
  static constexpr std::uint32_t kMaxTokens = 256;
  static constexpr std::uint32_t kMaxPlanes = 4096;
  static constexpr std::size_t kMaxBlockBytes = std::size_t{1} << 30;

  BlockKey key;
  ContentKey content_key;
  Fingerprint fingerprint;
  DomainId domain;
  StorageClass storage_class = StorageClass::kExact;
  Position origin =
      0;  // position of the first token when the keys were rotated; contiguous from there
  std::vector<TokenId> tokens;  // 1 to kMaxTokens
  PlaneLayout planes;
  // kCanonical only: what lies behind the planes (kernels/loadings_layout.h). Of another version
  // than ours only the length is known.
  std::uint32_t loadings_version = 0;  // 0: none
  std::uint32_t loadings_rank = 0;     // 1 to kMaxLoadingsRank
  std::uint32_t loadings_bytes = 0;
  std::uint64_t producer_uid = 0;
  std::int64_t created_us = 0;
  // One checksum a block, over all its bytes in storage order. Filled by the store.
  Checksum128 checksum;

  LoadingsLayout loadings() const {
    return {planes.plane_count(), tokens.size(),
            loadings_version == kLoadingsVersion ? loadings_rank : 0};
  }
  std::size_t plane_bytes() const { return planes.BlockBytes(tokens.size()); }
  std::size_t block_bytes() const {
    return LoadingsLayout::BlockBytes(plane_bytes(), loadings_bytes);
  }
};

// kInvalidArgument, naming field, value and limit, for a record that no store may hold.
Status CheckBlockRecord(const BlockRecord& record);

// Encodes any record; decoding refuses those that CheckBlockRecord refuses.
std::string EncodeBlockRecord(const BlockRecord& record);
// kCorrupted on anything but what EncodeBlockRecord wrote; kUnsupported on another version.
Result<BlockRecord> DecodeBlockRecord(std::string_view bytes);

}  // namespace kvcommons
