// What must hold when the disk misbehaves, on a disk in memory that can (store/fault_disk.h): whole
// or absent at every point where the power can go, the byte bound at every operation, nothing of a
// failed batch, nothing torn ever.

#include "store/extent_disk_tier.h"

#include <gtest/gtest.h>

#include <set>

#include "store/disk_testing.h"
#include "store/extent_files.h"
#include "store/fault_disk.h"

namespace kvcommons {
namespace {

constexpr std::uint64_t kCapacityBytes = 1 << 20;
constexpr std::uint32_t kBlockBytes = 12 << 10;

class ExtentDiskTierTest : public testing::Test {
 protected:
  void SetUp() override { RecordProperty("seed", std::to_string(seed_)); }

  std::unique_ptr<DiskTier> Open(std::uint64_t capacity_bytes = kCapacityBytes) {
    Result<std::unique_ptr<DiskTier>> tier = TryOpen(capacity_bytes);
    KVC_ASSERT(tier);
    return *std::move(tier);
  }
  Result<std::unique_ptr<DiskTier>> TryOpen(std::uint64_t capacity_bytes = kCapacityBytes) {
    DiskTierParts parts;
    parts.extents = disk_.NewFolder();
    parts.index = disk_.NewIndex();
    return OpenExtentDiskTier({.folder = "", .capacity_bytes = capacity_bytes}, std::move(parts));
  }

  const std::uint64_t seed_ = std::random_device{}();
  FaultDisk disk_{seed_};
};

// A workload with a model of what must be found after it.
struct Workload {
  explicit Workload(std::uint64_t seed) : random(seed) {}

  // Writes batches, removes and touches, until `rounds` are done or the disk is dark.
  void Run(DiskTier& tier, const FaultDisk& disk, int rounds) {
    tier.SetGoneListener([this](std::span<const BlockKey> keys) {
      for (const BlockKey& key : keys) gone.insert(key);
    });
    for (int round = 0; round < rounds && !disk.is_dark(); ++round) {
      std::vector<TestBlock> batch;
      for (std::uint64_t n = 1 + random() % 6; n > 0; --n) {
        const auto pages = static_cast<std::uint32_t>(random() % 4);
        batch.push_back(MakeTestBlock(next++, 4 + pages * 4096 + 40 * (pages % 3)));
      }
      const bool acknowledged = WriteBlocks(tier, batch).ok();
      for (TestBlock& block : batch) {
        if (acknowledged) durable.insert(block.record.key);
        blocks.push_back(std::move(block));
      }
      if (random() % 3 == 0) tier.Touch(blocks[random() % blocks.size()].record.key);
      if (random() % 4 == 0) {
        const BlockKey key = blocks[random() % blocks.size()].record.key;
        const bool removed = tier.Remove({&key, 1}).ok();
        durable.erase(key);
        if (!removed) undecided.insert(key);
      }
    }
    tier.SetGoneListener({});
  }

  // After a start: acknowledged blocks are there, removed ones are not, nothing is wrong.
  void Check(DiskTier& tier, const std::set<std::string>& doubtful) const {
    for (const TestBlock& block : blocks) {
      const BlockKey& key = block.record.key;
      const bool was_there = tier.Contains(key);
      const Found found = Find(tier, block);
      ASSERT_NE(found, Found::kWrong) << key.ToHex();
      if (doubtful.contains(std::string(key.view())) || undecided.contains(key)) continue;
      if (gone.contains(key)) {
        ASSERT_EQ(found, Found::kAbsent) << "evicted block came back";
      } else if (durable.contains(key)) {
        ASSERT_TRUE(was_there) << "acknowledged block is gone";
        ASSERT_EQ(found, Found::kWhole) << "acknowledged block is bad";
      } else {
        ASSERT_EQ(found, Found::kAbsent) << "removed or failed block is there";
      }
    }
  }

