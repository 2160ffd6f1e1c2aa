#include "store/arena.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/assert.h"

namespace kvcommons {

Arena::Arena(std::uint64_t capacity_bytes, std::uint64_t slab_bytes)
    : capacity_bytes_(capacity_bytes), slab_bytes_(slab_bytes) {
  KVC_ASSERT(slab_bytes > 0 && slab_bytes % kExtentAlignment == 0);
}

std::optional<Extent> Arena::Allocate(DomainSlot domain, std::uint64_t bytes) {
  const std::uint64_t needed = RoundUp(bytes);
  if (needed == 0 || needed > slab_bytes_) return std::nullopt;
  for (auto& [id, slab] : slabs_) {
    if (slab.domain != domain || slab.largest_free_bytes < needed) continue;
    const auto hole = std::find_if(slab.free.begin(), slab.free.end(),
                                   [needed](const auto& run) { return run.second >= needed; });
    if (hole == slab.free.end()) {
      slab.largest_free_bytes = 0;
      for (const auto& run : slab.free) {
        slab.largest_free_bytes = std::max(slab.largest_free_bytes, run.second);
      }
      continue;
    }
    const auto [offset, run_bytes] = *hole;
    slab.free.erase(hole);
    if (run_bytes > needed) slab.free.emplace(offset + needed, run_bytes - needed);
    slab.used_bytes += needed;
    return Extent{slab.memory->data() + offset, offset, needed, id};
  }
  return std::nullopt;
}

void Arena::Free(const Extent& extent) {
  Slab* const slab = Find(extent.slab_id);
  KVC_ASSERT(slab != nullptr && slab->used_bytes >= extent.bytes);
  slab->used_bytes -= extent.bytes;
  auto [run, inserted] = slab->free.emplace(extent.offset_bytes, extent.bytes);
  KVC_ASSERT(inserted);
  if (const auto next = std::next(run); next != slab->free.end()) {
    KVC_ASSERT(run->first + run->second <= next->first);
    if (run->first + run->second == next->first) {
      run->second += next->second;
      slab->free.erase(next);
    }
  }
  if (run != slab->free.begin()) {
    const auto previous = std::prev(run);
    KVC_ASSERT(previous->first + previous->second <= run->first);
    if (previous->first + previous->second == run->first) {
      previous->second += run->second;
      slab->free.erase(run);
      run = previous;
    }
  }
  slab->largest_free_bytes = std::max(slab->largest_free_bytes, run->second);
}

bool Arena::ReserveSlab() {
  if (free_places() == 0) return false;
  ++slab_count_;
  return true;
}

void Arena::UnreserveSlab() {
  KVC_ASSERT(slab_count_ > slabs_.size() + spares_.size());
  --slab_count_;
}

void Arena::AddSlab(DomainSlot domain, std::unique_ptr<SlabMemory> memory) {
  KVC_ASSERT(slab_count_ > slabs_.size() + spares_.size());
  KVC_ASSERT(domain != 0 && memory->size_bytes() == slab_bytes_);
  Slab slab;
  slab.memory = std::move(memory);
  slab.domain = domain;
  slab.free.emplace(0, slab_bytes_);
  slab.largest_free_bytes = slab_bytes_;
  slabs_.emplace(next_slab_id_++, std::move(slab));
}

void Arena::AddSpare(std::unique_ptr<SlabMemory> memory) {
  KVC_ASSERT(slab_count_ > slabs_.size() + spares_.size());
  spares_.push_back(std::move(memory));
}

bool Arena::GiveSpare(DomainSlot domain) {
  if (spares_.empty()) return false;
  std::unique_ptr<SlabMemory> memory = std::move(spares_.back());
  spares_.pop_back();
  AddSlab(domain, std::move(memory));
  return true;
}

std::unique_ptr<SlabMemory> Arena::TakeSlab(std::uint32_t slab_id) {
  const auto found = slabs_.find(slab_id);
  KVC_ASSERT(found != slabs_.end() && found->second.used_bytes == 0);
  std::unique_ptr<SlabMemory> memory = std::move(found->second.memory);
  slabs_.erase(found);
  return memory;
}

Arena::Slab* Arena::Find(std::uint32_t slab_id) {
  const auto found = slabs_.find(slab_id);
  return found == slabs_.end() ? nullptr : &found->second;
}

const Arena::Slab* Arena::Find(std::uint32_t slab_id) const {
  const auto found = slabs_.find(slab_id);
  return found == slabs_.end() ? nullptr : &found->second;
}

std::uint64_t Arena::FreeBytesOf(DomainSlot domain) const {
  std::uint64_t bytes = 0;
  for (const auto& [id, slab] : slabs_) {
    if (slab.domain == domain) bytes += slab_bytes_ - slab.used_bytes;
  }
  return bytes;
}

}  // namespace kvcommons
