// What the store's tests share: blocks whose bytes follow from a number, and a small store. For
// tests only.

#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "store/disk_testing.h"
#include "store/store.h"

namespace kvcommons {

constexpr std::uint64_t kTestSlabBytes = 64 * kKiB;
constexpr std::uint32_t kTestBlockBytes = 16 * kKiB;  // four to a slab

inline Clock& TestClock() {
  static SystemClock clock;
  return clock;
}

// `slabs` slabs of four blocks each, no spares made ahead.
inline Store::Options SmallStore(std::uint64_t slabs, std::unique_ptr<DiskTier> disk = nullptr) {
  Store::Options options;
  options.arena_bytes = slabs * kTestSlabBytes;
  options.slab_bytes = kTestSlabBytes;
  options.disk = std::move(disk);
  options.clock = &TestClock();
  options.spare_slabs = 0;
  return options;
}

inline std::unique_ptr<Store> OpenStore(Store::Options options) {
  Result<std::unique_ptr<Store>> store = Store::Open(std::move(options));
  KVC_ASSERT(store.has_value());
  return std::move(*store);
}

// On the disk tier that the daemon opens.
inline std::unique_ptr<Store> OpenInFolder(const TestFolder& folder, std::uint64_t slabs) {
  Result<std::unique_ptr<DiskTier>> disk =
      OpenDiskTier({.folder = folder.path() + "/store", .capacity_bytes = 32 * kMiB});
  KVC_ASSERT(disk.has_value());
  return OpenStore(SmallStore(slabs, std::move(*disk)));
}

inline Result<Store::PutOutcome> PutBlocks(Store& store, const std::vector<TestBlock>& blocks,
                                           Ack ack = Ack::kHeld) {
  std::vector<Store::PutItem> items;
  for (const TestBlock& block : blocks) items.push_back({block.record, block.planes.data()});
  return store.Put(blocks.front().record.domain, items, ack);
}

// An item that writes the block's bytes instead of pointing at them. REQUIRES: `block` outlives it.
inline Store::PutItem FillItem(const TestBlock& block) {
  Store::PutItem item;
  item.record = block.record;
  item.record.checksum = {};  // The store's to find.
  item.fill = [&block](std::byte* place) {
    std::memcpy(place, block.planes.data(), block.planes.size());
  };
  return item;
}

inline Result<std::vector<PinnedBlock>> PutTransient(Store& store,
                                                     const std::vector<TestBlock>& blocks) {
  std::vector<Store::PutItem> items;
  for (const TestBlock& block : blocks) items.push_back(FillItem(block));
  return store.PutTransient(blocks.front().record.domain, items);
}

inline Code CodeOf(const Result<std::vector<PinnedBlock>>& result) {
  return result.has_value() ? Code::kOk : result.error().code();
}

inline Code CodeOf(const Result<Store::PutOutcome>& result) {
  return result.has_value() ? Code::kOk : result.error().code();
}

inline std::vector<TestBlock> MakeBlocks(std::uint64_t first, std::uint64_t count,
                                         std::uint8_t domain = 1,
                                         std::uint32_t bytes = kTestBlockBytes) {
  std::vector<TestBlock> blocks;
  for (std::uint64_t n = first; n < first + count; ++n) {
    blocks.push_back(MakeTestBlock(n, bytes, domain));
  }
  return blocks;
}

// Whether a pin of the block answers exactly its bytes.
inline bool PinsWhole(Store& store, const TestBlock& block) {
  const auto pin = store.Pin(block.record.domain, block.record.key);
  return pin.has_value() && pin->has_value() && (*pin)->bytes().size() == block.planes.size() &&
         std::memcmp((*pin)->bytes().data(), block.planes.data(), block.planes.size()) == 0;
}

}  // namespace kvcommons
