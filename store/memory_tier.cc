#include "store/memory_tier.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/assert.h"

namespace kvcommons {

MemoryTier::~MemoryTier() {
  std::vector<std::unique_ptr<MemoryBlock>> blocks;
  for (const DomainUse& use : uses_) {
    use.order.ForEach(
        [&](EvictionNode& node) { blocks.emplace_back(static_cast<MemoryBlock*>(&node)); });
  }
}

MemoryTier::DomainUse& MemoryTier::UseOf(DomainSlot domain) {
  KVC_ASSERT(domain != 0);
  if (uses_.size() < domain) uses_.resize(domain);
  return uses_[domain - 1];
}

const MemoryTier::DomainUse* MemoryTier::FindUse(DomainSlot domain) const {
  return domain == 0 || uses_.size() < domain ? nullptr : &uses_[domain - 1];
}

MemoryTier::Room MemoryTier::Reserve(DomainSlot domain, std::uint64_t quota_bytes,
                                     std::uint64_t queue_bytes,
                                     std::span<const std::uint64_t> sizes,
                                     Reservation& reservation) {
  DomainUse& use = UseOf(domain);
  std::vector<Extent>& extents = reservation.extents;
  std::uint64_t missing_bytes = 0;
  for (std::size_t i = extents.size(); i < sizes.size(); ++i) {
    missing_bytes += Arena::RoundUp(sizes[i]);
  }
  // Said before anything leaves.
  if (use.pinned_bytes + missing_bytes > quota_bytes) return Room::kRefused;
  const std::uint64_t own_bytes =
      arena_.FreeBytesOf(domain) + use.held_bytes - use.pinned_bytes +
      (arena_.free_places() + arena_.spare_count() + spares_in_making) * arena_.slab_bytes();
  if (own_bytes < missing_bytes && own_bytes + ReclaimableBytes(domain) < missing_bytes) {
    return Room::kRefused;
  }

  while (extents.size() < sizes.size()) {
    const std::uint64_t bytes = Arena::RoundUp(sizes[extents.size()]);
    if (use.held_bytes + bytes > quota_bytes) {
      if (!EvictOne(use, queue_bytes, reservation)) return Room::kRefused;
      continue;
    }
    if (const std::optional<Extent> extent = arena_.Allocate(domain, bytes)) {
      use.held_bytes += extent->bytes;
      AddPinned(use, *extent);
      arena_.Find(extent->slab_id)->last_use = ++tick_;
      extents.push_back(*extent);
      continue;
    }
    if (arena_.GiveSpare(domain)) continue;
    if (arena_.ReserveSlab()) return Room::kNeedsSlab;
    if (spares_in_making > 0) return Room::kAwaitSlab;
    const std::uint32_t foreign = ColdestForeignSlab(domain);
    if (foreign != 0 && arena_.Find(foreign)->last_use < ColdestUseOf(domain)) {
      ReclaimSlab(foreign, reservation);
      return Room::kNeedsSlab;
    }
    if (EvictOne(use, queue_bytes, reservation)) continue;
    if (foreign == 0) return Room::kRefused;
    ReclaimSlab(foreign, reservation);
    return Room::kNeedsSlab;
  }
  return Room::kTaken;
}

void MemoryTier::Unreserve(DomainSlot domain, const Extent& extent) {
  DomainUse& use = UseOf(domain);
  SubtractPinned(use, extent);
  FreeExtent(use, extent);
}

MemoryBlock* MemoryTier::Insert(std::unique_ptr<MemoryBlock> block) {
  DomainUse& use = UseOf(block->domain);
  block->hash = std::hash<BlockKey>{}(block->record.key);
  block->bytes = block->extent.bytes;
  use.order.Insert(*block);
  ++use.block_count;
  ++block_count_;
  SubtractPinned(use, block->extent);
  return block.release();
}

MemoryBlock* MemoryTier::InsertDropped(std::unique_ptr<MemoryBlock> block) {
  // A reserved extent is a pinned one: it stays so.
  block->pins = 1;
  block->dropped = true;
  return block.release();
}

void MemoryTier::Pin(MemoryBlock& block) {
  KVC_ASSERT(!block.dropped);
  DomainUse& use = UseOf(block.domain);
  if (block.pins++ == 0) AddPinned(use, block.extent);
  use.order.Touch(block);
  arena_.Find(block.extent.slab_id)->last_use = ++tick_;
}

void MemoryTier::Unpin(MemoryBlock& block) {
  KVC_ASSERT(block.pins > 0);
  if (--block.pins > 0) return;
  DomainUse& use = UseOf(block.domain);
  SubtractPinned(use, block.extent);
  if (block.dropped) {
    FreeExtent(use, block.extent);
    delete &block;
  }
}

void MemoryTier::Drop(MemoryBlock& block) {
  KVC_ASSERT(!block.dropped);
  DomainUse& use = UseOf(block.domain);
  use.order.Remove(block);
  --use.block_count;
  --block_count_;
  block.dropped = true;
  if (block.pins == 0) {
    FreeExtent(use, block.extent);
    delete &block;
  }
}

void MemoryTier::Shrink(DomainSlot domain, std::uint64_t quota_bytes, Reservation& reservation) {
  DomainUse& use = UseOf(domain);
  while (use.held_bytes > quota_bytes && EvictOne(use, 0, reservation)) {
  }
}

bool MemoryTier::EvictOne(DomainUse& use, std::uint64_t queue_bytes, Reservation& reservation) {
  std::uint64_t queued_bytes = 0;
  for (const MemoryBlock* block : reservation.to_write) queued_bytes += block->extent.bytes;
  // First choice: what is on disk, or cannot get there. A block that the queue has room for stays
  // for the moment, to be written.
  EvictionNode* node = use.order.Evict([&](EvictionNode& candidate) {
    auto& block = static_cast<MemoryBlock&>(candidate);
    if (block.pins > 0 || block.queued) return false;
    if (block.on_disk || queued_bytes + block.extent.bytes > queue_bytes) return true;
    block.queued = true;
    queued_bytes += block.extent.bytes;
    reservation.to_write.push_back(&block);
    return false;
  });
  if (node == nullptr) {
    node = use.order.Evict(
        [](EvictionNode& candidate) { return static_cast<MemoryBlock&>(candidate).pins == 0; });
  }
  if (node == nullptr) return false;
  auto* const block = static_cast<MemoryBlock*>(node);
  std::erase(reservation.to_write, block);
  --use.block_count;
  --block_count_;
  ++evicted_count_;
  FreeExtent(use, block->extent);
  reservation.evicted.emplace_back(block);
  return true;
}

void MemoryTier::ReclaimSlab(std::uint32_t slab_id, Reservation& reservation) {
  DomainUse& use = UseOf(arena_.Find(slab_id)->domain);
  std::vector<MemoryBlock*> leaving;
  use.order.ForEach([&](EvictionNode& node) {
    auto& block = static_cast<MemoryBlock&>(node);
    if (block.extent.slab_id == slab_id) leaving.push_back(&block);
  });
  for (MemoryBlock* const block : leaving) {
    KVC_ASSERT(block->pins == 0);
    use.order.Remove(*block);
    --use.block_count;
    --block_count_;
    ++evicted_count_;
    FreeExtent(use, block->extent);
    reservation.evicted.emplace_back(block);
  }
  reservation.slabs_to_close.push_back(arena_.TakeSlab(slab_id));
}

std::uint32_t MemoryTier::ColdestForeignSlab(DomainSlot domain) const {
  std::uint32_t coldest = 0;
  std::uint64_t last_use = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [id, slab] : arena_.slabs()) {
    if (slab.domain == domain || slab.pin_count > 0) continue;
    const std::uint64_t use = slab.used_bytes == 0 ? 0 : slab.last_use;
    if (coldest == 0 || use < last_use) {
      coldest = id;
      last_use = use;
    }
  }
  return coldest;
}

