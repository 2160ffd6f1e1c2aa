// What the store is held to with a disk: durable blocks outlive it (I8), a failed batch leaves
// nothing, disk quotas hold (I9), documents and secrets survive. The disk is the tier in memory,
// behind a wrapper that outlives a store, fails on demand and counts.

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <random>
#include <thread>

#include "base/mutex.h"
#include "store/store.h"
#include "store/store_test_support.h"

namespace kvcommons {
namespace {

// What a store and its successor share: a disk that stays when the process goes.
struct SharedDisk {
  explicit SharedDisk(std::uint64_t capacity_bytes) : tier(MakeMemoryDiskTier(capacity_bytes)) {
    tier->SetGoneListener([this](std::span<const BlockKey> keys) {
      DiskTier::GoneListener listener;
      {
        MutexLock lock(mutex);
        listener = gone;
      }
      if (listener) listener(keys);
    });
  }

  std::unique_ptr<DiskTier> tier;
  std::atomic<bool> failing{false};
  std::atomic<int> write_count{0};
  std::atomic<int> read_count{0};
  Mutex mutex;
  DiskTier::GoneListener gone GUARDED_BY(mutex);
};

class SharedTier final : public DiskTier {
 public:
  explicit SharedTier(SharedDisk& disk) : disk_(disk) {}
  ~SharedTier() override { SetGoneListener(nullptr); }

  void SetGoneListener(GoneListener listener) override {
    MutexLock lock(disk_.mutex);
    disk_.gone = std::move(listener);
  }
  Status Write(std::span<const WriteItem> items) override {
    ++disk_.write_count;
    if (disk_.failing) return Unavailable("the test's disk fails");
    return disk_.tier->Write(items);
  }
  void ForEach(const std::function<void(const Entry&)>& visit) const override {
    disk_.tier->ForEach(visit);
  }
  bool Contains(const BlockKey& key) const override { return disk_.tier->Contains(key); }
  std::optional<BlockRecord> ReadRecord(const BlockKey& key) const override {
    return disk_.tier->ReadRecord(key);
  }
  std::optional<BlockRecord> Read(
      const BlockKey& key, const std::function<std::byte*(const BlockRecord&)>& allocate) override {
    ++disk_.read_count;
    return disk_.tier->Read(key, allocate);
  }
  Status Remove(std::span<const BlockKey> keys) override {
    return disk_.failing ? Unavailable("the test's disk fails") : disk_.tier->Remove(keys);
  }
  void Touch(const BlockKey& key) override { disk_.tier->Touch(key); }
  Status PutDocument(const DocumentRevision& revision) override {
    return disk_.failing ? Unavailable("the test's disk fails") : disk_.tier->PutDocument(revision);
  }
  std::optional<DocumentRevision> GetDocument(const DomainId& domain,
                                              const DocumentKey& document) const override {
    return disk_.tier->GetDocument(domain, document);
  }
  Status RemoveDocument(const DomainId& domain, const DocumentKey& document) override {
    return disk_.tier->RemoveDocument(domain, document);
  }
  std::vector<DocumentSummary> ListDocuments(const DomainId& domain) const override {
    return disk_.tier->ListDocuments(domain);
  }
  Status PutLibraryDocument(const LibraryDocument& document) override {
    if (disk_.failing) return Unavailable("the test's disk fails");
    return disk_.tier->PutLibraryDocument(document);
  }
  std::optional<LibraryDocument> GetLibraryDocument(const DomainId& domain,
                                                    const DocumentKey& document) const override {
    return disk_.tier->GetLibraryDocument(domain, document);
  }
  Status RemoveLibraryDocument(const DomainId& domain, const DocumentKey& document) override {
    return disk_.tier->RemoveLibraryDocument(domain, document);
  }
  std::vector<LibraryDocument> ListLibraryDocuments(const DomainId& domain) const override {
    return disk_.tier->ListLibraryDocuments(domain);
  }
  Status PutMeta(std::string_view name, std::string_view value) override {
    return disk_.tier->PutMeta(name, value);
  }
  std::optional<std::string> GetMeta(std::string_view name) const override {
    return disk_.tier->GetMeta(name);
  }
  Status RemoveMeta(std::string_view name) override { return disk_.tier->RemoveMeta(name); }
  std::vector<Meta> ListMeta(std::string_view prefix) const override {
    return disk_.tier->ListMeta(prefix);
  }
  Stats GetStats() const override { return disk_.tier->GetStats(); }

