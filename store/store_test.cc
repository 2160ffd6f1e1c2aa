// What the store is held to in memory: bytes come back as committed (I1), pinned blocks keep their
// place (I2), domains do not see each other (I7), memory is bounded at every instant (I9). Slabs
// hold four blocks, so every test can be checked by hand.

#include "store/store.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <latch>
#include <random>
#include <thread>

#include "store/store_test_support.h"

namespace kvcommons {
namespace {

TEST(StoreTest, PinReturnsTheCommittedBytesBitForBit) {
  const auto store = OpenStore(SmallStore(2));
  const auto blocks = MakeBlocks(0, 3);
  const auto put = PutBlocks(*store, blocks);
  ASSERT_TRUE(put.has_value()) << put.error().ToString();
  EXPECT_EQ(put->stored, 3u);
  for (const TestBlock& block : blocks) EXPECT_TRUE(PinsWhole(*store, block));
}

TEST(StoreTest, MissIsEmptyAndNotAnError) {
  const auto store = OpenStore(SmallStore(1));
  const auto pin = store->Pin(TestDomain(1), TestKey(1));
  ASSERT_TRUE(pin.has_value());
  EXPECT_FALSE(pin->has_value());
  EXPECT_FALSE(store->PinIfInMemory(TestDomain(1), TestKey(1)).has_value());
  EXPECT_EQ(store->GetStats().miss_count, 2u);
}

TEST(StoreTest, MatchPrefixCountsLeadingKeysOnly) {
  const auto store = OpenStore(SmallStore(2));
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 3)).has_value());
  const std::vector<BlockKey> keys{TestKey(0), TestKey(1), TestKey(9), TestKey(2)};
  EXPECT_EQ(store->MatchPrefix(TestDomain(1), keys), 2u);
  EXPECT_EQ(store->MatchPrefix(TestDomain(1), {}), 0u);
}

TEST(StoreTest, FirstCommitOfAKeyWins) {
  const auto store = OpenStore(SmallStore(1));
  const auto first = MakeBlocks(1, 1);
  auto second = first;
  second[0].planes[0] ^= std::byte{1};
  ASSERT_TRUE(PutBlocks(*store, first).has_value());
  const auto put = PutBlocks(*store, second);
  ASSERT_TRUE(put.has_value());
  EXPECT_EQ(put->stored, 0u);
  EXPECT_EQ(put->present, 1u);
  EXPECT_TRUE(PinsWhole(*store, first[0]));
}

TEST(StoreTest, AKeyTwiceInOneBatchIsStoredOnce) {
  const auto store = OpenStore(SmallStore(1));
  auto blocks = MakeBlocks(1, 1);
  blocks.push_back(blocks[0]);
  const auto put = PutBlocks(*store, blocks);
  ASSERT_TRUE(put.has_value());
  EXPECT_EQ(put->stored, 1u);
  EXPECT_EQ(put->present, 1u);
}

TEST(StoreTest, AnotherDomainsKeyIsAMissAndItsSlabIsRefused) {
  const auto store = OpenStore(SmallStore(2));
  const auto blocks = MakeBlocks(1, 1, /*domain=*/1);
  ASSERT_TRUE(PutBlocks(*store, blocks).has_value());
  const DomainId other = TestDomain(2);
  EXPECT_FALSE(store->Contains(other, TestKey(1)));
  EXPECT_EQ(store->MatchPrefix(other, std::vector<BlockKey>{TestKey(1)}), 0u);
  EXPECT_FALSE(store->Pin(other, TestKey(1))->has_value());
  EXPECT_TRUE(store->List(other, 10).empty());
  EXPECT_FALSE(*store->Remove(other, TestKey(1)));

  const auto pin = store->Pin(TestDomain(1), TestKey(1));
  EXPECT_GE(store->SlabFd(TestDomain(1), (*pin)->slab_id()), 0);
  EXPECT_EQ(store->SlabFd(other, (*pin)->slab_id()), -1);

  // And its own block of the same key is its own.
  auto own = MakeBlocks(1, 1, /*domain=*/2);
  own[0].planes[7] ^= std::byte{1};
  const auto put = PutBlocks(*store, own);
  ASSERT_TRUE(put.has_value());
  EXPECT_EQ(put->stored, 1u);
  EXPECT_TRUE(PinsWhole(*store, blocks[0]));
  EXPECT_TRUE(PinsWhole(*store, own[0]));
}

