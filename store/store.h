// Store: the daemon's blocks. Decides which bytes exist; everything else in the daemon moves bytes.
//
// Guarantees: a published block never changes and keeps its address while a PinnedBlock holds it
// (I2); held bytes <= capacity at every instant, for the arena and for each domain's quota (I9);
// what was acknowledged as durable is found after a restart (I8); bytes of one domain are never
// reachable from another (I7): every call names the domain, and a key of another domain is a miss.
// Thread safety: every method may be called from any thread. Put(kDurable), Pin of a disk block,
// Flush, Verify and reads and writes of documents and notes block on the disk; the others do not.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "store/block_record.h"
#include "store/chain_key.h"
#include "store/disk_tier.h"
#include "store/document.h"
#include "store/library.h"

namespace kvcommons {

class StoreImpl;
struct MemoryBlock;

// When an upload is answered.
enum class Ack : std::uint8_t { kHeld = 0 /* in memory */, kDurable = 1 /* on disk, synced */ };

// A move-only right to read one block at one address. Must not outlive its Store.
class [[nodiscard]] PinnedBlock {
 public:
  PinnedBlock(PinnedBlock&& other) noexcept;
  PinnedBlock& operator=(PinnedBlock&& other) noexcept;
  PinnedBlock(const PinnedBlock&) = delete;
  PinnedBlock& operator=(const PinnedBlock&) = delete;
  ~PinnedBlock();

  const BlockRecord& record() const;
  std::span<const std::byte> bytes() const;
  std::uint32_t slab_id() const;            // never reused within one Store
  std::uint64_t slab_offset_bytes() const;  // of plane 0 within the slab

 private:
  friend class StoreImpl;
  PinnedBlock(StoreImpl* store, MemoryBlock* block) : store_(store), block_(block) {}

  StoreImpl* store_;
  MemoryBlock* block_;  // null once moved from
};

class Store {
 public:
  static constexpr std::size_t kMaxNoteNameBytes = 128;
  static constexpr std::size_t kMaxNoteBytes = DiskTier::kMaxMetaValueBytes;
  // Without a disk, of one domain; a note counts its name, its value and sizeof(Note).
  static constexpr std::uint64_t kMaxNotesInMemoryBytes = 16ull << 20;

  struct Options {
    std::uint64_t arena_bytes = 0;  // memory for blocks; >= 64 MiB
    std::uint64_t slab_bytes = 64ull << 20;
    std::unique_ptr<DiskTier> disk;         // null: memory only, durable puts are refused
    std::uint64_t default_quota_bytes = 0;  // per domain, arena and disk each; 0: the whole
    const Clock* clock = nullptr;           // must outlive the store
    // Slabs that a thread keeps ready, pages touched, ahead of demand; they count as held.
    std::uint32_t spare_slabs = 1;
    std::uint64_t write_queue_bytes =
        0;  // held blocks that wait for the disk; 0: a quarter of the arena
    // Library documents without a disk; a domain may have a quarter.
    std::uint64_t library_memory_bytes = 256ull << 20;
  };

  struct PutItem {
    BlockRecord record;  // checksum is filled by the store
    // Exactly one of both. planes: record.block_bytes(); may change meanwhile: copied first.
    const std::byte* planes = nullptr;
    // Writes the block at its place, all of record.block_bytes(): what it leaves out is some older
    // block's. Called once without the store's lock, not at all for a key that is present; must not
    // throw, nor write there later.
    std::function<void(std::byte*)> fill = nullptr;
  };
  struct PutOutcome {
    std::uint32_t stored = 0;
    std::uint32_t present = 0;  // an equal key was there: the first commit wins
    std::uint32_t durable = 0;  // of stored + present, now on disk
  };

  struct DomainStats {
    DomainId domain;
    std::uint64_t arena_bytes = 0;
    std::uint64_t disk_bytes = 0;
    std::uint64_t quota_bytes = 0;
    std::uint64_t blocks = 0;
  };
  struct Stats {
    std::uint64_t arena_capacity_bytes = 0;
    std::uint64_t arena_held_bytes = 0;
    std::uint64_t arena_pinned_bytes = 0;
    std::uint64_t slab_count = 0;
    std::uint64_t slab_made_count = 0;  // since start, and how long that took, first touch included
    std::uint64_t slab_made_us = 0;
    std::uint64_t block_count = 0;  // in memory
    std::uint64_t hit_count = 0, miss_count = 0, evicted_count = 0, refused_count = 0;
    std::uint64_t index_bytes = 0;  // of the in-memory index over memory and disk
    std::uint64_t index_entries = 0;
    std::uint64_t write_queue_bytes = 0;  // held blocks that wait for the disk
    std::uint64_t bad_block_count = 0;    // checksum failures
    DiskTier::Stats disk;
    bool has_disk = false;
    std::vector<DomainStats> domains;
  };

