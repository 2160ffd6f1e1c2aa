// Extents: aligned, disjoint, merged when freed, never across domains; slabs: bounded, sealed.

#include "store/arena.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <random>

namespace kvcommons {
namespace {

constexpr std::uint64_t kSlab = 64 << 10;  // 16 pages
constexpr std::uint64_t kPage = Arena::kExtentAlignment;

void GiveSlab(Arena& arena, DomainSlot domain) {
  ASSERT_TRUE(arena.ReserveSlab());
  auto memory = SlabMemory::Create(kSlab);
  ASSERT_TRUE(memory.has_value()) << memory.error().ToString();
  arena.AddSlab(domain, std::move(*memory));
}

TEST(ArenaTest, ExtentsAreAlignedAndRoundedUp) {
  Arena arena(kSlab, kSlab);
  GiveSlab(arena, 1);
  const auto first = arena.Allocate(1, 1);
  const auto second = arena.Allocate(1, kPage + 1);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->bytes, kPage);
  EXPECT_EQ(second->bytes, 2 * kPage);
  EXPECT_EQ(second->offset_bytes, kPage);
}

TEST(ArenaTest, AWholeSlabFitsAndOneByteMoreIsRefused) {
  Arena arena(kSlab, kSlab);
  GiveSlab(arena, 1);
  EXPECT_FALSE(arena.Allocate(1, kSlab + 1));
  EXPECT_FALSE(arena.Allocate(1, 0));
  EXPECT_TRUE(arena.Allocate(1, kSlab));
}

TEST(ArenaTest, FreedNeighboursMergeInAnyOrder) {
  Arena arena(kSlab, kSlab);
  GiveSlab(arena, 1);
  for (const auto& order :
       {std::array{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}) {
    std::array<Extent, 3> extents;
    for (Extent& extent : extents) extent = *arena.Allocate(1, 5 * kPage);
    ASSERT_FALSE(arena.Allocate(1, 2 * kPage));
    for (const int i : order) arena.Free(extents[static_cast<std::size_t>(i)]);
    const auto whole = arena.Allocate(1, kSlab);
    ASSERT_TRUE(whole);
    arena.Free(*whole);
  }
}

TEST(ArenaTest, ADomainNeverGetsRoomInAnothersSlab) {
  Arena arena(2 * kSlab, kSlab);
  GiveSlab(arena, 1);
  EXPECT_FALSE(arena.Allocate(2, 1));
  GiveSlab(arena, 2);
  EXPECT_NE(arena.Allocate(2, 1)->slab_id, arena.Allocate(1, 1)->slab_id);
}

TEST(ArenaTest, WholeSlabsAreCountedAndTheCapacityIsNeverPassed) {
  Arena arena(2 * kSlab + kSlab - 1, kSlab);
  GiveSlab(arena, 1);
  EXPECT_EQ(arena.held_bytes(), kSlab);
  ASSERT_TRUE(arena.ReserveSlab());
  EXPECT_FALSE(arena.ReserveSlab()) << "a reserved place counts";
  arena.UnreserveSlab();
  EXPECT_TRUE(arena.ReserveSlab());
}

TEST(ArenaTest, ATakenSlabsIdIsNotUsedAgain) {
  Arena arena(kSlab, kSlab);
  GiveSlab(arena, 1);
  const std::uint32_t id = arena.slabs().begin()->first;
  arena.TakeSlab(id).reset();
  arena.UnreserveSlab();
  EXPECT_EQ(arena.held_bytes(), 0u);
  GiveSlab(arena, 2);
  EXPECT_NE(arena.slabs().begin()->first, id);
  EXPECT_EQ(arena.Find(id), nullptr);
}

TEST(ArenaTest, RandomExtentsNeverOverlapAndAllRoomComesBack) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  Arena arena(2 * kSlab, kSlab);
  GiveSlab(arena, 1);
  GiveSlab(arena, 1);
  std::map<std::byte*, Extent> live;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      const auto extent = arena.Allocate(1, 1 + random() % (6 * kPage));
      if (!extent) continue;
      const auto [place, inserted] = live.emplace(extent->data, *extent);
      ASSERT_TRUE(inserted) << "seed=" << seed;
      if (place != live.begin()) {
        const Extent& before = std::prev(place)->second;
        ASSERT_LE(before.data + before.bytes, extent->data) << "seed=" << seed;
      }
      if (const auto next = std::next(place); next != live.end()) {
        ASSERT_LE(extent->data + extent->bytes, next->first) << "seed=" << seed;
      }
    } else if (!live.empty()) {
      const auto one = std::next(live.begin(), static_cast<long>(random() % live.size()));
      arena.Free(one->second);
      live.erase(one);
    }
  }
  for (const auto& [data, extent] : live) arena.Free(extent);
  EXPECT_EQ(arena.FreeBytesOf(1), 2 * kSlab) << "seed=" << seed;
  EXPECT_TRUE(arena.Allocate(1, kSlab)) << "seed=" << seed;
  EXPECT_TRUE(arena.Allocate(1, kSlab)) << "seed=" << seed;
}

TEST(SlabMemoryTest, IsSealedAgainstResizingNewWritersAndMoreSeals) {
  const auto slab = SlabMemory::Create(kSlab);
  ASSERT_TRUE(slab.has_value());
  const int fd = (*slab)->fd();
  (*slab)->data()[0] = std::byte{42};  // Our own mapping writes on.
  EXPECT_EQ(fcntl(fd, F_GET_SEALS),
            F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
  EXPECT_NE(ftruncate(fd, kSlab / 2), 0);
  EXPECT_NE(ftruncate(fd, 2 * kSlab), 0);
  EXPECT_NE(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
  const char byte = 1;
  EXPECT_EQ(pwrite(fd, &byte, 1, 0), -1);
  EXPECT_EQ(mmap(nullptr, kSlab, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  void* const mapped = mmap(nullptr, kSlab, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(*static_cast<std::byte*>(mapped), std::byte{42});
  munmap(mapped, kSlab);
}

}  // namespace
}  // namespace kvcommons