TEST(StoreTest, SlabDescriptorShowsTheBlockAndCannotBeMappedWritable) {
  const auto store = OpenStore(SmallStore(1));
  const auto blocks = MakeBlocks(1, 2);
  ASSERT_TRUE(PutBlocks(*store, blocks).has_value());
  const auto pin = store->Pin(TestDomain(1), TestKey(2));
  const int fd = store->SlabFd(TestDomain(1), (*pin)->slab_id());
  EXPECT_EQ(mmap(nullptr, kTestSlabBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  void* const mapped = mmap(nullptr, kTestSlabBytes, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_EQ(std::memcmp(static_cast<std::byte*>(mapped) + (*pin)->slab_offset_bytes(),
                        blocks[1].planes.data(), kTestBlockBytes),
            0);
  EXPECT_NE(mprotect(mapped, kTestSlabBytes, PROT_READ | PROT_WRITE), 0);
  munmap(mapped, kTestSlabBytes);
}

TEST(StoreTest, PinnedBlockSurvivesPressureAtTheSameAddress) {
  const auto store = OpenStore(SmallStore(2));
  const auto blocks = MakeBlocks(0, 1);
  ASSERT_TRUE(PutBlocks(*store, blocks).has_value());
  const auto pin = store->Pin(TestDomain(1), TestKey(0));
  const std::byte* const address = (*pin)->bytes().data();
  for (std::uint64_t n = 1; n <= 80; ++n) {
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(n, 1)).has_value()) << "block " << n;
  }
  EXPECT_EQ((*pin)->bytes().data(), address);
  EXPECT_EQ(std::memcmp(address, blocks[0].planes.data(), kTestBlockBytes), 0);
  EXPECT_GT(store->GetStats().evicted_count, 0u);
}

TEST(StoreTest, PutIsRefusedAtOnceWhileAllIsPinnedAndWorksAfterOneRelease) {
  const auto store = OpenStore(SmallStore(1));
  std::vector<PinnedBlock> pins;
  for (std::uint64_t n = 0; n < 4; ++n) {
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(n, 1)).has_value());
    pins.push_back(*store->PinIfInMemory(TestDomain(1), TestKey(n)));
  }
  EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(9, 1))), Code::kExhausted);
  EXPECT_EQ(store->GetStats().refused_count, 1u);
  pins.pop_back();
  EXPECT_TRUE(PutBlocks(*store, MakeBlocks(9, 1)).has_value());
}

TEST(StoreTest, ABatchThatCannotFitEvictsAndStoresNothing) {
  const auto store = OpenStore(SmallStore(1));
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 3)).has_value());
  EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(10, 5))), Code::kExhausted);
  EXPECT_EQ(store->GetStats().evicted_count, 0u);
  EXPECT_EQ(store->GetStats().block_count, 3u);
  for (std::uint64_t n = 10; n < 15; ++n) EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(n)));
  EXPECT_EQ(store->GetStats().arena_pinned_bytes, 0u);
}

TEST(StoreTest, ADomainAtItsQuotaEvictsItsOwnBlocksOnly) {
  const auto store = OpenStore(SmallStore(4));
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 4, 1)).has_value());
  store->SetQuota(TestDomain(2), 2 * kTestBlockBytes);
  for (std::uint64_t n = 100; n < 120; ++n) {
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(n, 1, 2)).has_value());
    for (const Store::DomainStats& domain : store->GetStats().domains) {
      if (domain.domain != TestDomain(2)) continue;
      EXPECT_LE(domain.arena_bytes, 2u * kTestBlockBytes);
    }
  }
  for (std::uint64_t n = 0; n < 4; ++n) EXPECT_TRUE(store->Contains(TestDomain(1), TestKey(n)));
  EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(200, 3, 2))), Code::kExhausted);
}

