// MemoryTier: who has which part of the arena, and who leaves when there is no room.
//
// Within a domain blocks leave in the order of its S3-FIFO. Between domains memory moves by whole
// slabs (a slab is never shared): when the capacity is used up, the coldest slab of another domain
// goes if it is colder than anything of one's own. A domain at its quota only ever evicts its own
// blocks. Guarantees: pinned blocks keep their place (I2); slabs <= capacity, and each domain's
// extents <= its quota, at every instant (I9). A request that cannot be met evicts nothing, unless
// only fragmentation stood in its way. Thread safety: none, and no system calls: the store calls it
// under its lock, and makes and closes slab memory outside it.

#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "store/arena.h"
#include "store/memory_block.h"
#include "store/s3_fifo.h"

namespace kvcommons {

class MemoryTier {
 public:
  struct DomainUse {
    std::uint64_t held_bytes = 0;    // extents, reserved ones too
    std::uint64_t pinned_bytes = 0;  // of held: reserved or pinned
    std::uint64_t block_count = 0;
    S3Fifo order;
  };

  // Room that is taken, step by step. What it lists the caller carries out.
  struct Reservation {
    std::vector<Extent> extents;
    std::vector<std::unique_ptr<MemoryBlock>> evicted;        // to leave the index
    std::vector<MemoryBlock*> to_write;                       // passed over: to be queued for disk
    std::vector<std::unique_ptr<SlabMemory>> slabs_to_close;  // before another one is made
  };
  enum class Room {
    kTaken,      // extents are complete
    kNeedsSlab,  // a place was reserved: make a slab, AddSlab(), ask again
    kAwaitSlab,  // a spare is being made: ask again when it is there
    kRefused,    // nothing more can leave; extents taken so far are for Unreserve()
  };

  MemoryTier(std::uint64_t capacity_bytes, std::uint64_t slab_bytes)
      : arena_(capacity_bytes, slab_bytes) {}
  ~MemoryTier();
  MemoryTier(const MemoryTier&) = delete;
  MemoryTier& operator=(const MemoryTier&) = delete;

  // Continues `reservation` until it has an extent for each of `sizes`. `quota_bytes` bounds the
  // domain; `queue_bytes` is how much the write queue still takes, 0 without a disk.
  Room Reserve(DomainSlot domain, std::uint64_t quota_bytes, std::uint64_t queue_bytes,
               std::span<const std::uint64_t> sizes, Reservation& reservation);
  void Unreserve(DomainSlot domain, const Extent& extent);

  // Takes over a block whose extent was reserved; it can be evicted from now on.
  MemoryBlock* Insert(std::unique_ptr<MemoryBlock> block);
  // The same for a block that is dropped from the beginning: pinned once, in no order, not counted.
  MemoryBlock* InsertDropped(std::unique_ptr<MemoryBlock> block);
  void Pin(MemoryBlock& block);
  // Frees a dropped block with its last pin.
  void Unpin(MemoryBlock& block);
  // Out of the tier: freed now, or with its last pin.
  void Drop(MemoryBlock& block);
  // Evicts until the domain holds at most `quota_bytes`, as far as pins allow.
  void Shrink(DomainSlot domain, std::uint64_t quota_bytes, Reservation& reservation);

  // A domain's use; made at first mention.
  DomainUse& UseOf(DomainSlot domain);
  const DomainUse* FindUse(DomainSlot domain) const;
  Arena& arena() { return arena_; }
  const Arena& arena() const { return arena_; }
  std::uint64_t pinned_bytes() const { return pinned_bytes_; }
  std::uint64_t block_count() const { return block_count_; }
  std::uint64_t evicted_count() const { return evicted_count_; }

  // Spares that some thread is making right now.
  std::uint32_t spares_in_making = 0;

 private:
  bool EvictOne(DomainUse& use, std::uint64_t queue_bytes, Reservation& reservation);
  void ReclaimSlab(std::uint32_t slab_id, Reservation& reservation);
  // Slab ids; 0: none. Foreign slabs with a pin cannot go.
  std::uint32_t ColdestForeignSlab(DomainSlot domain) const;
  std::uint64_t ColdestUseOf(DomainSlot domain) const;
  std::uint64_t ReclaimableBytes(DomainSlot domain) const;
  void AddPinned(DomainUse& use, const Extent& extent);
  void SubtractPinned(DomainUse& use, const Extent& extent);
  void FreeExtent(DomainUse& use, const Extent& extent);

  Arena arena_;
  std::deque<DomainUse> uses_;  // by slot - 1; addresses are stable
  std::uint64_t tick_ = 0;
  std::uint64_t pinned_bytes_ = 0;
  std::uint64_t block_count_ = 0;
  std::uint64_t evicted_count_ = 0;
};

}  // namespace kvcommons
