// What people and monitoring ask of a store: listing, checking, figures.

#include <algorithm>
#include <utility>

#include "store/store_impl.h"

namespace kvcommons {

std::vector<Store::BlockInfo> StoreImpl::List(const DomainId& domain, std::size_t limit) const {
  std::vector<BlockInfo> list;
  {
    MutexLock lock(mutex_);
    const DomainSlot slot = FindSlot(domain);
    std::uint64_t cursor = 0;
    if (slot != 0 && limit > 0) {
      index_.Walk(cursor, [&](const Index::Entry& entry) {
        if (entry.domain != slot) return true;
        BlockInfo info{};
        info.key = entry.key;
        info.storage_class = static_cast<StorageClass>(entry.storage_class);
        info.bytes = entry.bytes;
        info.in_memory = entry.memory != nullptr;
        info.on_disk = entry.on_disk != 0;
        if (entry.memory != nullptr) {
          const BlockRecord& record = entry.memory->record;
          info.token_count = static_cast<std::uint32_t>(record.tokens.size());
          info.origin = record.origin;
          info.created_us = record.created_us;
          info.pins = entry.memory->pins;
        }
        list.push_back(info);
        return list.size() < limit;
      });
    }
  }
  for (BlockInfo& info : list) {
    if (info.in_memory) continue;
    if (const std::optional<BlockRecord> record = disk_->ReadRecord(info.key)) {
      info.token_count = static_cast<std::uint32_t>(record->tokens.size());
      info.origin = record->origin;
      info.created_us = record->created_us;
    }
  }
  return list;
}

Result<Store::VerifyReport> StoreImpl::Verify(const DomainId& domain) {
  std::vector<BlockKey> keys;
  DomainSlot slot = 0;
  {
    MutexLock lock(mutex_);
    slot = FindSlot(domain);
    index_.ForEach([&](const Index::Entry& entry) {
      if (entry.domain == slot) keys.push_back(entry.key);
    });
  }
  VerifyReport report;
  std::vector<std::byte> scratch;
  const std::uint64_t quarantined_before =
      disk_ == nullptr ? 0 : disk_->GetStats().quarantined_count;
  for (const BlockKey& key : keys) {
    std::optional<PinnedBlock> pin;
    bool on_disk = false;
    {
      MutexLock lock(mutex_);
      Index::Entry* const entry = index_.Find(slot, key);
      if (entry == nullptr) continue;  // Left meanwhile.
      pin = PinEntry(entry);
      on_disk = entry->on_disk != 0;
    }
    if (pin.has_value()) {
      ++report.checked;
      report.bytes += pin->bytes().size();
      if (ChecksumOf(pin->bytes().data(), pin->bytes().size()) != pin->record().checksum) {
        ++report.bad;
        DropBad(pin->block_);
      }
    }
    if (!on_disk) continue;
    const std::optional<BlockRecord> record =
        disk_->Read(key, [&](const BlockRecord& found) -> std::byte* {
          if (found.domain != domain) return nullptr;
          scratch.resize(found.block_bytes());
          return scratch.data();
        });
    ++report.checked;
    if (record.has_value()) report.bytes += record->block_bytes();
  }
  // A read that failed because the block was evicted meanwhile is not a bad one: only the tier
  // knows.
  if (disk_ != nullptr) report.bad += disk_->GetStats().quarantined_count - quarantined_before;
  return report;
}

Store::Stats StoreImpl::GetStats() const {
  Stats stats;
  if (disk_ != nullptr) {
    stats.has_disk = true;
    stats.disk = disk_->GetStats();
  }
  MutexLock lock(mutex_);
  stats.arena_capacity_bytes = memory_.arena().capacity_bytes();
  stats.arena_held_bytes = memory_.arena().held_bytes();
  stats.arena_pinned_bytes = memory_.pinned_bytes();
  stats.slab_count = memory_.arena().slab_count();
  stats.slab_made_count = slab_made_count_;
  stats.slab_made_us = slab_made_us_;
  stats.block_count = memory_.block_count();
  stats.hit_count = hit_count_;
  stats.miss_count = miss_count_;
  stats.evicted_count = memory_.evicted_count();
  stats.refused_count = refused_count_;
  stats.index_bytes = index_.memory_bytes();
  stats.index_entries = index_.size();
  stats.write_queue_bytes = queued_bytes_;
  stats.bad_block_count = bad_block_count_ + stats.disk.quarantined_count;
  for (std::size_t i = 0; i < domains_.size(); ++i) {
    const Domain& domain = domains_[i];
    DomainStats one;
    one.domain = domain.id;
    one.arena_bytes = memory_.FindUse(static_cast<DomainSlot>(i + 1))->held_bytes;
    one.disk_bytes = domain.disk_bytes;
    one.quota_bytes = domain.quota_bytes == 0 ? options_.arena_bytes : domain.quota_bytes;
    one.blocks = domain.block_count;
    stats.domains.push_back(one);
  }
  return stats;
}

}  // namespace kvcommons