TEST(StoreTest, ADomainWithoutMemoryTakesTheColdestSlabAndNeverAPinnedOne) {
  const auto store = OpenStore(SmallStore(2));
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 8, 1)).has_value());
  const auto pin = store->Pin(TestDomain(1), TestKey(0));
  const std::uint32_t kept_slab = (*pin)->slab_id();
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(100, 1, 2)).has_value());
  EXPECT_LE(store->GetStats().arena_held_bytes, 2 * kTestSlabBytes);
  EXPECT_GE(store->SlabFd(TestDomain(1), kept_slab), 0);
  EXPECT_EQ(store->GetStats().evicted_count, 4u);
  const auto new_pin = store->Pin(TestDomain(2), TestKey(100));
  EXPECT_GT((*new_pin)->slab_id(), 2u) << "a slab's id, and memory, must not pass on";
  // Both slabs pinned now: a third domain is refused.
  EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(200, 1, 3))), Code::kExhausted);
}

TEST(StoreTest, RemovedBlockStaysReadableUntilReleased) {
  const auto store = OpenStore(SmallStore(1));
  const auto blocks = MakeBlocks(1, 1);
  ASSERT_TRUE(PutBlocks(*store, blocks).has_value());
  {
    const auto pin = store->Pin(TestDomain(1), TestKey(1));
    EXPECT_TRUE(*store->Remove(TestDomain(1), TestKey(1)));
    EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(1)));
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(2, 3)).has_value());
    EXPECT_EQ(std::memcmp((*pin)->bytes().data(), blocks[0].planes.data(), kTestBlockBytes), 0);
    EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(10, 4))), Code::kExhausted);
  }
  EXPECT_TRUE(PutBlocks(*store, MakeBlocks(10, 4)).has_value());
  EXPECT_FALSE(*store->Remove(TestDomain(1), TestKey(1)));
}

TEST(StoreTest, BadBytesInMemoryAreFoundDroppedAndCounted) {
  const auto store = OpenStore(SmallStore(1));
  const auto blocks = MakeBlocks(1, 1);
  ASSERT_TRUE(PutBlocks(*store, blocks).has_value());
  {
    const auto pin = store->Pin(TestDomain(1), TestKey(1));
    const_cast<std::byte*>((*pin)->bytes().data())[100] ^= std::byte{4};
  }
  int pins = 1;
  while (store->PinIfInMemory(TestDomain(1), TestKey(1)).has_value()) ASSERT_LT(++pins, 1024);
  EXPECT_EQ(pins, 1023) << "one pin in 1024 is checked";
  EXPECT_EQ(store->GetStats().bad_block_count, 1u);
  EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(1)));
}

TEST(StoreTest, VerifyFindsEveryBadBlockAtOnce) {
  const auto store = OpenStore(SmallStore(1));
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 3)).has_value());
  {
    const auto pin = store->Pin(TestDomain(1), TestKey(1));
    const_cast<std::byte*>((*pin)->bytes().data())[0] ^= std::byte{1};
  }
  const auto report = store->Verify(TestDomain(1));
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->checked, 3u);
  EXPECT_EQ(report->bad, 1u);
  EXPECT_EQ(report->bytes, 3u * kTestBlockBytes);
  EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(1)));
  EXPECT_EQ(store->Verify(TestDomain(1))->bad, 0u);
}

TEST(StoreTest, MisSizedInputIsRefusedWithTheLimitAndChangesNothing) {
  const auto store = OpenStore(SmallStore(2));
  EXPECT_TRUE(PutBlocks(*store, MakeBlocks(1, 1, 1, kTestSlabBytes)).has_value()) << "at the limit";
  const auto over = PutBlocks(*store, MakeBlocks(2, 1, 1, kTestSlabBytes + 4));
  ASSERT_EQ(CodeOf(over), Code::kInvalidArgument);
  EXPECT_NE(over.error().message().find("65536"), std::string::npos) << over.error().message();

  auto foreign = MakeBlocks(3, 1);
  const Store::PutItem item{foreign[0].record, foreign[0].planes.data()};
  EXPECT_EQ(CodeOf(store->Put(TestDomain(2), std::span(&item, 1), Ack::kHeld)),
            Code::kInvalidArgument);
  const Store::PutItem null_item{foreign[0].record, nullptr};
  EXPECT_EQ(CodeOf(store->Put(TestDomain(1), std::span(&null_item, 1), Ack::kHeld)),
            Code::kInvalidArgument);
  auto no_tokens = MakeBlocks(4, 1);
  no_tokens[0].record.tokens.clear();
  EXPECT_EQ(CodeOf(PutBlocks(*store, no_tokens)), Code::kInvalidArgument);
  EXPECT_EQ(store->GetStats().index_entries, 1u);
}

