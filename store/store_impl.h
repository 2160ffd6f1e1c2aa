// The store's one implementation. store.cc has what runs in memory, store_disk.cc what touches the
// disk, store_documents.cc documents and secrets, store_library.cc library documents,
// store_notes.cc notes, store_admin.cc listing and checking.
//
// One lock, mutex_, protects all bookkeeping; nothing is copied, hashed, read or written under it.
// A block's key is *busy* while some thread reads, writes or removes it on disk. Busy keys are
// taken all at once and never while holding others, so no two threads wait for each other, and per
// key the disk sees one thing at a time: an old write cannot overtake a removal, and concurrent
// pins of one block are one load.

#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "store/index.h"
#include "store/memory_tier.h"
#include "store/store.h"

namespace kvcommons {

class StoreImpl final : public Store {
 public:
  // REQUIRES: options were checked by Open().
  explicit StoreImpl(Options options);
  ~StoreImpl() override;
  StoreImpl(const StoreImpl&) = delete;
  StoreImpl& operator=(const StoreImpl&) = delete;

  Result<DomainSecret> SecretOf(const DomainId& domain) override;
  void SetQuota(const DomainId& domain, std::uint64_t bytes) override;

  std::size_t MatchPrefix(const DomainId& domain, std::span<const BlockKey> keys) const override;
  bool Contains(const DomainId& domain, const BlockKey& key) const override;
  Result<std::optional<PinnedBlock>> Pin(const DomainId& domain, const BlockKey& key) override;
  std::optional<PinnedBlock> PinIfInMemory(const DomainId& domain, const BlockKey& key) override;
  Result<PutOutcome> Put(const DomainId& domain, std::span<const PutItem> items, Ack ack) override;
  Result<std::vector<PinnedBlock>> PutTransient(const DomainId& domain,
                                                std::span<const PutItem> items) override;

  Status PutDocument(const DocumentRevision& revision, Ack ack) override;
  std::optional<DocumentRevision> GetDocument(const DomainId& domain,
                                              const DocumentKey& document) const override;
  Result<bool> RemoveDocument(const DomainId& domain, const DocumentKey& document) override;
  std::vector<DocumentSummary> ListDocuments(const DomainId& domain) const override;

  Status PutLibraryDocument(const LibraryDocument& document) override;
  std::optional<LibraryDocument> GetLibraryDocument(const DomainId& domain,
                                                    const DocumentKey& document) const override;
  Result<bool> RemoveLibraryDocument(const DomainId& domain, const DocumentKey& document) override;
  std::vector<LibraryDocument> ListLibraryDocuments(const DomainId& domain) const override;

  Status PutNote(const DomainId& domain, std::string_view name, std::string_view value) override;
  std::optional<std::string> GetNote(const DomainId& domain, std::string_view name) const override;
  std::vector<Note> ListNotes(const DomainId& domain, std::string_view prefix) const override;
  Result<bool> RemoveNote(const DomainId& domain, std::string_view name) override;

  std::vector<BlockInfo> List(const DomainId& domain, std::size_t limit) const override;
  Result<bool> Remove(const DomainId& domain, const BlockKey& key) override;
  Status Flush() override;
  Result<VerifyReport> Verify(const DomainId& domain) override;
  Stats GetStats() const override;
  int SlabFd(const DomainId& domain, std::uint32_t slab_id) const override;

  void Unpin(MemoryBlock* block) EXCLUDES(mutex_);

 private:
  struct Domain {
    DomainId id;
    std::uint64_t quota_bytes = 0;  // 0: the whole
    std::uint64_t disk_bytes = 0;   // written, or promised to a write under way
    std::uint64_t block_count = 0;  // index entries
  };
  struct QueuedWrite {
    DomainSlot domain = 0;
    BlockKey key;
    std::uint64_t bytes = 0;
  };
  // (domain, document): a document's place in pending_documents_.
  using DocumentId = std::pair<DomainId, DocumentKey>;
  using DocumentPtr = std::shared_ptr<const DocumentRevision>;
  // Of one domain: which documents there are, and how many have the same text.
  struct LibraryCatalogue {
    std::unordered_map<DocumentKey, ContentKey> contents;
    std::unordered_map<ContentKey, std::uint32_t> uses;
    std::uint64_t memory_bytes = 0;  // of library_memory_

