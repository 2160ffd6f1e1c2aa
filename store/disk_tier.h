// The disk tier's interface: blocks, documents and small metadata that survive kill -9 and power
// loss.
//
// Guarantee: what Write() returned ok for is found whole by every later Open(), or not at all when
// it was removed or evicted since; nothing torn is ever returned. Bytes on disk never exceed
// Options::capacity_bytes, at any instant, temporary copies included.
// Thread safety: every method may be called from any thread.
// Refuses: a folder that another process holds, a store of an unknown format version.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "store/block_record.h"
#include "store/document.h"
#include "store/library.h"

namespace kvcommons {

class DiskTier {
 public:
  static constexpr std::size_t kMaxMetaNameBytes = 256;
  static constexpr std::size_t kMaxMetaValueBytes = 64 << 10;

  struct WriteItem {
    const BlockRecord* record = nullptr;  // checksum filled
    const std::byte* planes = nullptr;    // record->block_bytes()
  };

  // What the in-memory index needs to know of a block on disk.
  struct Entry {
    BlockKey key;
    DomainId domain;
    std::uint64_t bytes = 0;
    StorageClass storage_class = StorageClass::kExact;
  };

  struct Meta {
    std::string name, value;
  };

  struct Stats {
    std::uint64_t block_count = 0;
    std::uint64_t held_bytes = 0;  // <= capacity_bytes
    std::uint64_t capacity_bytes = 0;
    std::uint64_t written_bytes = 0;  // to extent files, since start
    std::uint64_t read_bytes = 0;
    std::uint64_t evicted_count = 0;
    std::uint64_t quarantined_count = 0;  // bad checksum or unreadable
    std::uint64_t write_failed_count = 0;
    bool writable = true;  // false after a disk-full or I/O error, until one succeeds
  };

  // Told the keys of blocks that are gone without Remove(): evicted by a Write(), or quarantined.
  using GoneListener = std::function<void(std::span<const BlockKey>)>;

  virtual ~DiskTier() = default;

  // Called once, before the first Write(). The listener runs in the thread that caused the loss,
  // after the blocks are gone, with no lock of the tier held; it may call the tier's reading
  // methods.
  virtual void SetGoneListener(GoneListener listener) = 0;

  // Writes a batch whole and syncs it before it returns. Items whose key is present are skipped.
  // Makes room by evicting; kExhausted when it cannot (batch over the capacity), kInvalidArgument
  // for a record out of its limits, kUnavailable when the disk is full or fails: in each case
  // nothing of the batch is found later.
  virtual Status Write(std::span<const WriteItem> items) = 0;

  // Keys, sizes and domains of all blocks, in no order; called once after Open().
  virtual void ForEach(const std::function<void(const Entry&)>& visit) const = 0;
  virtual bool Contains(const BlockKey& key) const = 0;
  // The record only. nullopt is a miss.
  virtual std::optional<BlockRecord> ReadRecord(const BlockKey& key) const = 0;
  // Reads planes into `destination` (record.block_bytes() long), verifying the checksum. A bad
  // block is quarantined (dropped, counted) and reads as a miss: nullopt. `allocate` runs with no
  // lock of the tier held; it answers null to refuse, and the read is a miss that quarantines
  // nothing.
  virtual std::optional<BlockRecord> Read(
      const BlockKey& key, const std::function<std::byte*(const BlockRecord&)>& allocate) = 0;
  // Durable before it returns. Absent keys are no failure.
  virtual Status Remove(std::span<const BlockKey> keys) = 0;
  // Told on a hit, for eviction.
  virtual void Touch(const BlockKey& key) = 0;

  // Documents, library documents and metadata: small, synced. Document keys order by (domain,
  // document). Put replaces; kInvalidArgument out of the limits, kExhausted when there is no room
  // even without blocks.
  virtual Status PutDocument(const DocumentRevision& revision) = 0;
  virtual std::optional<DocumentRevision> GetDocument(const DomainId& domain,
                                                      const DocumentKey& document) const = 0;
  virtual Status RemoveDocument(const DomainId& domain, const DocumentKey& document) = 0;
  virtual std::vector<DocumentSummary> ListDocuments(const DomainId& domain) const = 0;
  virtual Status PutLibraryDocument(const LibraryDocument& document) = 0;
  virtual std::optional<LibraryDocument> GetLibraryDocument(const DomainId& domain,
                                                            const DocumentKey& document) const = 0;
  virtual Status RemoveLibraryDocument(const DomainId& domain, const DocumentKey& document) = 0;
  virtual std::vector<LibraryDocument> ListLibraryDocuments(const DomainId& domain) const = 0;
  virtual Status PutMeta(std::string_view name, std::string_view value) = 0;
  virtual std::optional<std::string> GetMeta(std::string_view name) const = 0;
  // An absent name is no failure.
  virtual Status RemoveMeta(std::string_view name) = 0;
  // Those whose name begins with `prefix`, in order of names.
  virtual std::vector<Meta> ListMeta(std::string_view prefix) const = 0;

  virtual Stats GetStats() const = 0;

 protected:
  // kInvalidArgument out of the limits above.
  static Status CheckMeta(std::string_view name, std::string_view value);
};

struct DiskTierOptions {
  static constexpr std::uint64_t kMinCapacityBytes = 16ull << 20;

  std::string folder;                // created if absent; its parent must exist
  std::uint64_t capacity_bytes = 0;  // at least kMinCapacityBytes: the index takes its share
  std::uint64_t extent_file_bytes = 256ull << 20;  // but no more than a 16th of the capacity
};

// Extent files and RocksDB in `folder`, created if absent.
Result<std::unique_ptr<DiskTier>> OpenDiskTier(const DiskTierOptions& options);

// The same contract in memory, for tests and for a daemon without a data folder's durability
// (tsan runs, too: RocksDB is not instrumented).
std::unique_ptr<DiskTier> MakeMemoryDiskTier(std::uint64_t capacity_bytes);

}  // namespace kvcommons