TEST(StoreTest, ABlockCanBeWrittenAtItsPlaceByACall) {
  const auto store = OpenStore(SmallStore(1));
  const TestBlock block = MakeBlocks(1, 1)[0];
  std::uint32_t calls = 0;
  Store::PutItem item = FillItem(block);
  item.fill = [&, write = item.fill](std::byte* place) {
    ++calls;
    store->GetStats();  // Without the store's lock: it would not come back from here.
    write(place);
  };
  const std::vector<Store::PutItem> twice{item, item};
  const auto put = store->Put(TestDomain(1), twice, Ack::kHeld);
  ASSERT_TRUE(put.has_value()) << put.error().ToString();
  EXPECT_EQ(put->stored, 1u);
  ASSERT_TRUE(store->Put(TestDomain(1), twice, Ack::kHeld).has_value());
  EXPECT_EQ(calls, 1u) << "a present key is not written again";
  EXPECT_TRUE(PinsWhole(*store, block));
  EXPECT_EQ((*store->Pin(TestDomain(1), TestKey(1)))->record().checksum, block.record.checksum);
  EXPECT_EQ(store->Verify(TestDomain(1))->bad, 0u);
}

TEST(StoreTest, ABlockWithBothBytesAndACallOrNeitherIsRefusedByName) {
  const auto store = OpenStore(SmallStore(1));
  const TestBlock block = MakeBlocks(1, 1)[0];
  Store::PutItem both = FillItem(block);
  both.planes = block.planes.data();
  for (const Store::PutItem& item : {both, Store::PutItem{block.record}}) {
    const auto put = store->Put(TestDomain(1), std::span(&item, 1), Ack::kHeld);
    ASSERT_EQ(CodeOf(put), Code::kInvalidArgument);
    EXPECT_NE(put.error().message().find(TestKey(1).ToHex()), std::string::npos);
    EXPECT_EQ(CodeOf(store->PutTransient(TestDomain(1), std::span(&item, 1))),
              Code::kInvalidArgument);
  }
  EXPECT_EQ(store->GetStats().index_entries, 0u);
}

TEST(StoreTest, TransientBlocksAreReadAtTheirPlaceAndFreedWithTheirPins) {
  const auto store = OpenStore(SmallStore(1));
  const auto blocks = MakeBlocks(1, 2);
  {
    auto pins = PutTransient(*store, blocks);
    ASSERT_TRUE(pins.has_value()) << pins.error().ToString();
    ASSERT_EQ(pins->size(), 2u);
    EXPECT_EQ(store->GetStats().arena_pinned_bytes, 2u * kTestBlockBytes);
    EXPECT_EQ(store->GetStats().domains[0].arena_bytes, 2u * kTestBlockBytes);
    // Whatever comes and goes around them, they stay.
    for (std::uint64_t n = 10; n < 30; ++n) {
      ASSERT_TRUE(PutBlocks(*store, MakeBlocks(n, 2)).has_value());
    }
    for (std::size_t i = 0; i < 2; ++i) {
      const PinnedBlock& pin = (*pins)[i];
      EXPECT_EQ(pin.record().key, blocks[i].record.key);
      EXPECT_EQ(pin.record().checksum, blocks[i].record.checksum);
      const int fd = store->SlabFd(TestDomain(1), pin.slab_id());
      EXPECT_EQ(store->SlabFd(TestDomain(2), pin.slab_id()), -1);
      std::vector<std::byte> read(kTestBlockBytes);
      ASSERT_EQ(pread(fd, read.data(), read.size(), static_cast<off_t>(pin.slab_offset_bytes())),
                static_cast<ssize_t>(read.size()));
      EXPECT_EQ(read, blocks[i].planes);
      EXPECT_EQ(std::memcmp(pin.bytes().data(), read.data(), read.size()), 0);
    }
    EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(40, 3))), Code::kExhausted);
    pins->pop_back();
    EXPECT_EQ(store->GetStats().arena_pinned_bytes, 1u * kTestBlockBytes);
    EXPECT_TRUE(PutBlocks(*store, MakeBlocks(40, 3)).has_value());
  }
  EXPECT_EQ(store->GetStats().arena_pinned_bytes, 0u);
  EXPECT_EQ(store->GetStats().domains[0].arena_bytes, 3u * kTestBlockBytes);
  EXPECT_TRUE(PutBlocks(*store, MakeBlocks(50, 4)).has_value());
}

