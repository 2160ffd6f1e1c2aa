// A batch becomes durable in this order: planes are appended to the current extent file, one
// fdatasync a file, one synced index batch with places and records. What the index does not name
// does not exist, so a crash anywhere leaves the batch whole or absent.
//
// Space. The bound counts extent files as allocated, and the index with the copies it may make
// (DiskIndex::BoundBytes). One file's room is kept free, so that survivors can be copied before
// their old file goes. A file is given up when a new one is started and that room is gone:
//   - one that holds nothing; else
//   - the one that holds least, if less than half: all it holds is appended again; else
//   - the oldest: what was touched since it was written is appended again, the rest is evicted.
// No more is appended again than half of what the current file can take, so every step frees space,
// and never the room of the block that the file was started for: else that block would ask for the
// next file, and survivors would go round for ever.
// Survivors are synced, then the index moves them and forgets the rest, then the file is unlinked.
//
// A failed index commit leaves doubt: after a power loss it may be there. Until a later commit has
// said again what is true of those keys (Settle), no file is unlinked.
//
// Locks: write_mutex_ orders whatever changes; reads take only the locks inside DiskBlocks and
// ExtentFiles.

#include "store/extent_disk_tier.h"

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#include "base/assert.h"
#include "base/mutex.h"
#include "store/byte_codec.h"
#include "store/disk_blocks.h"
#include "store/extent_files.h"

namespace kvcommons {
namespace {

// At most this share of the capacity is one file: the one that is kept free is not used.
constexpr std::uint64_t kFilesAtLeast = 16;
constexpr std::uint64_t kPlaceValueBytes = 29;

std::string EncodePlace(const DiskBlocks::Entry& entry) {
  ByteWriter writer;
  writer.Put(entry.place.file);
  writer.Put(entry.place.page);
  writer.Put(entry.place.bytes);
  writer.Put(entry.domain);
  writer.Put(entry.storage_class);
  return writer.Take();
}

std::optional<DiskBlocks::Entry> DecodePlace(std::string_view value) {
  ByteReader reader(value);
  DiskBlocks::Entry entry;
  std::uint8_t storage_class = 0;
  const bool whole = reader.Get(&entry.place.file) && reader.Get(&entry.place.page) &&
                     reader.Get(&entry.place.bytes) && reader.Get(&entry.domain) &&
                     reader.Get(&storage_class) && reader.remaining_bytes() == 0 &&
                     storage_class <= static_cast<std::uint8_t>(kLastStorageClass);
  if (!whole) return std::nullopt;
  entry.storage_class = static_cast<StorageClass>(storage_class);
  return entry;
}

std::string DocumentIndexKey(const DomainId& domain, const DocumentKey& document) {
  return std::string(domain.view()) + std::string(document.view());
}

class ExtentDiskTier final : public DiskTier {
 public:
  ExtentDiskTier(const DiskTierOptions& options, std::unique_ptr<StoreFolder> folder,
                 std::unique_ptr<ExtentFiles> files, std::unique_ptr<DiskIndex> index)
      : capacity_bytes_(options.capacity_bytes),
        file_bytes_(ExtentFiles::kHeaderBytes +
                    RoundUpToPage(std::min(options.extent_file_bytes,
                                           options.capacity_bytes / kFilesAtLeast))),
        folder_(std::move(folder)),
        files_(std::move(files)),
        index_(std::move(index)) {}

  Status Recover();

  void SetGoneListener(GoneListener listener) override { listener_ = std::move(listener); }
  Status Write(std::span<const WriteItem> items) override;
  void ForEach(const std::function<void(const Entry&)>& visit) const override {
    for (const Entry& entry : blocks_.List()) visit(entry);
  }
  bool Contains(const BlockKey& key) const override { return blocks_.Contains(key); }
  std::optional<BlockRecord> ReadRecord(const BlockKey& key) const override;
  std::optional<BlockRecord> Read(
      const BlockKey& key, const std::function<std::byte*(const BlockRecord&)>& allocate) override;
  Status Remove(std::span<const BlockKey> keys) override;
  void Touch(const BlockKey& key) override { blocks_.Touch(key); }

