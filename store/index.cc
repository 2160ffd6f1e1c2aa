#include "store/index.h"

#include <cstring>
#include <utility>

#include "base/assert.h"

namespace kvcommons {
namespace {

constexpr std::size_t kMinPartCapacity = 16;

// A part is full at 4/5 of its slots; linear probing grows slow soon after.
bool IsFull(std::size_t size, std::size_t capacity) { return 5 * size >= 4 * capacity; }

}  // namespace

std::uint64_t Index::HashOf(const BlockKey& key) {
  // Keys are hash output already; the multiplication only spreads keys made by hand, in tests.
  std::uint64_t low, high;
  std::memcpy(&low, key.bytes.data(), 8);
  std::memcpy(&high, key.bytes.data() + 8, 8);
  const std::uint64_t mixed = (low ^ (high * 0x9E3779B97F4A7C15u)) * 0xD6E8FEB86659FD93u;
  return mixed ^ (mixed >> 32);
}

std::size_t Index::HomeOf(const Part& part, std::uint64_t hash) {
  // The top 32 bits after the part's own 8, scaled to the capacity: no power of two is needed.
  return static_cast<std::size_t>((((hash << 8) >> 32) * part.capacity) >> 32);
}

Index::Entry* Index::Find(DomainSlot domain, const BlockKey& key) {
  return const_cast<Entry*>(std::as_const(*this).Find(domain, key));
}

const Index::Entry* Index::Find(DomainSlot domain, const BlockKey& key) const {
  const std::uint64_t hash = HashOf(key);
  const Part& part = parts_[hash >> 56];
  if (part.capacity == 0) return nullptr;
  for (std::size_t i = HomeOf(part, hash);;) {
    const Entry& entry = part.entries[i];
    if (entry.domain == 0) return nullptr;
    if (entry.domain == domain && entry.key == key) return &entry;
    if (++i == part.capacity) i = 0;
  }
}

Index::Entry* Index::FindOnDisk(const BlockKey& key) {
  const std::uint64_t hash = HashOf(key);
  const Part& part = parts_[hash >> 56];
  if (part.capacity == 0) return nullptr;
  for (std::size_t i = HomeOf(part, hash); part.entries[i].domain != 0;) {
    if (part.entries[i].on_disk && part.entries[i].key == key) return &part.entries[i];
    if (++i == part.capacity) i = 0;
  }
  return nullptr;
}

void Index::Prefetch(const BlockKey& key) const {
  const std::uint64_t hash = HashOf(key);
  const Part& part = parts_[hash >> 56];
  if (part.capacity > 0) __builtin_prefetch(&part.entries[HomeOf(part, hash)]);
}

Index::Entry& Index::Insert(DomainSlot domain, const BlockKey& key) {
  KVC_ASSERT(domain != 0 && domain <= kMaxDomainSlot);
  const std::uint64_t hash = HashOf(key);
  Part& part = parts_[hash >> 56];
  if (IsFull(part.size + 1, part.capacity)) Grow(part);
  std::size_t i = HomeOf(part, hash);
  while (part.entries[i].domain != 0) {
    KVC_ASSERT(part.entries[i].domain != domain || part.entries[i].key != key);
    if (++i == part.capacity) i = 0;
  }
  Entry& entry = part.entries[i];
  entry.key = key;
  entry.domain = domain & kMaxDomainSlot;
  ++part.size;
  ++size_;
  return entry;
}

void Index::Erase(Entry* entry) {
  Part& part = parts_[HashOf(entry->key) >> 56];
  std::size_t hole = static_cast<std::size_t>(entry - part.entries.get());
  KVC_ASSERT(hole < part.capacity && entry->domain != 0);
  // Close the gap: move up every later entry of the run whose home is not past the hole.
  for (std::size_t i = hole;;) {
    if (++i == part.capacity) i = 0;
    if (part.entries[i].domain == 0) break;
    const std::size_t home = HomeOf(part, HashOf(part.entries[i].key));
    const std::size_t from_home = i >= home ? i - home : i + part.capacity - home;
    const std::size_t from_hole = i >= hole ? i - hole : i + part.capacity - hole;
    if (from_home >= from_hole) {
      part.entries[hole] = part.entries[i];
      hole = i;
    }
  }
  part.entries[hole] = Entry{};
  --part.size;
  --size_;
}

void Index::Grow(Part& part) {
  const std::size_t capacity =
      part.capacity == 0 ? kMinPartCapacity : part.capacity + part.capacity / 2;
  Part grown;
  grown.entries = std::make_unique<Entry[]>(capacity);
  grown.capacity = capacity;
  grown.size = part.size;
  for (std::size_t i = 0; i < part.capacity; ++i) {
    if (part.entries[i].domain == 0) continue;
    std::size_t j = HomeOf(grown, HashOf(part.entries[i].key));
    while (grown.entries[j].domain != 0) {
      if (++j == capacity) j = 0;
    }
    grown.entries[j] = part.entries[i];
  }
  capacity_ += capacity - part.capacity;
  part = std::move(grown);
}

}  // namespace kvcommons