TEST(StoreTest, TransientBlocksAreUnderNoKeyAndInNoList) {
  const auto store = OpenStore(SmallStore(2));
  auto stored = MakeBlocks(1, 1);
  ASSERT_TRUE(PutBlocks(*store, stored).has_value());
  auto blocks = MakeBlocks(1, 2);
  blocks.push_back(blocks[1]);  // Twice the same key is two blocks.
  blocks[0].planes[0] ^= std::byte{1};
  const auto pins = PutTransient(*store, blocks);
  ASSERT_TRUE(pins.has_value()) << pins.error().ToString();
  ASSERT_EQ(pins->size(), 3u);
  EXPECT_TRUE(PinsWhole(*store, stored[0])) << "the stored block of an equal key is another";
  EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(2)));
  EXPECT_FALSE(store->Pin(TestDomain(1), TestKey(2))->has_value());
  EXPECT_FALSE(store->PinIfInMemory(TestDomain(1), TestKey(2)).has_value());
  EXPECT_FALSE(*store->Remove(TestDomain(1), TestKey(2)));
  EXPECT_EQ(store->List(TestDomain(1), 10).size(), 1u);
  EXPECT_EQ(store->Verify(TestDomain(1))->checked, 1u);
  const Store::Stats stats = store->GetStats();
  EXPECT_EQ(stats.block_count, 1u);
  EXPECT_EQ(stats.index_entries, 1u);
  EXPECT_EQ(stats.domains[0].blocks, 1u);
  const auto put = PutBlocks(*store, {MakeBlocks(2, 1)});
  ASSERT_TRUE(put.has_value());
  EXPECT_EQ(put->stored, 1u);
}

TEST(StoreTest, ATransientBatchWithoutRoomIsRefusedWholeAndChangesNothing) {
  const auto store = OpenStore(SmallStore(4));
  store->SetQuota(TestDomain(1), 3 * kTestBlockBytes);
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(1, 2)).has_value());
  const auto refused = PutTransient(*store, MakeBlocks(10, 4));
  ASSERT_EQ(CodeOf(refused), Code::kExhausted);
  EXPECT_EQ(store->GetStats().arena_pinned_bytes, 0u);
  EXPECT_EQ(store->GetStats().domains[0].arena_bytes, 2u * kTestBlockBytes);
  EXPECT_EQ(store->GetStats().evicted_count, 0u);
  // At the limit the domain's stored blocks make room; what is pinned does not.
  const auto pins = PutTransient(*store, MakeBlocks(10, 3));
  ASSERT_TRUE(pins.has_value()) << pins.error().ToString();
  EXPECT_EQ(store->GetStats().domains[0].arena_bytes, 3u * kTestBlockBytes);
  EXPECT_EQ(CodeOf(PutTransient(*store, MakeBlocks(20, 1))), Code::kExhausted);
  EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(20, 1))), Code::kExhausted);
}

TEST(StoreTest, DurablePutWithoutADiskIsUnavailableAndStoresNothing) {
  const auto store = OpenStore(SmallStore(1));
  EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(1, 1), Ack::kDurable)), Code::kUnavailable);
  EXPECT_EQ(store->GetStats().block_count, 0u);
  EXPECT_EQ(store->Flush().code(), Code::kUnavailable);
}