  std::mt19937_64 random;
  std::uint64_t next = 0;
  std::vector<TestBlock> blocks;
  std::set<BlockKey> durable;    // acknowledged, not removed
  std::set<BlockKey> undecided;  // a removal failed
  std::set<BlockKey> gone;       // told by the tier
};

constexpr int kRounds = 70;  // Several times the capacity: files are given up, survivors are moved.

TEST_F(ExtentDiskTierTest, AcknowledgedBlocksSurviveAPowerLossAtEveryOperation) {
  std::uint64_t operations = 0;
  {
    FaultDisk disk(1);
    Workload workload(1);
    DiskTierParts parts{nullptr, disk.NewFolder(), disk.NewIndex()};
    auto tier =
        OpenExtentDiskTier({.folder = "", .capacity_bytes = kCapacityBytes / 4}, std::move(parts));
    ASSERT_TRUE(tier);
    workload.Run(**tier, disk, kRounds);
    operations = disk.operation_count();
    EXPECT_GT((*tier)->GetStats().evicted_count, 0u);
    workload.Check(**tier, {});
  }
  ASSERT_GT(operations, 200u);
  for (std::uint64_t cut = 1; cut <= operations; ++cut) {
    SCOPED_TRACE("seed " + std::to_string(seed_) + ", power cut at operation " +
                 std::to_string(cut));
    FaultDisk disk(seed_ + cut);
    Workload workload(1);
    const DiskTierOptions options{.folder = "", .capacity_bytes = kCapacityBytes / 4};
    {
      auto tier = OpenExtentDiskTier(options, {nullptr, disk.NewFolder(), disk.NewIndex()});
      ASSERT_TRUE(tier);
      disk.CutPowerAt(cut);
      workload.Run(**tier, disk, kRounds);
    }
    disk.PowerLoss();
    auto tier = OpenExtentDiskTier(options, {nullptr, disk.NewFolder(), disk.NewIndex()});
    ASSERT_TRUE(tier) << tier.error().ToString();
    workload.Check(**tier, disk.doubtful_keys());
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_LE(disk.ExtentBytes(), options.capacity_bytes);
    ASSERT_EQ((*tier)->GetStats().quarantined_count, 0u) << "a torn block was in the index";
    // The store goes on.
    const TestBlock later = MakeTestBlock(1'000'000, kBlockBytes);
    ASSERT_TRUE(WriteBlocks(**tier, {later}).ok());
    ASSERT_EQ(Find(**tier, later), Found::kWhole);
  }
}

TEST_F(ExtentDiskTierTest, AFailureOfAnyOperationLeavesNothingOfItsBatchAndTheNextBatchWorks) {
  for (std::uint64_t fail = 1; fail <= 200; ++fail) {
    SCOPED_TRACE("seed " + std::to_string(seed_) + ", failing operation " + std::to_string(fail));
    FaultDisk disk(seed_ + fail);
    Workload workload(1);
    const DiskTierOptions options{.folder = "", .capacity_bytes = kCapacityBytes / 4};
    {
      auto tier = OpenExtentDiskTier(options, {nullptr, disk.NewFolder(), disk.NewIndex()});
      ASSERT_TRUE(tier);
      disk.FailAt(fail);
      workload.Run(**tier, disk, kRounds);
      workload.Check(**tier, {});
      if (testing::Test::HasFatalFailure()) return;
      EXPECT_TRUE((*tier)->GetStats().writable);
      EXPECT_LE((*tier)->GetStats().write_failed_count, 1u);
    }
    disk.PowerLoss();
    auto tier = OpenExtentDiskTier(options, {nullptr, disk.NewFolder(), disk.NewIndex()});
    ASSERT_TRUE(tier);
    workload.Check(**tier, {});
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST_F(ExtentDiskTierTest, TheFilesNeverTakeMoreThanTheCapacity) {
  // Watches from inside the disk: after every operation, not after every call.
  class WatchedFolder final : public DiskFolder {
   public:
    WatchedFolder(FaultDisk* disk, std::uint64_t* most)
        : disk_(disk), folder_(disk->NewFolder()), most_(most) {}
    Result<std::unique_ptr<DiskFile>> Create(const std::string& name,
                                             std::uint64_t bytes) override {
      auto file = folder_->Create(name, bytes);
      std::uint64_t held = disk_->ExtentBytes();
      for (const auto& [key, value] : disk_->index()) held += key.size() + value.size();
      *most_ = std::max(*most_, held);
      return file;
    }
    Result<std::unique_ptr<DiskFile>> Open(const std::string& name) override {
      return folder_->Open(name);
    }
    Status Remove(const std::string& name) override { return folder_->Remove(name); }
    Status SyncNames() override { return folder_->SyncNames(); }
    Result<std::vector<FileInfo>> List() override { return folder_->List(); }

   private:
    FaultDisk* const disk_;
    const std::unique_ptr<DiskFolder> folder_;
    std::uint64_t* const most_;
  };
  SCOPED_TRACE("seed " + std::to_string(seed_));
  std::uint64_t most = 0;
  Workload workload(seed_);
  auto tier = OpenExtentDiskTier(
      {.folder = "", .capacity_bytes = kCapacityBytes},
      {nullptr, std::make_unique<WatchedFolder>(&disk_, &most), disk_.NewIndex()});
  ASSERT_TRUE(tier);
  workload.Run(**tier, disk_, 600);
  workload.Check(**tier, {});
  EXPECT_LE(most, kCapacityBytes);
  EXPECT_GT(most, kCapacityBytes / 2);
  EXPECT_GT((*tier)->GetStats().evicted_count, 0u);
}

TEST_F(ExtentDiskTierTest, AFullDiskIsUnavailableUntilThereIsSpaceAgain) {
  const auto tier = Open();
  const TestBlock before = MakeTestBlock(1, kBlockBytes);
  ASSERT_TRUE(WriteBlocks(*tier, {before}).ok());
  disk_.SetFull(true);
  std::vector<TestBlock> batch;  // More than what is left of the current file.
  for (std::uint64_t n = 10; n < 20; ++n) batch.push_back(MakeTestBlock(n, kBlockBytes));
  const Status status = WriteBlocks(*tier, batch);
  EXPECT_EQ(status.code(), Code::kUnavailable) << status.ToString();
  EXPECT_FALSE(tier->GetStats().writable);
  EXPECT_EQ(tier->GetStats().write_failed_count, 1u);
  for (const TestBlock& block : batch) EXPECT_FALSE(tier->Contains(block.record.key));
  EXPECT_EQ(Find(*tier, before), Found::kWhole);

  disk_.SetFull(false);
  ASSERT_TRUE(WriteBlocks(*tier, batch).ok());
  EXPECT_TRUE(tier->GetStats().writable);
  for (const TestBlock& block : batch) EXPECT_EQ(Find(*tier, block), Found::kWhole);
}

TEST_F(ExtentDiskTierTest, ADamagedByteOfABlockIsAMissForGood) {
  const TestBlock bad = MakeTestBlock(1, kBlockBytes);
  const TestBlock good = MakeTestBlock(2, kBlockBytes);
  auto tier = Open();
  ASSERT_TRUE(WriteBlocks(*tier, {bad, good}).ok());
  disk_.BytesOf(disk_.Names().front())[ExtentFiles::kHeaderBytes + 5000] ^= std::byte{1};
  EXPECT_EQ(Find(*tier, bad), Found::kAbsent);
  EXPECT_FALSE(tier->Contains(bad.record.key));
  EXPECT_EQ(tier->GetStats().quarantined_count, 1u);
  tier.reset();
  tier = Open();
  EXPECT_FALSE(tier->Contains(bad.record.key));
  EXPECT_EQ(Find(*tier, good), Found::kWhole);
  ASSERT_TRUE(WriteBlocks(*tier, {bad}).ok());
  EXPECT_EQ(Find(*tier, bad), Found::kWhole);
}

TEST_F(ExtentDiskTierTest, ADamagedRecordOrPlaceIsAMissForGood) {
  const TestBlock first = MakeTestBlock(1, kBlockBytes);
  const TestBlock second = MakeTestBlock(2, kBlockBytes);
  const TestBlock good = MakeTestBlock(3, kBlockBytes);
  auto tier = Open();
  ASSERT_TRUE(WriteBlocks(*tier, {first, second, good}).ok());
  disk_.index().at("r" + std::string(first.record.key.view()))[40] ^= 1;
  EXPECT_FALSE(tier->ReadRecord(first.record.key));
  EXPECT_EQ(Find(*tier, first), Found::kAbsent);
  EXPECT_FALSE(tier->Contains(first.record.key));
  tier.reset();
  disk_.index().at("p" + std::string(second.record.key.view())).pop_back();
  tier = Open();
  EXPECT_FALSE(tier->Contains(second.record.key));
  EXPECT_EQ(tier->GetStats().quarantined_count, 1u);
  EXPECT_EQ(Find(*tier, good), Found::kWhole);
}

TEST_F(ExtentDiskTierTest, BlocksOfAMissingOrShortFileAreDroppedAtTheStart) {
  const TestBlock block = MakeTestBlock(1, kBlockBytes);
  auto tier = Open();
  ASSERT_TRUE(WriteBlocks(*tier, {block}).ok());
  tier.reset();
  disk_.BytesOf(disk_.Names().front()).resize(ExtentFiles::kHeaderBytes + kBlockBytes - 4096);
  tier = Open();
  EXPECT_FALSE(tier->Contains(block.record.key));
  EXPECT_EQ(tier->GetStats().quarantined_count, 1u);
  EXPECT_TRUE(disk_.Names().empty()) << "a file that holds nothing was kept";
  EXPECT_TRUE(disk_.index().empty());
  ASSERT_TRUE(WriteBlocks(*tier, {block}).ok());
  EXPECT_EQ(Find(*tier, block), Found::kWhole);
}

TEST_F(ExtentDiskTierTest, AnExtentFileOfAnotherFormatVersionIsRefused) {
  auto tier = Open();
  ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(1, kBlockBytes)}).ok());
  tier.reset();
  disk_.BytesOf(disk_.Names().front())[8 + 4] = std::byte{7};  // length, magic, version
  const auto refused = TryOpen();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kUnsupported);
  EXPECT_NE(refused.error().message().find("version is 7"), std::string::npos);
}