  struct BlockInfo {  // what `ls` shows
    BlockKey key;
    StorageClass storage_class;
    std::uint32_t token_count;
    Position origin;
    std::uint64_t bytes;
    bool in_memory, on_disk;
    std::uint32_t pins;
    std::int64_t created_us;
  };
  struct Note {
    std::string name, value;
  };
  struct VerifyReport {  // of copies: a block in memory and on disk counts twice
    std::uint64_t checked = 0, bad = 0;
    std::uint64_t bytes = 0;
  };

  static Result<std::unique_ptr<Store>> Open(Options options);
  virtual ~Store() = default;  // REQUIRES: no PinnedBlock is alive.

  // The domain's secret, made at first use by a cryptographic generator, kept durably when there is
  // a disk.
  virtual Result<DomainSecret> SecretOf(const DomainId& domain) = 0;
  virtual void SetQuota(const DomainId& domain, std::uint64_t bytes) = 0;

  // How many leading keys are present for this domain, in memory or on disk. Never touches the
  // disk.
  virtual std::size_t MatchPrefix(const DomainId& domain, std::span<const BlockKey> keys) const = 0;
  virtual bool Contains(const DomainId& domain, const BlockKey& key) const = 0;

  // Pins a block, reading it from disk when it is only there. nullopt: a miss (also on a bad
  // checksum). kExhausted: it is on disk, and leased blocks leave no room in the arena.
  virtual Result<std::optional<PinnedBlock>> Pin(const DomainId& domain, const BlockKey& key) = 0;
  // Pins only what is in memory already; never blocks.
  virtual std::optional<PinnedBlock> PinIfInMemory(const DomainId& domain, const BlockKey& key) = 0;

  // Stores a batch, whole or (on failure) not at all. kExhausted: no room, or over the domain's
  // quota; kUnavailable: durable asked for and the disk is absent, full or failing.
  virtual Result<PutOutcome> Put(const DomainId& domain, std::span<const PutItem> items,
                                 Ack ack) = 0;
  // Blocks of one request, in the order of `items`: under no key, in no list, never on disk, pinned
  // from the beginning and freed with their PinnedBlock. They take room in the arena and in the
  // domain's quota like others. Whole or, with kExhausted, not at all.
  virtual Result<std::vector<PinnedBlock>> PutTransient(const DomainId& domain,
                                                        std::span<const PutItem> items) = 0;

  virtual Status PutDocument(const DocumentRevision& revision, Ack ack) = 0;
  virtual std::optional<DocumentRevision> GetDocument(const DomainId& domain,
                                                      const DocumentKey& document) const = 0;
  // Also removes the blocks of class kRevision that its segments name. False: there was none.
  virtual Result<bool> RemoveDocument(const DomainId& domain, const DocumentKey& document) = 0;
  virtual std::vector<DocumentSummary> ListDocuments(const DomainId& domain) const = 0;

  // Durable where there is a disk. Blocks of variants that the record before it had and this one
  // has not are removed, and all of them when the tokens are others; kExhausted past kMaxPerDomain.
  virtual Status PutLibraryDocument(const LibraryDocument& document) = 0;
  virtual std::optional<LibraryDocument> GetLibraryDocument(const DomainId& domain,
                                                            const DocumentKey& document) const = 0;
  // Also removes its canonical blocks, unless another document has equal tokens; pinned bytes stay
  // readable until released. False: there was none.
  virtual Result<bool> RemoveLibraryDocument(const DomainId& domain,
                                             const DocumentKey& document) = 0;
  virtual std::vector<LibraryDocument> ListLibraryDocuments(const DomainId& domain) const = 0;

  // Small records by name, for what hangs on blocks. Durable where there is a disk. name: 1 to
  // kMaxNoteNameBytes bytes without control characters; value: up to kMaxNoteBytes. Put replaces;
  // kExhausted past kMaxNotesInMemoryBytes, or when the disk has no room.
  virtual Status PutNote(const DomainId& domain, std::string_view name, std::string_view value) = 0;
  virtual std::optional<std::string> GetNote(const DomainId& domain,
                                             std::string_view name) const = 0;
  // Those whose name begins with `prefix`, in order of names.
  virtual std::vector<Note> ListNotes(const DomainId& domain, std::string_view prefix) const = 0;
  // False: there was none.
  virtual Result<bool> RemoveNote(const DomainId& domain, std::string_view name) = 0;

  virtual std::vector<BlockInfo> List(const DomainId& domain, std::size_t limit) const = 0;
  // Removes a block everywhere; pinned bytes stay readable until released. False: there was none.
  virtual Result<bool> Remove(const DomainId& domain, const BlockKey& key) = 0;
  // Writes everything that is held only to disk; returns when it is synced.
  virtual Status Flush() = 0;
  // Reads every block of the domain, memory and disk, and checks its checksum; bad ones are
  // dropped.
  virtual Result<VerifyReport> Verify(const DomainId& domain) = 0;
  virtual Stats GetStats() const = 0;

  // The slab's memfd, sealed SHRINK, GROW, FUTURE_WRITE (a new mapping can only be read). -1: no
  // such slab, or not of this domain. The store keeps ownership.
  virtual int SlabFd(const DomainId& domain, std::uint32_t slab_id) const = 0;
};

}  // namespace kvcommons