TEST(StoreTest, OpenRefusesSizesOutsideItsLimits) {
  auto options = SmallStore(1);
  options.arena_bytes = kTestSlabBytes - 1;
  EXPECT_EQ(Store::Open(std::move(options)).error().code(), Code::kInvalidArgument);
  options = SmallStore(1);
  options.slab_bytes = kTestSlabBytes + 1;
  EXPECT_EQ(Store::Open(std::move(options)).error().code(), Code::kInvalidArgument);
  options = SmallStore(1);
  options.clock = nullptr;
  EXPECT_EQ(Store::Open(std::move(options)).error().code(), Code::kInvalidArgument);
}

TEST(StoreTest, SpareSlabsAreMadeAheadAndCountAsHeld) {
  auto options = SmallStore(1);
  options.spare_slabs = 4;
  const auto store = OpenStore(std::move(options));
  // The only place is being filled by the thread that keeps spares; the put uses that slab.
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 4)).has_value());
  EXPECT_EQ(store->GetStats().arena_held_bytes, kTestSlabBytes);
  EXPECT_EQ(store->GetStats().slab_made_count, 1u);
}

TEST(StoreTest, ASecretIsPerDomainStableAndNotEmpty) {
  const auto store = OpenStore(SmallStore(1));
  const DomainSecret a = *store->SecretOf(TestDomain(1));
  EXPECT_EQ(a, *store->SecretOf(TestDomain(1)));
  EXPECT_NE(a, *store->SecretOf(TestDomain(2)));
  EXPECT_NE(a, DomainSecret{});
}

// Goal: bytes, bounds and quotas hold under real interleavings. Method: threads of two domains put,
// transiently too, pin and remove blocks whose bytes follow from their number, in an arena far too
// small for them, and check every byte and bound. No sleeps: the latch lines the threads up, the
// operation count ends them.
TEST(StoreTest, ConcurrentReadersNeverSeeForeignBytesAndBoundsHold) {
  const std::uint64_t seed = std::random_device{}();
  constexpr std::uint64_t kThreadCount = 4;
  constexpr std::uint64_t kOpsPerThread = 3000;
  constexpr std::uint64_t kKeyCount = 24;
  const auto store = OpenStore(SmallStore(3));
  store->SetQuota(TestDomain(2), 4 * kTestBlockBytes);
  std::vector<std::vector<TestBlock>> blocks{MakeBlocks(0, kKeyCount, 1),
                                             MakeBlocks(0, kKeyCount, 2)};
  for (TestBlock& block : blocks[1]) block.planes[0] ^= std::byte{0xFF};
  std::latch start(kThreadCount);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreadCount; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      start.arrive_and_wait();
      for (std::uint64_t op = 0; op < kOpsPerThread; ++op) {
        const TestBlock& block = blocks[t % 2][random() % kKeyCount];
        const auto pin = store->Pin(block.record.domain, block.record.key);
        ASSERT_TRUE(pin.has_value()) << "seed=" << seed;
        if (pin->has_value()) {
          ASSERT_EQ(std::memcmp((*pin)->bytes().data(), block.planes.data(), block.planes.size()),
                    0)
              << "seed=" << seed;
          if (random() % 8 == 1) {
            const auto transient = PutTransient(*store, {block});
            ASSERT_TRUE(transient.has_value() || CodeOf(transient) == Code::kExhausted);
            if (transient.has_value()) {
              ASSERT_EQ(std::memcmp(transient->front().bytes().data(), block.planes.data(),
                                    block.planes.size()),
                        0)
                  << "seed=" << seed;
            }
          }
          if (random() % 8 == 0) {
            ASSERT_TRUE(store->Remove(block.record.domain, block.record.key).has_value());
          }
        } else {
          const Code code = CodeOf(PutBlocks(*store, {block}));
          ASSERT_TRUE(code == Code::kOk || code == Code::kExhausted) << "seed=" << seed;
        }
        const Store::Stats stats = store->GetStats();
        ASSERT_LE(stats.arena_held_bytes, 3 * kTestSlabBytes) << "seed=" << seed;
        for (const Store::DomainStats& domain : stats.domains) {
          if (domain.domain != TestDomain(2)) continue;
          ASSERT_LE(domain.arena_bytes, 4u * kTestBlockBytes) << "seed=" << seed;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store->GetStats().arena_pinned_bytes, 0u);
}

}  // namespace
}  // namespace kvcommons