  Status PutDocument(const DocumentRevision& revision) override;
  std::optional<DocumentRevision> GetDocument(const DomainId& domain,
                                              const DocumentKey& document) const override;
  Status RemoveDocument(const DomainId& domain, const DocumentKey& document) override;
  std::vector<DocumentSummary> ListDocuments(const DomainId& domain) const override;
  Status PutLibraryDocument(const LibraryDocument& document) override;
  std::optional<LibraryDocument> GetLibraryDocument(const DomainId& domain,
                                                    const DocumentKey& document) const override;
  Status RemoveLibraryDocument(const DomainId& domain, const DocumentKey& document) override;
  std::vector<LibraryDocument> ListLibraryDocuments(const DomainId& domain) const override;
  Status PutMeta(std::string_view name, std::string_view value) override;
  std::optional<std::string> GetMeta(std::string_view name) const override;
  Status RemoveMeta(std::string_view name) override;
  std::vector<Meta> ListMeta(std::string_view prefix) const override;
  Stats GetStats() const override;

 private:
  using Gone = std::vector<BlockKey>;

  // Runs `change` as the only writer, tells what it evicted, and notes whether the disk takes
  // writes.
  template <typename Change>
  Status Mutate(const Change& change) EXCLUDES(write_mutex_);

  Status WriteFresh(const std::vector<const WriteItem*>& fresh, Gone* gone) REQUIRES(write_mutex_);
  Status AppendAll(const std::vector<const WriteItem*>& fresh, std::uint64_t index_bytes,
                   std::vector<ExtentPlace>* places, Gone* gone) REQUIRES(write_mutex_);
  Status RemoveSmall(IndexSpace space, std::string_view key) EXCLUDES(write_mutex_);
  template <typename T>
  std::optional<T> GetSmall(IndexSpace space, std::string_view key,
                            Result<T> (*decode)(std::string_view)) const;
  template <typename T, typename Visit>
  bool VisitSmall(IndexSpace space, const DomainId& domain, Result<T> (*decode)(std::string_view),
                  Visit visit) const;
  Status PutSmall(IndexSpace space, std::string_view key, std::string value, Gone* gone)
      REQUIRES(write_mutex_);
  void Quarantine(const BlockKey& key, const std::optional<ExtentPlace>& place);

  // The files' share of the capacity while the index takes `index_bytes` more.
  std::uint64_t FileBudget(std::uint64_t index_bytes) const {
    return capacity_bytes_ - std::min(capacity_bytes_, index_->BoundBytes(index_bytes));
  }
  Status CheckFits(const std::vector<const WriteItem*>& fresh, std::uint64_t index_bytes)
      REQUIRES(write_mutex_);
  Status StartFile(std::uint64_t block_bytes, std::uint64_t index_bytes, Gone* gone)
      REQUIRES(write_mutex_);
  Status MakeIndexRoom(std::uint64_t index_bytes, Gone* gone) REQUIRES(write_mutex_);

  struct Victim {
    std::uint32_t file = 0;
    bool keep_all = false;  // else what was touched
  };
  std::optional<Victim> PickVictim() REQUIRES(write_mutex_);
  // Survivors are appended again while they fit into `keep_bytes`.
  Status GiveUp(const Victim& victim, std::uint64_t keep_bytes, Gone* gone) REQUIRES(write_mutex_);
  Status AppendAgain(const DiskBlocks::Resident& resident, std::vector<ExtentPlace>* places)
      REQUIRES(write_mutex_);
  Status DropFile(std::uint32_t file) REQUIRES(write_mutex_);
  void TryDropEmptyFiles() REQUIRES(write_mutex_);

  Status Commit(const IndexBatch& batch, std::span<const BlockKey> keys) REQUIRES(write_mutex_);
  Status Settle() REQUIRES(write_mutex_);

  const std::uint64_t capacity_bytes_;
  const std::uint64_t file_bytes_;
  const std::unique_ptr<StoreFolder> folder_;  // first, so that it is let go last
  const std::unique_ptr<ExtentFiles> files_;
  const std::unique_ptr<DiskIndex> index_;
  DiskBlocks blocks_;
  GoneListener listener_;  // set before the first Write()