 private:
  SharedDisk& disk_;
};

std::unique_ptr<Store> OpenOn(SharedDisk& disk, std::uint64_t slabs) {
  return OpenStore(SmallStore(slabs, std::make_unique<SharedTier>(disk)));
}

DocumentRevision Document(std::uint64_t revision, const std::vector<BlockKey>& blocks) {
  DocumentRevision document;
  document.document.bytes.fill(9);
  document.name = "notes.md";
  document.domain = TestDomain(1);
  document.revision = revision;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    document.tokens.insert(document.tokens.end(), {1, 2});
    DocumentSegment segment;
    segment.begin = static_cast<Position>(2 * i);
    segment.end = segment.begin + 2;
    segment.block = blocks[i];
    document.segments.push_back(segment);
  }
  return document;
}

TestBlock BlockOfClass(std::uint64_t number, StorageClass storage_class) {
  TestBlock block = MakeTestBlock(number, kTestBlockBytes);
  block.record.storage_class = storage_class;
  return block;
}

TEST(StoreDiskTest, DurableBlocksAndSecretsAreFoundAfterARestart) {
  SharedDisk disk(1 << 20);
  const auto blocks = MakeBlocks(0, 3);
  DomainSecret secret;
  {
    const auto store = OpenOn(disk, 1);
    const auto put = PutBlocks(*store, blocks, Ack::kDurable);
    ASSERT_TRUE(put.has_value()) << put.error().ToString();
    EXPECT_EQ(put->stored, 3u);
    EXPECT_EQ(put->durable, 3u);
    secret = *store->SecretOf(TestDomain(1));
    disk.failing = true;  // Nothing that follows the acknowledgement helps.
  }
  disk.failing = false;
  const auto store = OpenOn(disk, 1);
  EXPECT_EQ(*store->SecretOf(TestDomain(1)), secret);
  EXPECT_EQ(store->MatchPrefix(TestDomain(1), std::vector<BlockKey>{TestKey(0), TestKey(1)}), 2u);
  for (const TestBlock& block : blocks) EXPECT_TRUE(PinsWhole(*store, block));
  EXPECT_FALSE(store->Pin(TestDomain(2), TestKey(0))->has_value());
}

TEST(StoreDiskTest, ATeamsRowsAreListedAndFoundAfterARestart) {
  const TestFolder folder;
  const TestBlock block = BlockOfClass(1, StorageClass::kTeam);
  {
    const auto store = OpenInFolder(folder, 1);
    ASSERT_TRUE(PutBlocks(*store, {block}, Ack::kDurable).has_value());
    ASSERT_EQ(store->List(TestDomain(1), 10).size(), 1u);
    EXPECT_EQ(store->List(TestDomain(1), 10)[0].storage_class, StorageClass::kTeam);
  }
  const auto store = OpenInFolder(folder, 1);
  const auto list = store->List(TestDomain(1), 10);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].storage_class, StorageClass::kTeam);
  EXPECT_TRUE(list[0].on_disk);
  EXPECT_TRUE(PinsWhole(*store, block));
  EXPECT_EQ((*store->Pin(TestDomain(1), block.record.key))->record().storage_class,
            StorageClass::kTeam);
}

TEST(StoreDiskTest, BlocksThatACallWroteAreFoundAfterARestart) {
  const TestFolder folder;
  const auto blocks = MakeBlocks(0, 2);
  {
    const auto store = OpenInFolder(folder, 1);
    for (const Ack ack : {Ack::kDurable, Ack::kHeld}) {
      const Store::PutItem item = FillItem(blocks[ack == Ack::kDurable ? 0 : 1]);
      const auto put = store->Put(TestDomain(1), std::span(&item, 1), ack);
      ASSERT_TRUE(put.has_value()) << put.error().ToString();
      EXPECT_EQ(put->stored, 1u);
      EXPECT_EQ(put->durable, ack == Ack::kDurable ? 1u : 0u);
    }
  }
  const auto store = OpenInFolder(folder, 1);
  for (const TestBlock& block : blocks) EXPECT_TRUE(PinsWhole(*store, block));
}

