// Arena: block memory in slabs, each of one sharing domain.
//
// Guarantees: slabs, counted whole, never exceed the capacity; no byte of a slab is ever shared by
// two domains, not even one after the other; ids of slabs are never reused. Bookkeeping only: it
// makes no system call, since its callers hold a lock. Making and closing slab memory is theirs,
// outside it: ReserveSlab() takes a slab's place in the capacity, then AddSlab() or AddSpare()
// fills it. Thread safety: none; the caller synchronises. Refuses: an extent that is larger than a
// slab.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "store/slab_memory.h"

namespace kvcommons {

// A domain's number within one Store. 0 is nobody.
using DomainSlot = std::uint32_t;

struct Extent {
  std::byte* data = nullptr;
  std::uint64_t offset_bytes = 0;  // in the slab, a multiple of kExtentAlignment
  std::uint64_t bytes = 0;         // rounded up to kExtentAlignment
  std::uint32_t slab_id = 0;
};

class Arena {
 public:
  static constexpr std::uint64_t kExtentAlignment = 4096;

  static constexpr std::uint64_t RoundUp(std::uint64_t bytes) {
    return (bytes + kExtentAlignment - 1) / kExtentAlignment * kExtentAlignment;
  }

  struct Slab {
    std::unique_ptr<SlabMemory> memory;
    DomainSlot domain = 0;
    std::uint64_t used_bytes = 0;
    std::uint64_t last_use = 0;   // the caller's tick; the smallest is the coldest
    std::uint32_t pin_count = 0;  // extents whose place must stay, kept by the caller
    std::map<std::uint64_t, std::uint64_t> free;  // offset to bytes; never adjacent
    std::uint64_t largest_free_bytes = 0;         // an upper bound, exact after a failed search
  };

  // REQUIRES: both positive multiples of kExtentAlignment.
  Arena(std::uint64_t capacity_bytes, std::uint64_t slab_bytes);

  // First fit in the domain's slabs. nullopt: none has room.
  std::optional<Extent> Allocate(DomainSlot domain, std::uint64_t bytes);
  void Free(const Extent& extent);

  // Takes a place for one more slab; false when the capacity has none.
  bool ReserveSlab();
  void UnreserveSlab();
  // Both fill a reserved place. A spare belongs to nobody until GiveSpare().
  void AddSlab(DomainSlot domain, std::unique_ptr<SlabMemory> memory);
  void AddSpare(std::unique_ptr<SlabMemory> memory);
  bool GiveSpare(DomainSlot domain);
  // Takes out an empty slab, to be closed by the caller; its place stays reserved.
  std::unique_ptr<SlabMemory> TakeSlab(std::uint32_t slab_id);

  // Null: no such slab.
  Slab* Find(std::uint32_t slab_id);
  const Slab* Find(std::uint32_t slab_id) const;
  const std::map<std::uint32_t, Slab>& slabs() const { return slabs_; }

  std::uint64_t slab_bytes() const { return slab_bytes_; }
  std::uint64_t capacity_bytes() const { return capacity_bytes_; }
  // Counts reserved places and spares, too.
  std::uint64_t held_bytes() const { return slab_count_ * slab_bytes_; }
  std::uint64_t slab_count() const { return slab_count_; }
  std::uint64_t free_places() const { return capacity_bytes_ / slab_bytes_ - slab_count_; }
  std::size_t spare_count() const { return spares_.size(); }
  // Free bytes in slabs of the domain.
  std::uint64_t FreeBytesOf(DomainSlot domain) const;

 private:
  const std::uint64_t capacity_bytes_;
  const std::uint64_t slab_bytes_;
  std::map<std::uint32_t, Slab> slabs_;
  std::vector<std::unique_ptr<SlabMemory>> spares_;
  std::uint64_t slab_count_ = 0;
  std::uint32_t next_slab_id_ = 1;
};

}  // namespace kvcommons
