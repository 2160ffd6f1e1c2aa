// Index: which blocks exist, for whom, and where: the one table that covers memory and disk.
//
// Made for tens of millions of blocks: 32 bytes an entry, open addressing, linear probing without
// tombstones, growth by half, in 256 parts that grow one at a time, so that no insert moves more
// than a 256th of the table. 40 to 64 bytes a block once there are more than a few thousand.
// Entries of one key in two domains are two entries: a lookup never tells a domain of another's
// (I7). Thread safety: none; the caller synchronises.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/ids.h"
#include "store/arena.h"
#include "store/block_record.h"

namespace kvcommons {

struct MemoryBlock;

class Index {
 public:
  static constexpr DomainSlot kMaxDomainSlot = (1u << 24) - 1;

  struct Entry {
    BlockKey key;
    MemoryBlock* memory = nullptr;  // null: on disk only
    std::uint32_t bytes = 0;        // planes, not rounded
    std::uint32_t domain : 24 = 0;  // 0: the slot is free
    std::uint32_t on_disk : 1 = 0;
    std::uint32_t storage_class : 7 = 0;
  };
  static_assert(sizeof(Entry) == 32);

  // Null: a miss. An entry's address is valid until the next Insert() or Erase().
  Entry* Find(DomainSlot domain, const BlockKey& key);
  const Entry* Find(DomainSlot domain, const BlockKey& key) const;
  // The entry of the key that is on disk, whoever it belongs to. Null: none is.
  Entry* FindOnDisk(const BlockKey& key);
  // Brings the place where Find() will begin into the cache.
  void Prefetch(const BlockKey& key) const;

  // REQUIRES: absent; domain in [1, kMaxDomainSlot].
  Entry& Insert(DomainSlot domain, const BlockKey& key);
  // REQUIRES: `entry` came from this index and nothing changed since.
  void Erase(Entry* entry);

  // Visits every entry; `visit` must not insert or erase.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    for (const Part& part : parts_) {
      for (std::size_t i = 0; i < part.capacity; ++i) {
        if (part.entries[i].domain != 0) visit(part.entries[i]);
      }
    }
  }

  // Visits entries from a cursor on, around the whole table once at most, while `visit` answers
  // true. Starts where the last walk stopped; so repeated short walks meet every entry in turn.
  template <typename Visit>
  void Walk(std::uint64_t& cursor, Visit&& visit) const {
    const std::size_t first_part = (cursor >> 32) % kPartCount;
    const std::size_t first =
        std::min<std::size_t>(cursor & 0xFFFFFFFF, parts_[first_part].capacity);
    for (std::size_t step = 0; step <= kPartCount; ++step) {
      const std::size_t part = (first_part + step) % kPartCount;
      const std::size_t end = step == kPartCount ? first : parts_[part].capacity;
      for (std::size_t i = step == 0 ? first : 0; i < end; ++i) {
        const Entry& entry = parts_[part].entries[i];
        if (entry.domain != 0 && !visit(entry)) {
          cursor = (std::uint64_t{part} << 32) | (i + 1);
          return;
        }
      }
    }
  }

  std::uint64_t size() const { return size_; }
  std::uint64_t memory_bytes() const { return sizeof(*this) + capacity_ * sizeof(Entry); }

 private:
  static constexpr std::size_t kPartCount = 256;

  struct Part {
    std::unique_ptr<Entry[]> entries;
    std::size_t capacity = 0;
    std::size_t size = 0;
  };

  static std::uint64_t HashOf(const BlockKey& key);
  static std::size_t HomeOf(const Part& part, std::uint64_t hash);
  void Grow(Part& part);

  std::array<Part, kPartCount> parts_;
  std::uint64_t size_ = 0;
  std::uint64_t capacity_ = 0;
};

}  // namespace kvcommons