std::uint64_t MemoryTier::ColdestUseOf(DomainSlot domain) const {
  std::uint64_t coldest = std::numeric_limits<std::uint64_t>::max();
  for (const auto& [id, slab] : arena_.slabs()) {
    if (slab.domain == domain) coldest = std::min(coldest, slab.last_use);
  }
  return coldest;
}

std::uint64_t MemoryTier::ReclaimableBytes(DomainSlot domain) const {
  std::uint64_t bytes = 0;
  for (const auto& [id, slab] : arena_.slabs()) {
    if (slab.domain != domain && slab.pin_count == 0) bytes += arena_.slab_bytes();
  }
  return bytes;
}

void MemoryTier::AddPinned(DomainUse& use, const Extent& extent) {
  use.pinned_bytes += extent.bytes;
  pinned_bytes_ += extent.bytes;
  ++arena_.Find(extent.slab_id)->pin_count;
}

void MemoryTier::SubtractPinned(DomainUse& use, const Extent& extent) {
  KVC_ASSERT(use.pinned_bytes >= extent.bytes && pinned_bytes_ >= extent.bytes);
  use.pinned_bytes -= extent.bytes;
  pinned_bytes_ -= extent.bytes;
  --arena_.Find(extent.slab_id)->pin_count;
}

void MemoryTier::FreeExtent(DomainUse& use, const Extent& extent) {
  KVC_ASSERT(use.held_bytes >= extent.bytes);
  use.held_bytes -= extent.bytes;
  arena_.Free(extent);
}

}  // namespace kvcommons
