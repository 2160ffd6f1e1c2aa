// The store's side of the disk: loading, writing, removing, the background writer, disk quotas.

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "base/assert.h"
#include "store/store_impl.h"

namespace kvcommons {
namespace {

// One background write: enough to be written at full speed, not so much that a pin waits long.
constexpr std::size_t kMaxBatchBlocks = 64;
constexpr std::uint64_t kMaxBatchBytes = 64ull << 20;

}  // namespace

// --- Busy keys

void StoreImpl::AcquireKeys(std::span<const BlockKey> keys) {
  const auto is_busy = [this](const BlockKey& key)
                           REQUIRES(mutex_) { return busy_.count(key) > 0; };
  while (std::any_of(keys.begin(), keys.end(), is_busy)) busy_released_.Wait(mutex_);
  busy_.insert(keys.begin(), keys.end());
}

void StoreImpl::ReleaseKeys(std::span<const BlockKey> keys) {
  std::vector<BlockKey> gone;
  for (;;) {
    SettleGone(gone);
    gone.clear();
    MutexLock lock(mutex_);
    for (const BlockKey& key : keys) {
      if (gone_while_busy_.erase(key) > 0) gone.push_back(key);
    }
    if (!gone.empty()) continue;
    for (const BlockKey& key : keys) KVC_ASSERT(busy_.erase(key) == 1);
    busy_released_.NotifyAll();
    return;
  }
}

// REQUIRES: this thread holds the keys, so nobody else writes them meanwhile.
void StoreImpl::SettleGone(std::span<const BlockKey> keys) {
  for (const BlockKey& key : keys) {
    if (disk_->Contains(key)) continue;  // Lost, and written anew since.
    MutexLock lock(mutex_);
    if (Index::Entry* const entry = index_.FindOnDisk(key)) MarkNotOnDisk(entry);
  }
}

// --- What the index knows of the disk

void StoreImpl::LoadIndex() {
  MutexLock lock(mutex_);
  disk_->ForEach([this](const DiskTier::Entry& found) REQUIRES(mutex_) {
    const Result<DomainSlot> slot = MakeSlot(found.domain);
    if (!slot.has_value() || index_.Find(*slot, found.key) != nullptr) return;
    Index::Entry& entry = AddEntry(*slot, found.key);
    entry.bytes = static_cast<std::uint32_t>(found.bytes);
    entry.storage_class = static_cast<std::uint32_t>(found.storage_class) & 0x7F;
    entry.on_disk = 1;
    domains_[*slot - 1].disk_bytes += found.bytes;
  });
}

void StoreImpl::MarkNotOnDisk(Index::Entry* entry) {
  if (!entry->on_disk) return;
  domains_[entry->domain - 1].disk_bytes -= entry->bytes;
  entry->on_disk = 0;
  if (entry->memory != nullptr) {
    entry->memory->on_disk = false;
  } else {
    EraseEntry(entry);
  }
}

void StoreImpl::OnGone(std::span<const BlockKey> keys) {
  std::vector<BlockKey> taken;
  {
    MutexLock lock(mutex_);
    for (const BlockKey& key : keys) {
      // No waiting here: the thread that is told may hold other keys.
      if (busy_.insert(key).second) {
        taken.push_back(key);
      } else {
        gone_while_busy_.insert(key);
      }
    }
  }
  SettleGone(taken);
  ReleaseKeys(taken);
}

// --- Loading

Result<std::optional<PinnedBlock>> StoreImpl::PinFromDisk(const DomainId& domain, DomainSlot slot,
                                                          const BlockKey& key) {
  {
    MutexLock lock(mutex_);
    for (;;) {
      Index::Entry* const entry = index_.Find(slot, key);
      if (entry != nullptr && entry->memory != nullptr) {
        ++hit_count_;
        return PinEntry(entry);  // Another pin's load, or the write that was in the way.
      }
      if (entry == nullptr || !entry->on_disk) {
        ++miss_count_;
        return std::nullopt;
      }
      if (busy_.count(key) == 0) break;
      busy_released_.Wait(mutex_);
    }
    busy_.insert(key);
  }

  std::optional<Extent> extent;
  Status refused;
  std::optional<BlockRecord> record = disk_->Read(key, [&](const BlockRecord& found) -> std::byte* {
    if (found.domain != domain || found.block_bytes() > options_.slab_bytes) return nullptr;
    Result<std::vector<Extent>> room = ReserveRoom(slot, {found.block_bytes()});
    if (!room.has_value()) {
      refused = room.error();
      return nullptr;
    }
    extent = room->front();
    return extent->data;
  });

  const std::array<BlockKey, 1> busy{key};
  if (!record.has_value()) {
    {
      MutexLock lock(mutex_);
      if (extent.has_value()) memory_.Unreserve(slot, *extent);
      if (refused.ok()) {
        ++miss_count_;
        if (Index::Entry* const entry = index_.Find(slot, key)) MarkNotOnDisk(entry);
      }
    }
    ReleaseKeys(busy);
    if (!refused.ok()) return Fail(refused);
    return std::nullopt;
  }
  auto block = std::make_unique<MemoryBlock>();
  block->record = std::move(*record);
  block->extent = *extent;
  block->domain = slot;
  block->touched = true;  // The read told the disk tier.
  std::optional<PinnedBlock> pin;
  {
    MutexLock lock(mutex_);
    ++hit_count_;
    if (Index::Entry* const entry = index_.Find(slot, key); entry && entry->memory) {
      // Evicted from disk, and put again, while it was read: the bytes in memory came first.
      memory_.Unreserve(slot, *extent);
      pin = PinEntry(entry);
    } else {
      MemoryBlock* const published = Publish(std::move(block));
      memory_.Pin(*published);
      pin = PinnedBlock(this, published);
    }
  }
  ReleaseKeys(busy);
  return pin;
}

// --- Writing

Status StoreImpl::ChargeDisk(DomainSlot slot, std::uint64_t bytes) {
  for (;;) {
    std::vector<BlockKey> victims;
    {
      MutexLock lock(mutex_);
      Domain& domain = domains_[slot - 1];
      const std::uint64_t quota_bytes = QuotaOf(slot);
      if (domain.disk_bytes + bytes <= quota_bytes) {
        domain.disk_bytes += bytes;
        return {};
      }
      if (bytes > quota_bytes) {
        return Exhausted("a batch of " + std::to_string(bytes) +
                         " bytes is over the domain's disk quota of " +
                         std::to_string(quota_bytes));
      }
      // Any of the domain's own: a walk that goes on where the last one stopped, so all take turns.
      std::uint64_t found_bytes = 0;
      const std::uint64_t wanted_bytes = domain.disk_bytes + bytes - quota_bytes;
      // Under the lock, which the analysis does not see in here.
      index_.Walk(quota_cursor_, [&](const Index::Entry& entry) NO_THREAD_SAFETY_ANALYSIS {
        if (entry.domain == slot && entry.on_disk && busy_.count(entry.key) == 0) {
          victims.push_back(entry.key);
          found_bytes += entry.bytes;
        }
        return found_bytes < wanted_bytes;
      });
      if (found_bytes < wanted_bytes) {
        return Exhausted("the domain's disk quota of " + std::to_string(quota_bytes) +
                         " bytes is taken by writes under way");
      }
      AcquireKeys(victims);
    }
    const Status removed = disk_->Remove(victims);
    if (removed.ok()) {
      MutexLock lock(mutex_);
      for (const BlockKey& key : victims) {
        if (Index::Entry* const entry = index_.Find(slot, key)) MarkNotOnDisk(entry);
      }
    }
    ReleaseKeys(victims);
    if (!removed.ok()) return removed;
  }
}

Status StoreImpl::WriteBlocks(DomainSlot slot, std::span<MemoryBlock* const> blocks) {
  std::vector<BlockKey> keys;
  for (const MemoryBlock* const block : blocks) keys.push_back(block->record.key);
  std::vector<MemoryBlock*> written;
  std::vector<DiskTier::WriteItem> items;
  std::uint64_t bytes = 0;
  Status status;
  {
    MutexLock lock(mutex_);
    AcquireKeys(keys);
    for (MemoryBlock* const block : blocks) {
      if (block->dropped || block->on_disk) continue;
      if (index_.FindOnDisk(block->record.key) != nullptr) {
        // Keys depend on the domain's secret, so two domains never compute the same one.
        status = Internal("block " + block->record.key.ToHex() + " is another domain's on disk");
        break;
      }
      written.push_back(block);
      items.push_back({&block->record, block->extent.data});
      bytes += block->record.block_bytes();
    }
  }
  if (status.ok() && !items.empty()) {
    status = ChargeDisk(slot, bytes);
    if (status.ok()) {
      status = disk_->Write(items);
      if (!status.ok()) {
        MutexLock lock(mutex_);
        domains_[slot - 1].disk_bytes -= bytes;
      }
    }
  }
  std::vector<BlockKey> orphans;
  {
    MutexLock lock(mutex_);
    for (MemoryBlock* const block : written) {
      if (!status.ok()) break;
      if (block->dropped) {
        orphans.push_back(block->record.key);  // Found bad in memory meanwhile.
        domains_[slot - 1].disk_bytes -= block->record.block_bytes();
        continue;
      }
      block->on_disk = true;
      index_.Find(slot, block->record.key)->on_disk = 1;
    }
  }
  if (!orphans.empty()) static_cast<void>(disk_->Remove(orphans));
  ReleaseKeys(keys);
  return status;
}

Result<std::size_t> StoreImpl::RemoveBlocks(DomainSlot slot, std::vector<BlockKey> keys,
                                            std::optional<StorageClass> only) {
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  std::vector<BlockKey> present;
  std::vector<BlockKey> on_disk;
  {
    MutexLock lock(mutex_);
    AcquireKeys(keys);
    for (const BlockKey& key : keys) {
      const Index::Entry* const entry = index_.Find(slot, key);
      if (entry == nullptr) continue;
      if (only && entry->storage_class != static_cast<std::uint32_t>(*only)) continue;
      present.push_back(key);
      if (entry->on_disk) on_disk.push_back(key);
    }
  }
  const Status removed = on_disk.empty() ? Status() : disk_->Remove(on_disk);
  if (removed.ok()) {
    MutexLock lock(mutex_);
    for (const BlockKey& key : present) {
      Index::Entry* const entry = index_.Find(slot, key);
      if (entry == nullptr) continue;
      if (entry->on_disk) domains_[slot - 1].disk_bytes -= entry->bytes;
      MemoryBlock* const block = entry->memory;
      EraseEntry(entry);
      if (block != nullptr) memory_.Drop(*block);
    }
  }
  ReleaseKeys(keys);
  if (!removed.ok()) return Fail(removed);
  return present.size();
}

Result<bool> StoreImpl::Remove(const DomainId& domain, const BlockKey& key) {
  DomainSlot slot = 0;
  {
    MutexLock lock(mutex_);
    slot = FindSlot(domain);
    if (slot == 0 || index_.Find(slot, key) == nullptr) return false;
  }
  const Result<std::size_t> removed = RemoveBlocks(slot, {key}, std::nullopt);
  if (!removed.has_value()) return Fail(removed.error());
  return *removed > 0;
}

// --- The background writer

std::uint64_t StoreImpl::QueueRoom() const {
  return queued_bytes_ < queue_capacity_bytes_ ? queue_capacity_bytes_ - queued_bytes_ : 0;
}

void StoreImpl::Enqueue(MemoryBlock& block) {
  if (block.queued || block.on_disk || block.extent.bytes > QueueRoom()) return;
  block.queued = true;
  queued_bytes_ += block.extent.bytes;
  queue_.push_back({block.domain, block.record.key, block.extent.bytes});
  writer_work_.NotifyOne();
}

std::vector<MemoryBlock*> StoreImpl::TakeBatch(DomainSlot* slot) {
  std::vector<MemoryBlock*> batch;
  std::uint64_t bytes = 0;
  *slot = queue_.empty() ? 0 : queue_.front().domain;
  while (!queue_.empty() && queue_.front().domain == *slot && batch.size() < kMaxBatchBlocks &&
         bytes < kMaxBatchBytes) {
    const QueuedWrite next = queue_.front();
    queue_.pop_front();
    queued_bytes_ -= next.bytes;
    Index::Entry* const entry = index_.Find(next.domain, next.key);
    // A block that left meanwhile is not waited for: held is no promise.
    if (entry == nullptr || entry->memory == nullptr || entry->on_disk) continue;
    if (!entry->memory->queued) continue;  // Queued twice: it left and came back in between.
    entry->memory->queued = false;
    memory_.Pin(*entry->memory);
    batch.push_back(entry->memory);
    bytes += next.bytes;
  }
  return batch;
}

void StoreImpl::RunWriter() {
  for (;;) {
    DomainSlot slot = 0;
    std::vector<MemoryBlock*> batch;
    std::optional<DocumentId> document;
    {
      MutexLock lock(mutex_);
      while (!stopping_ && queue_.empty() && document_queue_.empty()) writer_work_.Wait(mutex_);
      if (queue_.empty() && document_queue_.empty()) return;
      batch = TakeBatch(&slot);
      if (!document_queue_.empty()) {
        document = document_queue_.front();
        document_queue_.pop_front();
      }
    }
    if (!batch.empty()) {
      // A failure is counted and told by the disk tier; the blocks stay in memory.
      static_cast<void>(WriteBlocks(slot, batch));
      MutexLock lock(mutex_);
      for (MemoryBlock* const block : batch) memory_.Unpin(*block);
    }
    if (document.has_value()) static_cast<void>(WriteDocument(*document, nullptr));
  }
}

Status StoreImpl::Flush() {
  if (disk_ == nullptr) return Unavailable("flush: this store has no disk");
  Status result;
  const auto note = [&result](Status status) {
    if (result.ok()) result = std::move(status);
  };
  std::vector<QueuedWrite> held;
  std::vector<DocumentId> documents;
  {
    MutexLock lock(mutex_);
    index_.ForEach([&](const Index::Entry& entry) {
      if (entry.memory != nullptr && !entry.on_disk) {
        held.push_back({entry.domain, entry.key, entry.bytes});
      }
    });
    for (const auto& [id, document] : pending_documents_) documents.push_back(id);
  }
  std::stable_sort(held.begin(), held.end(),
                   [](const QueuedWrite& a, const QueuedWrite& b) { return a.domain < b.domain; });
  for (std::size_t next = 0; next < held.size();) {
    std::vector<MemoryBlock*> batch;
    const DomainSlot slot = held[next].domain;
    std::uint64_t bytes = 0;
    {
      MutexLock lock(mutex_);
      for (; next < held.size() && held[next].domain == slot && batch.size() < kMaxBatchBlocks &&
             bytes < kMaxBatchBytes;
           ++next) {
        Index::Entry* const entry = index_.Find(slot, held[next].key);
        if (entry == nullptr || entry->memory == nullptr || entry->on_disk) continue;
        memory_.Pin(*entry->memory);
        batch.push_back(entry->memory);
        bytes += entry->bytes;
      }
    }
    note(WriteBlocks(slot, batch));
    MutexLock lock(mutex_);
    for (MemoryBlock* const block : batch) memory_.Unpin(*block);
  }
  for (const DocumentId& id : documents) note(WriteDocument(id, nullptr));
  return result;
}

}  // namespace kvcommons