  Mutex write_mutex_;
  std::set<std::uint32_t> busy_files_ GUARDED_BY(write_mutex_);  // of the batch being written
  std::vector<BlockKey> doubtful_keys_ GUARDED_BY(write_mutex_);

  mutable Mutex stats_mutex_;
  Stats stats_ GUARDED_BY(stats_mutex_);
};

template <typename Change>
Status ExtentDiskTier::Mutate(const Change& change) {
  Gone gone;
  Status status;
  {
    MutexLock lock(write_mutex_);
    status = Settle();
    if (status.ok()) status = change(&gone);
    busy_files_.clear();
  }
  {
    MutexLock lock(stats_mutex_);
    if (status.code() == Code::kUnavailable || status.code() == Code::kCorrupted) {
      ++stats_.write_failed_count;
      stats_.writable = false;
    } else if (status.ok()) {
      stats_.writable = true;
    }
  }
  if (listener_ && !gone.empty()) listener_(gone);
  return status;
}

// ---- Blocks ----

Status ExtentDiskTier::Write(std::span<const WriteItem> items) {
  for (const WriteItem& item : items) KVC_RETURN_IF_ERROR(CheckBlockRecord(*item.record));
  return Mutate([&](Gone* gone) NO_THREAD_SAFETY_ANALYSIS {
    std::vector<const WriteItem*> fresh;
    std::unordered_set<BlockKey> batch_keys;
    for (const WriteItem& item : items) {
      if (blocks_.Contains(item.record->key)) continue;
      if (batch_keys.insert(item.record->key).second) fresh.push_back(&item);
    }
    if (fresh.empty()) return Status();
    const Status status = WriteFresh(fresh, gone);
    if (!status.ok() && doubtful_keys_.empty()) TryDropEmptyFiles();
    return status;
  });
}

Status ExtentDiskTier::WriteFresh(const std::vector<const WriteItem*>& fresh, Gone* gone) {
  std::vector<std::string> records;
  std::vector<BlockKey> keys;
  std::uint64_t index_bytes = 0;
  for (const WriteItem* item : fresh) {
    records.push_back(EncodeBlockRecord(*item->record));
    keys.push_back(item->record->key);
    index_bytes += records.back().size() + kPlaceValueBytes + 2 * (sizeof(BlockKey) + 33);
  }
  KVC_RETURN_IF_ERROR(CheckFits(fresh, index_bytes));
  KVC_RETURN_IF_ERROR(MakeIndexRoom(index_bytes, gone));
  std::vector<ExtentPlace> places;
  KVC_RETURN_IF_ERROR(AppendAll(fresh, index_bytes, &places, gone));
  KVC_RETURN_IF_ERROR(files_->Sync());
  IndexBatch batch;
  std::vector<DiskBlocks::Entry> entries;
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    const BlockRecord& record = *fresh[i]->record;
    entries.push_back({places[i], record.domain, record.storage_class});
    batch.Put(IndexSpace::kPlace, record.key.view(), EncodePlace(entries.back()));
    batch.Put(IndexSpace::kRecord, record.key.view(), std::move(records[i]));
  }
  KVC_RETURN_IF_ERROR(Commit(batch, keys));
  for (std::size_t i = 0; i < fresh.size(); ++i) blocks_.Insert(keys[i], entries[i]);
  return Status();
}

Status ExtentDiskTier::AppendAll(const std::vector<const WriteItem*>& fresh,
                                 std::uint64_t index_bytes, std::vector<ExtentPlace>* places,
                                 Gone* gone) {
  for (std::size_t next = 0; next < fresh.size();) {
    std::vector<ExtentFiles::Source> sources;
    std::uint64_t room_bytes = files_->CurrentRoomBytes();
    for (; next < fresh.size(); ++next) {
      const std::uint64_t bytes = fresh[next]->record->block_bytes();
      if (RoundUpToPage(bytes) > room_bytes) break;
      room_bytes -= RoundUpToPage(bytes);
      sources.push_back({fresh[next]->planes, bytes});
    }
    if (!sources.empty()) {
      busy_files_.insert(files_->current());
      KVC_RETURN_IF_ERROR(files_->Append(sources, places));
    }
    if (next < fresh.size()) {
      KVC_RETURN_IF_ERROR(StartFile(fresh[next]->record->block_bytes(), index_bytes, gone));
    }
  }
  return Status();
}

std::optional<BlockRecord> ExtentDiskTier::ReadRecord(const BlockKey& key) const {
  if (!blocks_.Contains(key)) return std::nullopt;
  const Result<std::optional<std::string>> value = index_->Get(IndexSpace::kRecord, key.view());
  if (!value || !*value) return std::nullopt;
  Result<BlockRecord> record = DecodeBlockRecord(**value);
  if (!record || record->key != key) return std::nullopt;
  return *std::move(record);
}

std::optional<BlockRecord> ExtentDiskTier::Read(
    const BlockKey& key, const std::function<std::byte*(const BlockRecord&)>& allocate) {
  const std::optional<ExtentPlace> first_place = blocks_.Find(key);
  if (!first_place) return std::nullopt;
  std::optional<BlockRecord> record = ReadRecord(key);
  if (!record) {
    Quarantine(key, first_place);
    return std::nullopt;
  }
  // No file is held meanwhile: what is allocated may have to be evicted to this disk first.
  std::byte* const destination = allocate(*record);
  if (destination == nullptr) return std::nullopt;
  for (;;) {
    const std::optional<ExtentPlace> place = blocks_.Find(key);
    if (!place) return std::nullopt;
    Status status = Corrupted("place and record disagree on the size");
    Checksum128 checksum;
    if (place->bytes == record->block_bytes()) {
      status = files_->Read(*place, destination, &checksum);
    }
    if (status.ok() && checksum == record->checksum) return record;
    // Appended again and its old file dropped, between the two calls.
    if (status.code() == Code::kNotFound && blocks_.Find(key) != place) continue;
    Quarantine(key, place);
    return std::nullopt;
  }
}

void ExtentDiskTier::Quarantine(const BlockKey& key, const std::optional<ExtentPlace>& place) {
  const Status status = Mutate([&](Gone* gone) NO_THREAD_SAFETY_ANALYSIS {
    if (blocks_.Find(key) != place)
      return Status();  // Someone else did, or it is another block now.
    blocks_.Erase(key);
    gone->push_back(key);
    {
      MutexLock lock(stats_mutex_);
      ++stats_.quarantined_count;
    }
    IndexBatch batch;
    batch.Delete(IndexSpace::kPlace, key.view());
    batch.Delete(IndexSpace::kRecord, key.view());
    KVC_RETURN_IF_ERROR(Commit(batch, {&key, 1}));
    TryDropEmptyFiles();
    return Status();
  });
  // Not on the disk yet when that failed; then the next start finds the bad block again.
  static_cast<void>(status);
}

Status ExtentDiskTier::Remove(std::span<const BlockKey> keys) {
  return Mutate([&](Gone* gone) NO_THREAD_SAFETY_ANALYSIS {
    static_cast<void>(gone);  // The caller knows.
    IndexBatch batch;
    for (const BlockKey& key : keys) {
      if (!blocks_.Contains(key)) continue;
      batch.Delete(IndexSpace::kPlace, key.view());
      batch.Delete(IndexSpace::kRecord, key.view());
    }
    if (batch.changes().empty()) return Status();
    KVC_RETURN_IF_ERROR(Commit(batch, keys));
    for (const BlockKey& key : keys) blocks_.Erase(key);
    TryDropEmptyFiles();
    return Status();
  });
}

// ---- Space ----

Status ExtentDiskTier::CheckFits(const std::vector<const WriteItem*>& fresh,
                                 std::uint64_t index_bytes) {
  // What the batch needs if everything else goes but the current file.
  std::uint64_t needed_bytes = files_->AllocatedBytes(files_->current());
  std::uint64_t room_bytes = files_->CurrentRoomBytes();
  for (const WriteItem* item : fresh) {
    const std::uint64_t bytes = RoundUpToPage(item->record->block_bytes());
    if (bytes > room_bytes) {
      room_bytes = std::max(file_bytes_, bytes + ExtentFiles::kHeaderBytes);
      needed_bytes += room_bytes;
      room_bytes -= ExtentFiles::kHeaderBytes;
    }
    room_bytes -= bytes;
  }
  const std::uint64_t budget_bytes = FileBudget(index_bytes);
  if (needed_bytes <= budget_bytes) return Status();
  return Exhausted("batch needs " + std::to_string(needed_bytes) +
                   " bytes of extent files; the limit is " + std::to_string(budget_bytes) +
                   " of capacity " + std::to_string(capacity_bytes_));
}

Status ExtentDiskTier::MakeIndexRoom(std::uint64_t index_bytes, Gone* gone) {
  while (files_->TotalAllocatedBytes() > FileBudget(index_bytes)) {
    std::optional<Victim> victim = PickVictim();
    if (!victim && files_->current() != 0 && busy_files_.empty()) {
      files_->SealCurrent();
      victim = PickVictim();
    }
    if (!victim) {
      return Exhausted("no room for " + std::to_string(index_bytes) +
                       " bytes in the index; the capacity is " + std::to_string(capacity_bytes_));
    }
    KVC_RETURN_IF_ERROR(GiveUp(*victim, 0, gone));
  }
  return Status();
}

Status ExtentDiskTier::StartFile(std::uint64_t block_bytes, std::uint64_t index_bytes, Gone* gone) {
  const std::uint64_t new_bytes =
      std::max(file_bytes_, RoundUpToPage(block_bytes) + ExtentFiles::kHeaderBytes);
  while (files_->TotalAllocatedBytes() + new_bytes > FileBudget(index_bytes)) {
    const std::optional<Victim> victim = PickVictim();
    if (!victim) {
      return Exhausted("no room for an extent file of " + std::to_string(new_bytes) +
                       " bytes; the capacity is " + std::to_string(capacity_bytes_));
    }
    KVC_RETURN_IF_ERROR(GiveUp(*victim, 0, gone));
  }
  KVC_RETURN_IF_ERROR(files_->StartFile(new_bytes));
  while (files_->TotalAllocatedBytes() + file_bytes_ > FileBudget(index_bytes)) {
    const std::optional<Victim> victim = PickVictim();
    if (!victim) break;
    const std::uint64_t room_bytes = files_->CurrentRoomBytes();
    const std::uint64_t spare_bytes = room_bytes - std::min(room_bytes, RoundUpToPage(block_bytes));
    KVC_RETURN_IF_ERROR(GiveUp(*victim, std::min(room_bytes / 2, spare_bytes), gone));
  }
  return Status();
}

std::optional<ExtentDiskTier::Victim> ExtentDiskTier::PickVictim() {
  std::optional<Victim> victim;
  std::uint64_t least_bytes = 0;
  for (const std::uint32_t file : files_->Numbers()) {
    if (file == files_->current() || busy_files_.contains(file)) continue;
    const std::uint64_t live_bytes = blocks_.UseOf(file).live_bytes;
    const bool half_empty = live_bytes < files_->AllocatedBytes(file) / 2;
    if (!victim) {
      victim = {file, half_empty};  // The oldest.
      least_bytes = half_empty ? live_bytes : UINT64_MAX;
    } else if (half_empty && live_bytes < least_bytes) {
      victim = {file, true};
      least_bytes = live_bytes;
    }
  }
  return victim;
}

Status ExtentDiskTier::GiveUp(const Victim& victim, std::uint64_t keep_bytes, Gone* gone) {
  IndexBatch batch;
  std::vector<BlockKey> keys;
  std::vector<BlockKey> moved;
  std::vector<BlockKey> lost;
  std::vector<ExtentPlace> places;
  std::uint64_t bad_count = 0;
  for (const DiskBlocks::Resident& resident : blocks_.ResidentsOf(victim.file)) {
    const std::uint64_t bytes = RoundUpToPage(resident.entry.place.bytes);
    keys.push_back(resident.key);
    if ((victim.keep_all || resident.touched) && bytes <= keep_bytes) {
      const Status status = AppendAgain(resident, &places);
      if (status.ok()) {
        keep_bytes -= bytes;
        moved.push_back(resident.key);
        batch.Put(
            IndexSpace::kPlace, resident.key.view(),
            EncodePlace({places.back(), resident.entry.domain, resident.entry.storage_class}));
        continue;
      }
      if (status.code() != Code::kCorrupted) return status;
      ++bad_count;
    }
    lost.push_back(resident.key);
    batch.Delete(IndexSpace::kPlace, resident.key.view());
    batch.Delete(IndexSpace::kRecord, resident.key.view());
  }
  if (!moved.empty()) KVC_RETURN_IF_ERROR(files_->Sync());
  if (!keys.empty()) KVC_RETURN_IF_ERROR(Commit(batch, keys));
  for (std::size_t i = 0; i < moved.size(); ++i) blocks_.Move(moved[i], places[i]);
  for (const BlockKey& key : lost) blocks_.Erase(key);
  gone->insert(gone->end(), lost.begin(), lost.end());
  {
    MutexLock lock(stats_mutex_);
    stats_.evicted_count += lost.size() - bad_count;
    stats_.quarantined_count += bad_count;
  }
  return DropFile(victim.file);
}

// kCorrupted: the block is bad. Any other failure: the current file cannot be written.
Status ExtentDiskTier::AppendAgain(const DiskBlocks::Resident& resident,
                                   std::vector<ExtentPlace>* places) {
  const std::optional<BlockRecord> record = ReadRecord(resident.key);
  if (!record) return Corrupted("record");
  DiskBuffer planes(resident.entry.place.bytes);
  Checksum128 checksum;
  const Status status = files_->Read(resident.entry.place, planes.data(), &checksum);
  if (!status.ok() || checksum != record->checksum) return Corrupted("planes");
  const ExtentFiles::Source source = {planes.data(), resident.entry.place.bytes};
  return files_->Append({&source, 1}, places);
}

Status ExtentDiskTier::DropFile(std::uint32_t file) {
  KVC_ASSERT(doubtful_keys_.empty());
  KVC_RETURN_IF_ERROR(files_->Drop(file));
  blocks_.ForgetFile(file);
  return Status();
}

void ExtentDiskTier::TryDropEmptyFiles() {
  for (const std::uint32_t file : files_->Numbers()) {
    if (file == files_->current() || blocks_.UseOf(file).live_bytes > 0) continue;
    const Status status = DropFile(file);
    if (!status.ok()) return;  // It stays counted, and is the first to be given up.
  }
}

// ---- Index ----

Status ExtentDiskTier::Commit(const IndexBatch& batch, std::span<const BlockKey> keys) {
  const Status status = index_->Commit(batch);
  if (!status.ok()) doubtful_keys_.insert(doubtful_keys_.end(), keys.begin(), keys.end());
  return status;
}

Status ExtentDiskTier::Settle() {
  if (doubtful_keys_.empty()) return Status();
  IndexBatch batch;
  for (const BlockKey& key : doubtful_keys_) {
    if (const std::optional<DiskBlocks::Entry> entry = blocks_.FindEntry(key)) {
      // The record too: what failed may have been its deletion.
      Result<std::optional<std::string>> record = index_->Get(IndexSpace::kRecord, key.view());
      if (!record) return record.error();
      batch.Put(IndexSpace::kPlace, key.view(), EncodePlace(*entry));
      if (*record) batch.Put(IndexSpace::kRecord, key.view(), **std::move(record));
    } else {
      batch.Delete(IndexSpace::kPlace, key.view());
      batch.Delete(IndexSpace::kRecord, key.view());
    }
  }
  KVC_RETURN_IF_ERROR(index_->Commit(batch));
  doubtful_keys_.clear();
  TryDropEmptyFiles();
  return Status();
}

Status ExtentDiskTier::PutSmall(IndexSpace space, std::string_view key, std::string value,
                                Gone* gone) {
  IndexBatch batch;
  batch.Put(space, key, std::move(value));
  const std::uint64_t bound_bytes = index_->BoundBytes(batch.size_bytes());
  if (bound_bytes > capacity_bytes_) {
    return Exhausted("index would need " + std::to_string(bound_bytes) +
                     " bytes; the capacity is " + std::to_string(capacity_bytes_));
  }
  KVC_RETURN_IF_ERROR(MakeIndexRoom(batch.size_bytes(), gone));
  return index_->Commit(batch);
}

Status ExtentDiskTier::RemoveSmall(IndexSpace space, std::string_view key) {
  return Mutate([&](Gone* gone) NO_THREAD_SAFETY_ANALYSIS {
    static_cast<void>(gone);
    IndexBatch batch;
    batch.Delete(space, key);
    return index_->Commit(batch);
  });
}

// What `decode` reads is a miss when it is absent or damaged.
template <typename T>
std::optional<T> ExtentDiskTier::GetSmall(IndexSpace space, std::string_view key,
                                          Result<T> (*decode)(std::string_view)) const {
  const Result<std::optional<std::string>> value = index_->Get(space, key);
  if (!value || !*value) return std::nullopt;
  Result<T> decoded = decode(**value);
  if (!decoded) return std::nullopt;
  return *std::move(decoded);
}

// Calls `visit` with all that `decode` reads of one domain; false: the index could not be read.
template <typename T, typename Visit>
bool ExtentDiskTier::VisitSmall(IndexSpace space, const DomainId& domain,
                                Result<T> (*decode)(std::string_view), Visit visit) const {
  return index_
      ->Scan(space, domain.view(),
             [&](std::string_view, std::string_view value) {
               Result<T> decoded = decode(value);
               if (decoded) visit(*std::move(decoded));
             })
      .ok();
}

Status ExtentDiskTier::PutDocument(const DocumentRevision& revision) {
  KVC_RETURN_IF_ERROR(CheckDocument(revision));
  return Mutate([&](Gone* gone) NO_THREAD_SAFETY_ANALYSIS {
    return PutSmall(IndexSpace::kDocument, DocumentIndexKey(revision.domain, revision.document),
                    EncodeDocument(revision), gone);
  });
}

std::optional<DocumentRevision> ExtentDiskTier::GetDocument(const DomainId& domain,
                                                            const DocumentKey& document) const {
  return GetSmall(IndexSpace::kDocument, DocumentIndexKey(domain, document), &DecodeDocument);
}

Status ExtentDiskTier::RemoveDocument(const DomainId& domain, const DocumentKey& document) {
  return RemoveSmall(IndexSpace::kDocument, DocumentIndexKey(domain, document));
}

std::vector<DocumentSummary> ExtentDiskTier::ListDocuments(const DomainId& domain) const {
  std::vector<DocumentSummary> list;
  const bool whole =
      VisitSmall(IndexSpace::kDocument, domain, &DecodeDocument,
                 [&](const DocumentRevision& revision) { list.push_back(Summarize(revision)); });
  if (!whole) list.clear();  // A part would look like the whole.
  return list;
}

Status ExtentDiskTier::PutLibraryDocument(const LibraryDocument& document) {
  KVC_RETURN_IF_ERROR(CheckLibraryDocument(document));
  return Mutate([&](Gone* gone) NO_THREAD_SAFETY_ANALYSIS {
    return PutSmall(IndexSpace::kLibrary, DocumentIndexKey(document.domain, document.document),
                    EncodeLibraryDocument(document), gone);
  });
}

std::optional<LibraryDocument> ExtentDiskTier::GetLibraryDocument(
    const DomainId& domain, const DocumentKey& document) const {
  return GetSmall(IndexSpace::kLibrary, DocumentIndexKey(domain, document), &DecodeLibraryDocument);
}

Status ExtentDiskTier::RemoveLibraryDocument(const DomainId& domain, const DocumentKey& document) {
  return RemoveSmall(IndexSpace::kLibrary, DocumentIndexKey(domain, document));
}

std::vector<LibraryDocument> ExtentDiskTier::ListLibraryDocuments(const DomainId& domain) const {
  std::vector<LibraryDocument> list;
  const bool whole =
      VisitSmall(IndexSpace::kLibrary, domain, &DecodeLibraryDocument,
                 [&](LibraryDocument document) { list.push_back(std::move(document)); });
  if (!whole) list.clear();
  return list;
}

Status ExtentDiskTier::PutMeta(std::string_view name, std::string_view value) {
  KVC_RETURN_IF_ERROR(CheckMeta(name, value));
  return Mutate([&](Gone* gone) NO_THREAD_SAFETY_ANALYSIS {
    return PutSmall(IndexSpace::kMeta, name, std::string(value), gone);
  });
}

std::optional<std::string> ExtentDiskTier::GetMeta(std::string_view name) const {
  Result<std::optional<std::string>> value = index_->Get(IndexSpace::kMeta, name);
  return value ? *std::move(value) : std::nullopt;
}

Status ExtentDiskTier::RemoveMeta(std::string_view name) {
  return RemoveSmall(IndexSpace::kMeta, name);
}

std::vector<DiskTier::Meta> ExtentDiskTier::ListMeta(std::string_view prefix) const {
  std::vector<Meta> list;
  const Status status =
      index_->Scan(IndexSpace::kMeta, prefix, [&](std::string_view name, std::string_view value) {
        list.push_back({std::string(name), std::string(value)});
      });
  if (!status.ok()) list.clear();  // A part would look like the whole.
  return list;
}

DiskTier::Stats ExtentDiskTier::GetStats() const {
  Stats stats;
  {
    MutexLock lock(stats_mutex_);
    stats = stats_;
  }
  stats.block_count = blocks_.count();
  stats.held_bytes = files_->TotalAllocatedBytes() + index_->HeldBytes();
  stats.capacity_bytes = capacity_bytes_;
  stats.written_bytes = files_->written_bytes();
  stats.read_bytes = files_->read_bytes();
  return stats;
}

// ---- Start ----

Status ExtentDiskTier::Recover() {
  MutexLock lock(write_mutex_);
  IndexBatch dead;
  KVC_RETURN_IF_ERROR(
      index_->Scan(IndexSpace::kPlace, {}, [&](std::string_view name, std::string_view value) {
        BlockKey key;
        const std::optional<DiskBlocks::Entry> entry = DecodePlace(value);
        if (name.size() == key.bytes.size() && entry && files_->Holds(entry->place)) {
          std::copy(name.begin(), name.end(), key.bytes.begin());
          if (blocks_.Insert(key, *entry)) return;
        }
        dead.Delete(IndexSpace::kPlace, name);
        dead.Delete(IndexSpace::kRecord, name);
      }));
  if (!dead.changes().empty()) {
    MutexLock stats_lock(stats_mutex_);
    stats_.quarantined_count += dead.changes().size() / 2;
  }
  if (!dead.changes().empty()) KVC_RETURN_IF_ERROR(index_->Commit(dead));
  TryDropEmptyFiles();  // There is no current file yet.
  const std::vector<std::uint32_t> numbers = files_->Numbers();
  if (!numbers.empty()) files_->ResumeCurrent(blocks_.UseOf(numbers.back()).end_bytes);
  // The capacity may be smaller than it was.
  Gone gone;
  return MakeIndexRoom(0, &gone);
}

}  // namespace