TEST_F(ExtentDiskTierTest, ADamagedFileHeaderLosesNoBlock) {
  const TestBlock block = MakeTestBlock(1, kBlockBytes);
  auto tier = Open();
  ASSERT_TRUE(WriteBlocks(*tier, {block}).ok());
  tier.reset();
  disk_.BytesOf(disk_.Names().front())[8] ^= std::byte{1};
  tier = Open();
  EXPECT_EQ(Find(*tier, block), Found::kWhole);
}

TEST_F(ExtentDiskTierTest, ASmallerCapacityHoldsFromTheStart) {
  auto tier = Open();
  for (std::uint64_t n = 0; n < 40; ++n) {
    ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(n, kBlockBytes)}).ok());
  }
  tier.reset();
  tier = Open(kCapacityBytes / 4);
  EXPECT_LE(disk_.ExtentBytes(), kCapacityBytes / 4);
  EXPECT_GT(tier->GetStats().block_count, 0u);
  EXPECT_LT(tier->GetStats().block_count, 40u);
}

TEST_F(ExtentDiskTierTest, ARestartGoesOnInTheLastFile) {
  for (std::uint64_t n = 0; n < 4; ++n) {
    const auto tier = Open();
    ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(n, kBlockBytes)}).ok());
  }
  EXPECT_EQ(disk_.Names().size(), 1u);
  const auto tier = Open();
  for (std::uint64_t n = 0; n < 4; ++n) {
    EXPECT_EQ(Find(*tier, MakeTestBlock(n, kBlockBytes)), Found::kWhole) << n;
  }
}