TEST(StoreDiskTest, TransientBlocksNeverReachTheDisk) {
  SharedDisk disk(1 << 20);
  const auto store = OpenOn(disk, 2);
  const auto pins = PutTransient(*store, MakeBlocks(1, 2));
  ASSERT_TRUE(pins.has_value());
  // Evictions send to the disk what is held only; then everything else goes.
  for (std::uint64_t n = 10; n < 30; ++n) {
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(n, 1)).has_value());
  }
  ASSERT_TRUE(store->Flush().ok());
  for (std::uint64_t n = 1; n <= 2; ++n) EXPECT_FALSE(disk.tier->Contains(TestKey(n)));
  EXPECT_GT(disk.tier->GetStats().block_count, 0u);
  EXPECT_FALSE(store->Pin(TestDomain(1), TestKey(1))->has_value());
}

TEST(StoreDiskTest, ADurableBatchThatFailsLeavesNothing) {
  SharedDisk disk(1 << 20);
  const auto store = OpenOn(disk, 2);
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 1), Ack::kDurable).has_value());
  disk.failing = true;
  EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(0, 4), Ack::kDurable)), Code::kUnavailable);
  EXPECT_TRUE(store->Contains(TestDomain(1), TestKey(0)));
  for (std::uint64_t n = 1; n < 4; ++n) EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(n)));
  EXPECT_EQ(store->GetStats().arena_pinned_bytes, 0u);
  EXPECT_EQ(store->GetStats().domains[0].disk_bytes, 1u * kTestBlockBytes);
}

TEST(StoreDiskTest, HeldBlocksAreOnDiskAfterAFlushAndAfterACleanEnd) {
  SharedDisk disk(1 << 20);
  {
    const auto store = OpenOn(disk, 2);
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 3)).has_value());
    ASSERT_TRUE(store->Flush().ok());
    EXPECT_EQ(disk.tier->GetStats().block_count, 3u);
    for (const Store::BlockInfo& info : store->List(TestDomain(1), 10)) EXPECT_TRUE(info.on_disk);
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(3, 3)).has_value());
  }
  EXPECT_EQ(disk.tier->GetStats().block_count, 6u);
}

TEST(StoreDiskTest, ADurablePutOfAHeldBlockMakesTheFirstBytesDurable) {
  SharedDisk disk(1 << 20);
  const auto first = MakeBlocks(1, 1);
  {
    const auto store = OpenOn(disk, 1);
    ASSERT_TRUE(PutBlocks(*store, first).has_value());
    auto second = first;
    second[0].planes[0] ^= std::byte{1};
    const auto put = PutBlocks(*store, second, Ack::kDurable);
    ASSERT_TRUE(put.has_value());
    EXPECT_EQ(put->present, 1u);
    EXPECT_EQ(put->durable, 1u);
  }
  EXPECT_TRUE(PinsWhole(*OpenOn(disk, 1), first[0]));
}

TEST(StoreDiskTest, BlocksThatLeftMemoryComeBackFromDisk) {
  SharedDisk disk(16 << 20);
  const auto store = OpenOn(disk, 1);
  const auto blocks = MakeBlocks(0, 12);
  for (const TestBlock& block : blocks) {
    ASSERT_TRUE(PutBlocks(*store, {block}, Ack::kDurable).has_value());
  }
  EXPECT_GE(store->GetStats().evicted_count, 8u);
  for (const TestBlock& block : blocks) EXPECT_TRUE(PinsWhole(*store, block));
}

TEST(StoreDiskTest, PinOfADiskBlockIsExhaustedWhileLeasesFillTheArena) {
  SharedDisk disk(1 << 20);
  { ASSERT_TRUE(PutBlocks(*OpenOn(disk, 2), MakeBlocks(0, 5), Ack::kDurable).has_value()); }
  const auto store = OpenOn(disk, 1);
  std::vector<PinnedBlock> pins;
  for (std::uint64_t n = 0; n < 4; ++n) {
    auto pin = store->Pin(TestDomain(1), TestKey(n));
    ASSERT_TRUE(pin.has_value() && pin->has_value());
    pins.push_back(std::move(**pin));
  }
  const auto refused = store->Pin(TestDomain(1), TestKey(4));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Code::kExhausted);
  EXPECT_TRUE(store->Contains(TestDomain(1), TestKey(4)));
  pins.pop_back();
  EXPECT_TRUE(store->Pin(TestDomain(1), TestKey(4))->has_value());
}