    // True: no other document has its text.
    bool Forget(const DocumentKey& document);
  };

  // Of one domain, without a disk.
  struct MemoryNotes {
    std::map<std::string, std::string, std::less<>> values;
    std::uint64_t bytes = 0;
  };

  // --- store.cc
  DomainSlot FindSlot(const DomainId& domain) const REQUIRES(mutex_);  // 0: never seen
  Result<DomainSlot> MakeSlot(const DomainId& domain) REQUIRES(mutex_);
  std::uint64_t QuotaOf(DomainSlot slot) const REQUIRES(mutex_);
  Index::Entry& AddEntry(DomainSlot slot, const BlockKey& key) REQUIRES(mutex_);
  void EraseEntry(Index::Entry* entry) REQUIRES(mutex_);
  // Room for `sizes`, evicting what must go: all of it or kExhausted.
  Result<std::vector<Extent>> ReserveRoom(DomainSlot slot, const std::vector<std::uint64_t>& sizes)
      EXCLUDES(mutex_);
  // Carries out what a reservation decided about blocks.
  void Settle(MemoryTier::Reservation& reservation) REQUIRES(mutex_);
  MemoryBlock* Publish(std::unique_ptr<MemoryBlock> block) REQUIRES(mutex_);
  std::optional<PinnedBlock> PinEntry(Index::Entry* entry) REQUIRES(mutex_);
  // What is due after a pin, without the lock: telling the disk tier, and a check of one pin in
  // kPinsPerCheck.
  struct PinDuties {
    bool check = false;
    bool touch = false;
  };
  PinDuties CountPin(MemoryBlock& block) REQUIRES(mutex_);
  // False: the bytes were bad, and the block was dropped.
  bool CarryOut(const PinDuties& duties, const PinnedBlock& pin) EXCLUDES(mutex_);
  void DropBad(MemoryBlock* block) EXCLUDES(mutex_);
  void KeepSpareSlabs() EXCLUDES(mutex_);
  Result<std::unique_ptr<SlabMemory>> MakeSlab() EXCLUDES(mutex_);

  // --- store_disk.cc
  void AcquireKeys(std::span<const BlockKey> keys) REQUIRES(mutex_);
  void ReleaseKeys(std::span<const BlockKey> keys) EXCLUDES(mutex_);
  void SettleGone(std::span<const BlockKey> keys) EXCLUDES(mutex_);
  void LoadIndex();
  void OnGone(std::span<const BlockKey> keys) EXCLUDES(mutex_);
  void MarkNotOnDisk(Index::Entry* entry) REQUIRES(mutex_);
  Result<std::optional<PinnedBlock>> PinFromDisk(const DomainId& domain, DomainSlot slot,
                                                 const BlockKey& key) EXCLUDES(mutex_);
  // REQUIRES: the blocks are pinned and of one domain. Whole or, for what was not on disk, not at
  // all.
  Status WriteBlocks(DomainSlot slot, std::span<MemoryBlock* const> blocks) EXCLUDES(mutex_);
  // Charges the domain for `bytes` more on disk, removing blocks of its own when over its quota.
  Status ChargeDisk(DomainSlot slot, std::uint64_t bytes) EXCLUDES(mutex_);
  // Removes present keys everywhere, those of one class only when it is named; returns how many
  // there were.
  Result<std::size_t> RemoveBlocks(DomainSlot slot, std::vector<BlockKey> keys,
                                   std::optional<StorageClass> only) EXCLUDES(mutex_);
  std::uint64_t QueueRoom() const REQUIRES(mutex_);
  void Enqueue(MemoryBlock& block) REQUIRES(mutex_);
  void RunWriter() EXCLUDES(mutex_);
  std::vector<MemoryBlock*> TakeBatch(DomainSlot* slot) REQUIRES(mutex_);

