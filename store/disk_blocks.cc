#include "store/disk_blocks.h"

#include <algorithm>

#include "base/assert.h"

namespace kvcommons {

bool DiskBlocks::Insert(const BlockKey& key, const Entry& entry) {
  MutexLock lock(mutex_);
  const auto [domain, is_new] =
      domain_indices_.emplace(entry.domain, static_cast<std::uint32_t>(domains_.size()));
  if (is_new) domains_.push_back(entry.domain);
  KVC_ASSERT(domains_.size() < (std::size_t{1} << 29));
  Block block;
  block.place = entry.place;
  block.domain = domain->second & ((1u << 29) - 1);
  block.storage_class = static_cast<std::uint32_t>(entry.storage_class) & 3u;
  if (!blocks_.emplace(key, block).second) return false;
  Arrive(key, entry.place);
  return true;
}

void DiskBlocks::Erase(const BlockKey& key) {
  MutexLock lock(mutex_);
  const auto found = blocks_.find(key);
  if (found == blocks_.end()) return;
  Leave(found->second.place);
  blocks_.erase(found);
}

void DiskBlocks::Move(const BlockKey& key, const ExtentPlace& place) {
  MutexLock lock(mutex_);
  Block& block = blocks_.at(key);
  Leave(block.place);
  block.place = place;
  block.touched = 0;
  Arrive(key, place);
}

void DiskBlocks::Touch(const BlockKey& key) {
  MutexLock lock(mutex_);
  const auto found = blocks_.find(key);
  if (found != blocks_.end()) found->second.touched = 1;
}

bool DiskBlocks::Contains(const BlockKey& key) const {
  MutexLock lock(mutex_);
  return blocks_.contains(key);
}

std::optional<ExtentPlace> DiskBlocks::Find(const BlockKey& key) const {
  MutexLock lock(mutex_);
  const auto found = blocks_.find(key);
  if (found == blocks_.end()) return std::nullopt;
  return found->second.place;
}

std::optional<DiskBlocks::Entry> DiskBlocks::FindEntry(const BlockKey& key) const {
  MutexLock lock(mutex_);
  const auto found = blocks_.find(key);
  if (found == blocks_.end()) return std::nullopt;
  return EntryOf(found->second);
}

std::uint64_t DiskBlocks::count() const {
  MutexLock lock(mutex_);
  return blocks_.size();
}

std::vector<DiskTier::Entry> DiskBlocks::List() const {
  MutexLock lock(mutex_);
  std::vector<DiskTier::Entry> list;
  list.reserve(blocks_.size());
  for (const auto& [key, block] : blocks_) {
    const Entry entry = EntryOf(block);
    list.push_back({key, entry.domain, entry.place.bytes, entry.storage_class});
  }
  return list;
}

DiskBlocks::FileUse DiskBlocks::UseOf(std::uint32_t file) const {
  MutexLock lock(mutex_);
  const auto found = files_.find(file);
  return found == files_.end() ? FileUse{} : found->second.use;
}

std::vector<DiskBlocks::Resident> DiskBlocks::ResidentsOf(std::uint32_t file) const {
  MutexLock lock(mutex_);
  std::vector<Resident> residents;
  const auto found = files_.find(file);
  if (found == files_.end()) return residents;
  for (const BlockKey& key : found->second.keys) {
    const auto block = blocks_.find(key);
    if (block == blocks_.end() || block->second.place.file != file) continue;
    residents.push_back({key, EntryOf(block->second), block->second.touched != 0});
  }
  // A key that left and came back is in the list twice. After a start the order is the index's.
  const auto page_of = [](const Resident& resident) { return resident.entry.place.page; };
  std::sort(residents.begin(), residents.end(),
            [&](const Resident& a, const Resident& b) { return page_of(a) < page_of(b); });
  residents.erase(std::unique(residents.begin(), residents.end(),
                              [](const Resident& a, const Resident& b) { return a.key == b.key; }),
                  residents.end());
  return residents;
}

void DiskBlocks::ForgetFile(std::uint32_t file) {
  MutexLock lock(mutex_);
  const auto found = files_.find(file);
  if (found == files_.end()) return;
  KVC_ASSERT(found->second.use.live_bytes == 0);
  files_.erase(found);
}

DiskBlocks::Entry DiskBlocks::EntryOf(const Block& block) const {
  return {block.place, domains_[block.domain], static_cast<StorageClass>(block.storage_class)};
}

void DiskBlocks::Arrive(const BlockKey& key, const ExtentPlace& place) {
  File& file = files_[place.file];
  file.use.live_bytes += RoundUpToPage(place.bytes);
  file.use.end_bytes = std::max(file.use.end_bytes, place.end_bytes());
  file.keys.push_back(key);
}

void DiskBlocks::Leave(const ExtentPlace& place) {
  files_.at(place.file).use.live_bytes -= RoundUpToPage(place.bytes);
}

}  // namespace kvcommons