TEST(StoreDiskTest, ConcurrentPinsOfOneBlockAreOneLoad) {
  SharedDisk disk(1 << 20);
  const auto blocks = MakeBlocks(0, 1);
  { ASSERT_TRUE(PutBlocks(*OpenOn(disk, 1), blocks, Ack::kDurable).has_value()); }
  const auto store = OpenOn(disk, 1);
  constexpr int kThreads = 4;
  std::latch start(kThreads);
  std::atomic<int> whole{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      start.arrive_and_wait();
      if (PinsWhole(*store, blocks[0])) ++whole;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(whole, kThreads);
  EXPECT_EQ(disk.read_count, 1);
}

TEST(StoreDiskTest, BlocksThatTheDiskEvictedAreNoLongerPromised) {
  SharedDisk disk(4 * kTestBlockBytes);
  { ASSERT_TRUE(PutBlocks(*OpenOn(disk, 1), MakeBlocks(0, 2), Ack::kDurable).has_value()); }
  const auto store = OpenOn(disk, 2);
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(10, 4), Ack::kDurable).has_value());
  EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(0)));
  EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(1)));
  const Store::Stats stats = store->GetStats();
  EXPECT_EQ(stats.index_entries, 4u);
  EXPECT_EQ(stats.domains[0].disk_bytes, 4u * kTestBlockBytes);
}

TEST(StoreDiskTest, ADomainOverItsDiskQuotaLosesItsOwnBlocksOnly) {
  SharedDisk disk(16 << 20);
  const auto store = OpenOn(disk, 4);
  ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 4, 1), Ack::kDurable).has_value());
  store->SetQuota(TestDomain(2), 3 * kTestBlockBytes);
  for (std::uint64_t n = 100; n < 110; ++n) {
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(n, 1, 2), Ack::kDurable).has_value());
    std::uint64_t bytes = 0;
    disk.tier->ForEach([&](const DiskTier::Entry& entry) {
      if (entry.domain == TestDomain(2)) bytes += entry.bytes;
    });
    EXPECT_LE(bytes, 3u * kTestBlockBytes);
  }
  for (std::uint64_t n = 0; n < 4; ++n) EXPECT_TRUE(disk.tier->Contains(TestKey(n)));
  EXPECT_EQ(CodeOf(PutBlocks(*store, MakeBlocks(200, 4, 2), Ack::kDurable)), Code::kExhausted);
}

TEST(StoreDiskTest, RemovedBlocksAreGoneAfterARestartToo) {
  SharedDisk disk(1 << 20);
  {
    const auto store = OpenOn(disk, 1);
    ASSERT_TRUE(PutBlocks(*store, MakeBlocks(0, 2), Ack::kDurable).has_value());
    EXPECT_TRUE(*store->Remove(TestDomain(1), TestKey(0)));
    disk.failing = true;
    EXPECT_EQ(store->Remove(TestDomain(1), TestKey(1)).error().code(), Code::kUnavailable);
    EXPECT_TRUE(store->Contains(TestDomain(1), TestKey(1))) << "a failed removal changes nothing";
    disk.failing = false;
  }
  const auto store = OpenOn(disk, 1);
  EXPECT_FALSE(store->Contains(TestDomain(1), TestKey(0)));
  EXPECT_TRUE(store->Contains(TestDomain(1), TestKey(1)));
}

TEST(StoreDiskTest, AHeldDocumentIsReadAtOnceAndSurvivesACleanEnd) {
  SharedDisk disk(1 << 20);
  const DocumentRevision document = Document(1, {TestKey(0)});
  {
    const auto store = OpenOn(disk, 1);
    ASSERT_TRUE(store->PutDocument(document, Ack::kHeld).ok());
    EXPECT_EQ(store->GetDocument(document.domain, document.document)->revision, 1u);
    const auto list = store->ListDocuments(document.domain);
    ASSERT_EQ(list.size(), 1u);
    EXPECT_EQ(list[0].token_count, document.tokens.size());
    EXPECT_FALSE(store->GetDocument(TestDomain(2), document.document).has_value());
    EXPECT_TRUE(store->ListDocuments(TestDomain(2)).empty());
  }
  const auto store = OpenOn(disk, 1);
  const auto found = store->GetDocument(document.domain, document.document);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->tokens, document.tokens);
  EXPECT_EQ(found->segments.size(), 1u);
}