  // --- store_documents.cc
  // Null: the pending revision, if there still is one.
  Status WriteDocument(const DocumentId& id, DocumentPtr document) EXCLUDES(mutex_);
  void RemoveSuperseded(const DocumentRevision& revision, const DocumentRevision& before)
      EXCLUDES(mutex_);

  // --- store_library.cc
  LibraryCatalogue& CatalogueOf(const DomainId& domain) REQUIRES(library_mutex_);
  Result<ChainHasher> LibraryHasher(const LibraryDocument& document);
  std::optional<LibraryDocument> ReadLibraryDocument(const DomainId& domain,
                                                     const DocumentKey& document) const
      REQUIRES(library_mutex_);
  Status WriteLibraryDocument(const LibraryDocument& document) REQUIRES(library_mutex_);
  // The blocks of all variants whose root none of `kept` has.
  Status RemoveVariants(const LibraryDocument& document, const std::vector<LibraryVariant>& kept)
      EXCLUDES(mutex_);

  const Options options_;  // disk moved out
  const std::unique_ptr<DiskTier> disk_;
  const std::uint64_t queue_capacity_bytes_;

  mutable Mutex mutex_;
  MemoryTier memory_ GUARDED_BY(mutex_);
  Index index_ GUARDED_BY(mutex_);
  std::vector<Domain> domains_ GUARDED_BY(mutex_);  // by slot - 1
  std::unordered_map<DomainId, DomainSlot> slots_ GUARDED_BY(mutex_);
  std::unordered_set<BlockKey> busy_ GUARDED_BY(mutex_);
  std::unordered_set<BlockKey> gone_while_busy_ GUARDED_BY(mutex_);  // of busy_
  std::deque<QueuedWrite> queue_ GUARDED_BY(mutex_);
  std::uint64_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  std::uint64_t quota_cursor_ GUARDED_BY(mutex_) = 0;  // Index::Walk
  // Documents held only; without a disk, all of them.
  std::map<DocumentId, DocumentPtr> pending_documents_ GUARDED_BY(mutex_);
  std::uint64_t pending_document_bytes_ GUARDED_BY(mutex_) = 0;
  std::deque<DocumentId> document_queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::uint64_t pin_count_ GUARDED_BY(mutex_) = 0;
  std::uint64_t hit_count_ GUARDED_BY(mutex_) = 0;
  std::uint64_t miss_count_ GUARDED_BY(mutex_) = 0;
  std::uint64_t refused_count_ GUARDED_BY(mutex_) = 0;
  std::uint64_t bad_block_count_ GUARDED_BY(mutex_) = 0;
  std::uint64_t slab_made_count_ GUARDED_BY(mutex_) = 0;
  std::uint64_t slab_made_us_ GUARDED_BY(mutex_) = 0;
  CondVar busy_released_;
  CondVar writer_work_;
  CondVar keeper_work_;
  CondVar slab_made_;

  // Held across the disk on purpose: two callers must not both make a domain's secret.
  Mutex secret_mutex_;
  std::unordered_map<DomainId, DomainSecret> secrets_ GUARDED_BY(secret_mutex_);

  // Held across the disk on purpose: a record and what it replaces change together.
  mutable Mutex library_mutex_;
  std::unordered_map<DomainId, LibraryCatalogue> library_catalogues_ GUARDED_BY(library_mutex_);
  // Encoded records; without a disk, all of them.
  std::map<DocumentId, std::string> library_memory_ GUARDED_BY(library_mutex_);
  std::uint64_t library_memory_bytes_ GUARDED_BY(library_mutex_) = 0;

  // Held by writers across the disk on purpose: of two that remove a note, one finds it.
  mutable Mutex notes_mutex_;
  std::unordered_map<DomainId, MemoryNotes> memory_notes_ GUARDED_BY(notes_mutex_);

  std::thread keeper_;
  std::thread writer_;
};

}  // namespace kvcommons
