// The disk tier's contract in memory. Blocks leave in the order they came; one that was touched
// since is spared once. Documents count against the capacity and never leave by themselves.

#include <list>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/mutex.h"
#include "store/disk_tier.h"

namespace kvcommons {
namespace {

class MemoryDiskTier final : public DiskTier {
 public:
  explicit MemoryDiskTier(std::uint64_t capacity_bytes) { stats_.capacity_bytes = capacity_bytes; }

  void SetGoneListener(GoneListener listener) override { listener_ = std::move(listener); }

  Status Write(std::span<const WriteItem> items) override {
    std::vector<BlockKey> gone;
    const Status status = WriteAndEvict(items, &gone);
    Tell(gone);
    return status;
  }

  void ForEach(const std::function<void(const Entry&)>& visit) const override {
    std::vector<Entry> entries;
    {
      MutexLock lock(mutex_);
      for (const auto& [key, block] : blocks_) {
        entries.push_back(
            {key, block.record.domain, block.planes.size(), block.record.storage_class});
      }
    }
    for (const Entry& entry : entries) visit(entry);
  }

  bool Contains(const BlockKey& key) const override {
    MutexLock lock(mutex_);
    return blocks_.contains(key);
  }

  std::optional<BlockRecord> ReadRecord(const BlockKey& key) const override {
    MutexLock lock(mutex_);
    const auto found = blocks_.find(key);
    if (found == blocks_.end()) return std::nullopt;
    return found->second.record;
  }

  std::optional<BlockRecord> Read(
      const BlockKey& key, const std::function<std::byte*(const BlockRecord&)>& allocate) override {
    std::optional<BlockRecord> record = ReadRecord(key);
    if (!record) return std::nullopt;
    std::byte* const destination = allocate(*record);  // Without the lock: it may call back.
    if (destination == nullptr) return std::nullopt;
    {
      MutexLock lock(mutex_);
      const auto found = blocks_.find(key);
      if (found == blocks_.end()) return std::nullopt;
      const std::vector<std::byte>& planes = found->second.planes;
      stats_.read_bytes += planes.size();
      if (CopyWithChecksum(planes.data(), destination, planes.size()) == record->checksum) {
        return record;
      }
      Drop(key);
      ++stats_.quarantined_count;
    }
    Tell({key});
    return std::nullopt;
  }

  Status Remove(std::span<const BlockKey> keys) override {
    MutexLock lock(mutex_);
    for (const BlockKey& key : keys) Drop(key);
    return Status();
  }

  void Touch(const BlockKey& key) override {
    MutexLock lock(mutex_);
    const auto found = blocks_.find(key);
    if (found != blocks_.end()) found->second.touched = true;
  }

  Status PutDocument(const DocumentRevision& revision) override {
    KVC_RETURN_IF_ERROR(CheckDocument(revision));
    std::vector<BlockKey> gone;
    const Status status =
        PutAndEvict(&MemoryDiskTier::documents_, {revision.domain, revision.document},
                    EncodeDocument(revision), &gone);
    Tell(gone);
    return status;
  }

  std::optional<DocumentRevision> GetDocument(const DomainId& domain,
                                              const DocumentKey& document) const override {
    MutexLock lock(mutex_);
    return Decoded(documents_, {domain, document}, &DecodeDocument);
  }

  Status RemoveDocument(const DomainId& domain, const DocumentKey& document) override {
    MutexLock lock(mutex_);
    Erase(documents_, {domain, document});
    return Status();
  }

  std::vector<DocumentSummary> ListDocuments(const DomainId& domain) const override {
    MutexLock lock(mutex_);
    std::vector<DocumentSummary> list;
    for (const DocumentRevision& revision : AllDecoded(documents_, domain, &DecodeDocument)) {
      list.push_back(Summarize(revision));
    }
    return list;
  }

  Status PutLibraryDocument(const LibraryDocument& document) override {
    KVC_RETURN_IF_ERROR(CheckLibraryDocument(document));
    std::vector<BlockKey> gone;
    const Status status =
        PutAndEvict(&MemoryDiskTier::library_, {document.domain, document.document},
                    EncodeLibraryDocument(document), &gone);
    Tell(gone);
    return status;
  }

  std::optional<LibraryDocument> GetLibraryDocument(const DomainId& domain,
                                                    const DocumentKey& document) const override {
    MutexLock lock(mutex_);
    return Decoded(library_, {domain, document}, &DecodeLibraryDocument);
  }

  Status RemoveLibraryDocument(const DomainId& domain, const DocumentKey& document) override {
    MutexLock lock(mutex_);
    Erase(library_, {domain, document});
    return Status();
  }

  std::vector<LibraryDocument> ListLibraryDocuments(const DomainId& domain) const override {
    MutexLock lock(mutex_);
    return AllDecoded(library_, domain, &DecodeLibraryDocument);
  }

  Status PutMeta(std::string_view name, std::string_view value) override {
    KVC_RETURN_IF_ERROR(CheckMeta(name, value));
    MutexLock lock(mutex_);
    meta_[std::string(name)] = std::string(value);
    return Status();
  }

  std::optional<std::string> GetMeta(std::string_view name) const override {
    MutexLock lock(mutex_);
    const auto found = meta_.find(std::string(name));
    if (found == meta_.end()) return std::nullopt;
    return found->second;
  }

  Status RemoveMeta(std::string_view name) override {
    MutexLock lock(mutex_);
    meta_.erase(std::string(name));
    return Status();
  }

