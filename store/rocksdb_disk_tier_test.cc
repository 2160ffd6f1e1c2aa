// The disk tier as the daemon opens it: a real folder, extent files and RocksDB.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "store/disk_file.h"
#include "store/disk_index.h"
#include "store/disk_testing.h"
#include "store/store_folder.h"

namespace kvcommons {
namespace {

constexpr std::uint64_t kCapacityBytes = 32 << 20;
constexpr std::uint32_t kBlockBytes = 100'000;

class RocksDbDiskTierTest : public testing::Test {
 protected:
  Result<std::unique_ptr<DiskTier>> TryOpen() {
    return OpenDiskTier({.folder = path(), .capacity_bytes = kCapacityBytes});
  }
  std::unique_ptr<DiskTier> Open() {
    Result<std::unique_ptr<DiskTier>> tier = TryOpen();
    if (!tier) ADD_FAILURE() << tier.error().ToString();
    KVC_ASSERT(tier);
    return *std::move(tier);
  }
  std::string path() const { return folder_.path() + "/store"; }
  std::string FirstExtent() const { return path() + "/extents/00000001.ext"; }

 private:
  TestFolder folder_;
};

void FlipByte(const std::string& path, std::uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 1));
  ASSERT_TRUE(file.good());
}

std::uint64_t DiskUse(const std::string& folder) {
  std::uint64_t sum = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    struct stat info = {};
    if (stat(it->path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      sum += static_cast<std::uint64_t>(info.st_blocks) * 512;
    }
  }
  return sum;
}

TEST_F(RocksDbDiskTierTest, ARestartFindsBlocksDocumentsAndMetadata) {
  std::vector<TestBlock> blocks;
  for (std::uint64_t n = 0; n < 40; ++n) blocks.push_back(MakeTestBlock(n, kBlockBytes));
  DocumentRevision document;
  document.domain = TestDomain(1);
  document.name = "notes";
  document.revision = 3;
  {
    const auto tier = Open();
    ASSERT_TRUE(WriteBlocks(*tier, blocks).ok());
    ASSERT_TRUE(tier->Remove({&blocks[7].record.key, 1}).ok());
    ASSERT_TRUE(tier->PutDocument(document).ok());
    ASSERT_TRUE(tier->PutMeta("secret", "value").ok());
  }
  const auto tier = Open();
  for (std::uint64_t n = 0; n < 40; ++n) {
    EXPECT_EQ(Find(*tier, blocks[n]), n == 7 ? Found::kAbsent : Found::kWhole) << n;
  }
  std::size_t listed = 0;
  tier->ForEach([&listed](const DiskTier::Entry& entry) {
    ++listed;
    EXPECT_EQ(entry.bytes, kBlockBytes);
    EXPECT_EQ(entry.domain, TestDomain(1));
  });
  EXPECT_EQ(listed, 39u);
  const auto found = tier->GetDocument(document.domain, document.document);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->revision, 3u);
  EXPECT_EQ(tier->GetMeta("secret"), "value");
  EXPECT_EQ(tier->GetStats().quarantined_count, 0u);
}

TEST_F(RocksDbDiskTierTest, ReadsToAlignedAndUnalignedAddressesAlike) {
  const auto tier = Open();
  for (const std::uint32_t bytes : {4u, 4096u, 8192u, 12292u, 1474560u, 3000000u}) {
    const TestBlock block = MakeTestBlock(bytes, bytes);
    ASSERT_TRUE(WriteBlocks(*tier, {block}).ok());
    for (const std::size_t shift : {0u, 1u, 512u}) {
      DiskBuffer buffer(bytes + 4096);
      ASSERT_TRUE(
          tier->Read(block.record.key, [&](const BlockRecord&) { return buffer.data() + shift; }))
          << bytes << " at " << shift;
      EXPECT_EQ(std::memcmp(buffer.data() + shift, block.planes.data(), bytes), 0);
    }
    // And written from a page's address.
    DiskBuffer aligned(bytes);
    TestBlock other = MakeTestBlock(bytes + 1, bytes);
    std::memcpy(aligned.data(), other.planes.data(), bytes);
    const DiskTier::WriteItem item = {&other.record, aligned.data()};
    ASSERT_TRUE(tier->Write({&item, 1}).ok());
    EXPECT_EQ(Find(*tier, other), Found::kWhole);
  }
}

TEST_F(RocksDbDiskTierTest, ADamagedByteOnTheDiskIsAMissForGood) {
  const TestBlock bad = MakeTestBlock(1, kBlockBytes);
  const TestBlock good = MakeTestBlock(2, kBlockBytes);
  {
    const auto tier = Open();
    ASSERT_TRUE(WriteBlocks(*tier, {bad, good}).ok());
    FlipByte(FirstExtent(), 4096 + kBlockBytes - 1);
    EXPECT_EQ(Find(*tier, bad), Found::kAbsent);
    EXPECT_EQ(tier->GetStats().quarantined_count, 1u);
    EXPECT_FALSE(tier->Contains(bad.record.key));
  }
  const auto tier = Open();
  EXPECT_FALSE(tier->Contains(bad.record.key));
  EXPECT_EQ(Find(*tier, good), Found::kWhole);
}