TEST_F(ExtentDiskTierTest, RemovingAllOfASealedFileGivesItsSpaceBack) {
  const auto tier = Open();
  std::vector<BlockKey> keys;
  for (std::uint64_t n = 0; n < 20; ++n) {
    ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(n, kBlockBytes)}).ok());
    keys.push_back(TestKey(n));
  }
  ASSERT_GT(disk_.Names().size(), 2u);
  ASSERT_TRUE(tier->Remove(keys).ok());
  EXPECT_EQ(disk_.Names().size(), 1u);  // The one that is appended to.
}

TEST_F(ExtentDiskTierTest, ABlockLargerThanAFileGetsAFileOfItsOwn) {
  const auto tier = Open();
  const TestBlock large = MakeTestBlock(1, 300 << 10);
  ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(2, 4096), large, MakeTestBlock(3, 4096)}).ok());
  EXPECT_EQ(Find(*tier, large), Found::kWhole);
  EXPECT_EQ(Find(*tier, MakeTestBlock(3, 4096)), Found::kWhole);
}

TEST_F(ExtentDiskTierTest, ANearlyEmptyFileIsGivenUpFirstAndLosesNothing) {
  const auto tier = Open();
  std::vector<BlockKey> removed;
  std::uint64_t n = 0;
  for (; n < 30; ++n) {
    ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(n, kBlockBytes)}).ok());
    if (n >= 10 && n % 5 != 0) removed.push_back(TestKey(n));
  }
  ASSERT_TRUE(tier->Remove(removed).ok());
  while (disk_.ExtentBytes() + 3 * kCapacityBytes / 16 < kCapacityBytes) {
    ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(n++, kBlockBytes)}).ok());
  }
  for (std::uint64_t more = 0; more < 8; ++more) {
    ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(n++, kBlockBytes)}).ok());
  }
  EXPECT_EQ(tier->GetStats().evicted_count, 0u);
  for (const std::uint64_t kept : {0u, 10u, 15u, 20u, 25u}) {
    EXPECT_EQ(Find(*tier, MakeTestBlock(kept, kBlockBytes)), Found::kWhole) << kept;
  }
}

}  // namespace
}  // namespace kvcommons