  std::vector<Meta> ListMeta(std::string_view prefix) const override {
    MutexLock lock(mutex_);
    std::vector<Meta> list;
    for (auto at = meta_.lower_bound(std::string(prefix));
         at != meta_.end() && at->first.starts_with(prefix); ++at) {
      list.push_back({at->first, at->second});
    }
    return list;
  }

  Stats GetStats() const override {
    MutexLock lock(mutex_);
    Stats stats = stats_;
    stats.block_count = blocks_.size();
    return stats;
  }

 private:
  using Records = std::map<std::pair<DomainId, DocumentKey>, std::string>;

  struct Block {
    BlockRecord record;
    std::vector<std::byte> planes;
    bool touched = false;
    std::list<BlockKey>::iterator place;
  };

  // Without the lock: the listener may read from here.
  void Tell(const std::vector<BlockKey>& gone) EXCLUDES(mutex_) {
    if (listener_ && !gone.empty()) listener_(gone);
  }

  Status WriteAndEvict(std::span<const WriteItem> items, std::vector<BlockKey>* gone)
      EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::vector<const WriteItem*> fresh;
    std::unordered_set<BlockKey> batch_keys;
    std::uint64_t needed_bytes = 0;
    for (const WriteItem& item : items) {
      KVC_RETURN_IF_ERROR(CheckBlockRecord(*item.record));
      if (blocks_.contains(item.record->key) || !batch_keys.insert(item.record->key).second)
        continue;
      fresh.push_back(&item);
      needed_bytes += item.record->block_bytes();
    }
    KVC_RETURN_IF_ERROR(MakeRoom(needed_bytes, gone));
    for (const WriteItem* item : fresh) {
      const std::size_t bytes = item->record->block_bytes();
      order_.push_back(item->record->key);
      Block block{*item->record, std::vector<std::byte>(item->planes, item->planes + bytes), false,
                  std::prev(order_.end())};
      blocks_.emplace(item->record->key, std::move(block));
      stats_.held_bytes += bytes;
      stats_.written_bytes += bytes;
    }
    return Status();
  }

  template <typename T>
  static std::optional<T> Decoded(const Records& records, const Records::key_type& id,
                                  Result<T> (*decode)(std::string_view)) {
    const auto found = records.find(id);
    if (found == records.end()) return std::nullopt;
    Result<T> decoded = decode(found->second);
    if (!decoded) return std::nullopt;
    return *std::move(decoded);
  }

  template <typename T>
  static std::vector<T> AllDecoded(const Records& records, const DomainId& domain,
                                   Result<T> (*decode)(std::string_view)) {
    std::vector<T> list;
    for (auto it = records.lower_bound({domain, DocumentKey{}});
         it != records.end() && it->first.first == domain; ++it) {
      Result<T> decoded = decode(it->second);
      if (decoded) list.push_back(*std::move(decoded));
    }
    return list;
  }

  void Erase(Records& records, const Records::key_type& id) REQUIRES(mutex_) {
    const auto found = records.find(id);
    if (found == records.end()) return;
    stats_.held_bytes -= found->second.size();
    records.erase(found);
  }

  // `records` is documents_ or library_.
  Status PutAndEvict(Records MemoryDiskTier::*records, const Records::key_type& id,
                     std::string bytes, std::vector<BlockKey>* gone) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    KVC_RETURN_IF_ERROR(MakeRoom(bytes.size(), gone));
    std::string& held = (this->*records)[id];
    stats_.held_bytes += bytes.size() - held.size();
    held = std::move(bytes);
    return Status();
  }

  void Drop(const BlockKey& key) REQUIRES(mutex_) {
    const auto found = blocks_.find(key);
    if (found == blocks_.end()) return;
    stats_.held_bytes -= found->second.planes.size();
    order_.erase(found->second.place);
    blocks_.erase(found);
  }

  Status MakeRoom(std::uint64_t needed_bytes, std::vector<BlockKey>* gone) REQUIRES(mutex_) {
    std::uint64_t block_bytes = 0;
    for (const auto& [key, block] : blocks_) block_bytes += block.planes.size();
    const std::uint64_t other_bytes = stats_.held_bytes - block_bytes;
    if (needed_bytes > stats_.capacity_bytes ||
        other_bytes > stats_.capacity_bytes - needed_bytes) {
      return Exhausted("batch is " + std::to_string(needed_bytes) + " bytes; the capacity is " +
                       std::to_string(stats_.capacity_bytes) + ", documents hold " +
                       std::to_string(other_bytes));
    }
    while (stats_.held_bytes + needed_bytes > stats_.capacity_bytes) {
      Block& oldest = blocks_.at(order_.front());
      if (std::exchange(oldest.touched, false)) {
        order_.splice(order_.end(), order_, order_.begin());
        continue;
      }
      gone->push_back(order_.front());
      Drop(gone->back());
      ++stats_.evicted_count;
    }
    return Status();
  }

  GoneListener listener_;  // set before the first Write()
  mutable Mutex mutex_;
  std::unordered_map<BlockKey, Block> blocks_ GUARDED_BY(mutex_);
  std::list<BlockKey> order_ GUARDED_BY(mutex_);  // oldest first
  Records documents_ GUARDED_BY(mutex_);
  Records library_ GUARDED_BY(mutex_);
  std::map<std::string, std::string> meta_ GUARDED_BY(mutex_);
  Stats stats_ GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<DiskTier> MakeMemoryDiskTier(std::uint64_t capacity_bytes) {
  return std::make_unique<MemoryDiskTier>(capacity_bytes);
}

}  // namespace kvcommons