TEST_F(RocksDbDiskTierTest, ADamagedRecordIsAMissForGood) {
  const TestBlock bad = MakeTestBlock(1, kBlockBytes);
  ASSERT_TRUE(WriteBlocks(*Open(), {bad}).ok());
  {
    const auto index = OpenRocksDbIndex(path() + "/index", kCapacityBytes);
    ASSERT_TRUE(index);
    const auto record = (*index)->Get(IndexSpace::kRecord, bad.record.key.view());
    ASSERT_TRUE(record && *record);
    IndexBatch batch;
    batch.Put(IndexSpace::kRecord, bad.record.key.view(), (*record)->substr(1));
    ASSERT_TRUE((*index)->Commit(batch).ok());
  }
  const auto tier = Open();
  EXPECT_TRUE(tier->Contains(bad.record.key));
  EXPECT_EQ(Find(*tier, bad), Found::kAbsent);
  EXPECT_FALSE(tier->Contains(bad.record.key));
  EXPECT_EQ(tier->GetStats().quarantined_count, 1u);
}

TEST_F(RocksDbDiskTierTest, AMissingExtentFileCostsItsBlocksOnly) {
  std::vector<TestBlock> blocks;
  for (std::uint64_t n = 0; n < 40; ++n) blocks.push_back(MakeTestBlock(n, kBlockBytes));
  ASSERT_TRUE(WriteBlocks(*Open(), blocks).ok());
  ASSERT_TRUE(std::filesystem::remove(FirstExtent()));
  std::ofstream(path() + "/extents/00000099.ext") << "left over by a crash";
  const auto tier = Open();
  std::size_t whole = 0;
  for (const TestBlock& block : blocks) {
    const Found found = Find(*tier, block);
    EXPECT_NE(found, Found::kWrong);
    whole += found == Found::kWhole;
  }
  EXPECT_GT(whole, 0u);
  EXPECT_EQ(whole + tier->GetStats().quarantined_count, 40u);
  EXPECT_FALSE(std::filesystem::exists(path() + "/extents/00000099.ext"));
}

TEST_F(RocksDbDiskTierTest, ASecondDaemonOnTheSameFolderIsRefusedByName) {
  auto tier = Open();
  const auto second = TryOpen();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::kUnavailable);
  EXPECT_NE(second.error().message().find(path()), std::string::npos);
  tier.reset();
  EXPECT_TRUE(TryOpen());
}

TEST_F(RocksDbDiskTierTest, AnUnknownFormatVersionIsRefusedByNameAndChangesNothing) {
  ASSERT_TRUE(WriteBlocks(*Open(), {MakeTestBlock(1, kBlockBytes)}).ok());
  std::ofstream(path() + "/format", std::ios::trunc) << "kvcommons store 2\n";
  const auto refused = TryOpen();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kUnsupported);
  EXPECT_NE(refused.error().message().find("'kvcommons store 2'"), std::string::npos);
  EXPECT_NE(refused.error().message().find("'kvcommons store 1'"), std::string::npos);
  std::ofstream(path() + "/format", std::ios::trunc) << "kvcommons store 1\n";
  EXPECT_EQ(Find(*Open(), MakeTestBlock(1, kBlockBytes)), Found::kWhole);
}

TEST_F(RocksDbDiskTierTest, AStoreWithoutAFormatIsRefused) {
  ASSERT_TRUE(WriteBlocks(*Open(), {MakeTestBlock(1, kBlockBytes)}).ok());
  ASSERT_TRUE(std::filesystem::remove(path() + "/format"));
  const auto refused = TryOpen();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kUnsupported);
}

TEST_F(RocksDbDiskTierTest, AFolderThatCannotBeMadeIsAnError) {
  const auto refused =
      OpenDiskTier({.folder = path() + "/no/parent", .capacity_bytes = kCapacityBytes});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kUnavailable);
  EXPECT_FALSE(OpenDiskTier({.folder = "", .capacity_bytes = kCapacityBytes}));
}

TEST_F(RocksDbDiskTierTest, ACapacityBelowTheLimitIsRefused) {
  const auto refused =
      OpenDiskTier({.folder = path(), .capacity_bytes = DiskTierOptions::kMinCapacityBytes - 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_TRUE(
      OpenDiskTier({.folder = path(), .capacity_bytes = DiskTierOptions::kMinCapacityBytes}));
}

TEST_F(RocksDbDiskTierTest, TheFolderNeverTakesMoreThanTheCapacity) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto tier = Open();
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> most = 0;
  std::thread watcher([&] {
    while (!done) most = std::max<std::uint64_t>(most, DiskUse(path()));
  });
  // Small blocks with long records: the index grows too.
  for (std::uint64_t n = 0; n < 150; ++n) {
    std::vector<TestBlock> batch;
    for (std::uint64_t i = 0; i < 20; ++i) {
      TestBlock block =
          MakeTestBlock(n * 20 + i, static_cast<std::uint32_t>(256 * (1 + random() % 200)));
      block.record.planes.row_bytes.assign(128,
                                           static_cast<std::uint32_t>(block.planes.size() / 256));
      batch.push_back(std::move(block));
    }
    ASSERT_TRUE(WriteBlocks(*tier, batch).ok());
    ASSERT_LE(tier->GetStats().held_bytes, kCapacityBytes);
  }
  done = true;
  watcher.join();
  EXPECT_LE(most.load(), kCapacityBytes);
  EXPECT_GT(most.load(), kCapacityBytes / 2);
  EXPECT_GT(tier->GetStats().evicted_count, 0u);
}

}  // namespace
}  // namespace kvcommons