Result<std::unique_ptr<DiskTier>> OpenExtentDiskTier(const DiskTierOptions& options,
                                                     DiskTierParts parts) {
  Result<std::unique_ptr<ExtentFiles>> files = ExtentFiles::Open(std::move(parts.extents));
  if (!files) return Fail(files.error());
  auto tier = std::make_unique<ExtentDiskTier>(options, std::move(parts.folder), *std::move(files),
                                               std::move(parts.index));
  KVC_FAIL_IF_ERROR(tier->Recover());
  return tier;
}

Result<std::unique_ptr<DiskTier>> OpenDiskTier(const DiskTierOptions& options) {
  if (options.capacity_bytes < DiskTierOptions::kMinCapacityBytes) {
    return Fail(InvalidArgument("disk capacity_bytes is " + std::to_string(options.capacity_bytes) +
                                "; the limit is at least " +
                                std::to_string(DiskTierOptions::kMinCapacityBytes)));
  }
  DiskTierParts parts;
  Result<std::unique_ptr<StoreFolder>> folder = StoreFolder::Open(options.folder);
  if (!folder) return Fail(folder.error());
  Result<std::unique_ptr<DiskFolder>> extents = OpenDiskFolder((*folder)->extents_path());
  if (!extents) return Fail(extents.error());
  Result<std::unique_ptr<DiskIndex>> index =
      OpenRocksDbIndex((*folder)->index_path(), options.capacity_bytes);
  if (!index) return Fail(index.error());
  parts.folder = *std::move(folder);
  parts.extents = *std::move(extents);
  parts.index = *std::move(index);
  return OpenExtentDiskTier(options, std::move(parts));
}

}  // namespace kvcommons