TEST(StoreDiskTest, RemovingADocumentRemovesItsRevisionBlocksAndNoOthers) {
  SharedDisk disk(1 << 20);
  const auto store = OpenOn(disk, 1);
  const auto exact = BlockOfClass(1, StorageClass::kExact);
  const auto revision = BlockOfClass(2, StorageClass::kRevision);
  const auto elsewhere = BlockOfClass(3, StorageClass::kRevision);
  ASSERT_TRUE(PutBlocks(*store, {exact, revision, elsewhere}, Ack::kDurable).has_value());
  const DocumentRevision document = Document(1, {exact.record.key, revision.record.key});
  ASSERT_TRUE(store->PutDocument(document, Ack::kDurable).ok());
  EXPECT_TRUE(*store->RemoveDocument(document.domain, document.document));
  EXPECT_TRUE(store->Contains(document.domain, exact.record.key));
  EXPECT_FALSE(store->Contains(document.domain, revision.record.key));
  EXPECT_TRUE(store->Contains(document.domain, elsewhere.record.key));
  EXPECT_FALSE(store->GetDocument(document.domain, document.document).has_value());
  EXPECT_FALSE(*store->RemoveDocument(document.domain, document.document));
}

TEST(StoreDiskTest, ANewRevisionDropsTheRowsThatOnlyTheOldOneNamed) {
  SharedDisk disk(1 << 20);
  const auto store = OpenOn(disk, 1);
  const auto old_only = BlockOfClass(1, StorageClass::kRevision);
  const auto shared = BlockOfClass(2, StorageClass::kRevision);
  ASSERT_TRUE(PutBlocks(*store, {old_only, shared}, Ack::kDurable).has_value());
  ASSERT_TRUE(
      store->PutDocument(Document(1, {old_only.record.key, shared.record.key}), Ack::kDurable)
          .ok());
  ASSERT_TRUE(store->PutDocument(Document(2, {shared.record.key}), Ack::kDurable).ok());
  EXPECT_FALSE(store->Contains(TestDomain(1), old_only.record.key));
  EXPECT_TRUE(store->Contains(TestDomain(1), shared.record.key));
}

TEST(StoreDiskTest, BadDocumentsAreRefused) {
  const auto store = OpenStore(SmallStore(1));
  DocumentRevision document = Document(1, {TestKey(0)});
  document.name.assign(DocumentRevision::kMaxNameBytes, 'x');
  EXPECT_TRUE(store->PutDocument(document, Ack::kHeld).ok());
  document.name += 'x';
  EXPECT_EQ(store->PutDocument(document, Ack::kHeld).code(), Code::kInvalidArgument);
  document = Document(1, {TestKey(0)});
  EXPECT_EQ(store->PutDocument(document, Ack::kDurable).code(), Code::kUnavailable);
}

// Goal: nothing wrong is served and nothing durable is lost while writers, pins, removals,
// evictions from memory and from disk interleave. No sleeps: latch and operation count.
TEST(StoreDiskTest, ConcurrentDurableTrafficServesOnlyCommittedBytes) {
  const std::uint64_t seed = std::random_device{}();
  SharedDisk disk(20 * kTestBlockBytes);
  auto store = OpenOn(disk, 3);
  constexpr std::uint64_t kThreadCount = 4;
  constexpr std::uint64_t kKeyCount = 32;
  const auto blocks = MakeBlocks(0, kKeyCount);
  std::latch start(kThreadCount);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreadCount; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + t);
      start.arrive_and_wait();
      for (int op = 0; op < 1500; ++op) {
        const TestBlock& block = blocks[random() % kKeyCount];
        const std::uint64_t choice = random() % 16;
        if (choice == 0) {
          ASSERT_TRUE(store->Remove(TestDomain(1), block.record.key).has_value())
              << "seed=" << seed;
        } else if (choice == 1) {
          ASSERT_TRUE(store->Flush().ok()) << "seed=" << seed;
        } else if (choice < 8) {
          const Code code =
              CodeOf(PutBlocks(*store, {block}, choice < 4 ? Ack::kDurable : Ack::kHeld));
          ASSERT_TRUE(code == Code::kOk || code == Code::kExhausted) << "seed=" << seed;
        } else {
          const auto pin = store->Pin(TestDomain(1), block.record.key);
          if (!pin.has_value() || !pin->has_value()) continue;
          ASSERT_EQ(std::memcmp((*pin)->bytes().data(), block.planes.data(), kTestBlockBytes), 0)
              << "seed=" << seed;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store->GetStats().bad_block_count, 0u);
  // The index and the disk agree once everything is quiet, so a restart changes nothing.
  ASSERT_TRUE(store->Flush().ok());
  const Store::Stats before = store->GetStats();
  EXPECT_EQ(before.domains[0].disk_bytes, before.disk.held_bytes) << "seed=" << seed;
  // Asserts that no pin is left; only then, since the writer of the queue pins what it writes.
  store.reset();
}

}  // namespace
}  // namespace kvcommons
