// The contract of store/disk_tier.h, held against every implementation.

#include "store/disk_tier.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>

#include "store/disk_testing.h"

namespace kvcommons {
namespace {

constexpr std::uint64_t kCapacityBytes = 32 << 20;
constexpr std::uint32_t kBlockBytes = 64 << 10;

struct Implementation {
  const char* name;
  std::unique_ptr<DiskTier> (*make)(const std::string& folder, std::uint64_t capacity_bytes);
};

class DiskTierTest : public testing::TestWithParam<Implementation> {
 protected:
  std::unique_ptr<DiskTier> Make(std::uint64_t capacity_bytes = kCapacityBytes) {
    return GetParam().make(folder_.path() + "/store", capacity_bytes);
  }

 private:
  TestFolder folder_;
};

TEST_P(DiskTierTest, ReadsWhatWasWritten) {
  const auto tier = Make();
  const std::vector<TestBlock> blocks = {MakeTestBlock(1, kBlockBytes), MakeTestBlock(2, 4),
                                         MakeTestBlock(3, 4096), MakeTestBlock(4, 5000),
                                         MakeTestBlock(5, 300000)};
  ASSERT_TRUE(WriteBlocks(*tier, blocks).ok());
  for (const TestBlock& block : blocks) {
    EXPECT_TRUE(tier->Contains(block.record.key));
    EXPECT_EQ(Find(*tier, block), Found::kWhole) << block.planes.size();
    const auto record = tier->ReadRecord(block.record.key);
    ASSERT_TRUE(record);
    EXPECT_EQ(record->tokens, block.record.tokens);
  }
  EXPECT_EQ(tier->GetStats().block_count, blocks.size());
  EXPECT_EQ(tier->GetStats().quarantined_count, 0u);
}

TEST_P(DiskTierTest, AMissIsEmptyAndAllocatesNothing) {
  const auto tier = Make();
  EXPECT_FALSE(tier->Contains(TestKey(1)));
  EXPECT_FALSE(tier->ReadRecord(TestKey(1)));
  EXPECT_FALSE(tier->Read(TestKey(1), [](const BlockRecord&) -> std::byte* {
    ADD_FAILURE() << "allocated for a miss";
    return nullptr;
  }));
}

TEST_P(DiskTierTest, AReaderThatGetsNoMemoryLeavesTheBlockWhereItIs) {
  const auto tier = Make();
  const TestBlock block = MakeTestBlock(1, kBlockBytes);
  ASSERT_TRUE(WriteBlocks(*tier, {block}).ok());
  EXPECT_FALSE(
      tier->Read(block.record.key, [](const BlockRecord&) -> std::byte* { return nullptr; }));
  EXPECT_EQ(Find(*tier, block), Found::kWhole);
  EXPECT_EQ(tier->GetStats().quarantined_count, 0u);
}

TEST_P(DiskTierTest, ListsEveryBlockOnceWithSizeDomainAndClass) {
  const auto tier = Make();
  const std::vector<TestBlock> blocks = {MakeTestBlock(1, 4096, 1), MakeTestBlock(2, 8192, 2)};
  ASSERT_TRUE(WriteBlocks(*tier, blocks).ok());
  std::map<BlockKey, DiskTier::Entry> entries;
  tier->ForEach([&entries](const DiskTier::Entry& entry) {
    EXPECT_TRUE(entries.emplace(entry.key, entry).second);
  });
  ASSERT_EQ(entries.size(), 2u);
  for (const TestBlock& block : blocks) {
    const DiskTier::Entry& entry = entries.at(block.record.key);
    EXPECT_EQ(entry.bytes, block.planes.size());
    EXPECT_EQ(entry.domain, block.record.domain);
    EXPECT_EQ(entry.storage_class, block.record.storage_class);
  }
}

TEST_P(DiskTierTest, TheFirstCommitWins) {
  const auto tier = Make();
  const TestBlock first = MakeTestBlock(1, 4096);
  TestBlock second = MakeTestBlock(2, 4096);
  second.record.key = first.record.key;
  ASSERT_TRUE(WriteBlocks(*tier, {first, second}).ok());
  ASSERT_TRUE(WriteBlocks(*tier, {second}).ok());
  EXPECT_EQ(Find(*tier, first), Found::kWhole);
  EXPECT_EQ(tier->GetStats().block_count, 1u);
}

TEST_P(DiskTierTest, AnEmptyBatchIsNoFailure) { EXPECT_TRUE(Make()->Write({}).ok()); }

TEST_P(DiskTierTest, ARecordOutOfItsLimitsChangesNothing) {
  const auto tier = Make();
  const TestBlock good = MakeTestBlock(1, 4096);
  TestBlock bad = MakeTestBlock(2, 4096);
  bad.record.tokens.clear();
  EXPECT_EQ(WriteBlocks(*tier, {good, bad}).code(), Code::kInvalidArgument);
  EXPECT_FALSE(tier->Contains(good.record.key));
}

TEST_P(DiskTierTest, ABatchOverTheCapacityIsExhaustedAndChangesNothing) {
  const auto tier = Make();
  const TestBlock kept = MakeTestBlock(1000, kBlockBytes);
  ASSERT_TRUE(WriteBlocks(*tier, {kept}).ok());
  std::vector<TestBlock> blocks;
  for (std::uint64_t n = 0; n <= kCapacityBytes / kBlockBytes; ++n) {
    blocks.push_back(MakeTestBlock(n, kBlockBytes));
  }
  const Status status = WriteBlocks(*tier, blocks);
  EXPECT_EQ(status.code(), Code::kExhausted) << status.ToString();
  for (const TestBlock& block : blocks) EXPECT_FALSE(tier->Contains(block.record.key));
  EXPECT_EQ(Find(*tier, kept), Found::kWhole);
}

TEST_P(DiskTierTest, OldBlocksLeaveAndTheBoundHoldsUnderARandomWorkload) {
  const auto tier = Make();
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::map<std::uint64_t, TestBlock> written;
  std::uint64_t next = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<TestBlock> batch;
    for (std::uint64_t n = random() % 12; n > 0; --n) {
      batch.push_back(MakeTestBlock(next++, static_cast<std::uint32_t>(4 + random() % 50000 * 4)));
    }
    ASSERT_TRUE(WriteBlocks(*tier, batch).ok());
    for (TestBlock& block : batch) {
      EXPECT_TRUE(tier->Contains(block.record.key)) << "evicted by its own batch";
      written.emplace(next - batch.size(), std::move(block));
    }
    if (random() % 4 == 0 && next > 0) {
      const std::vector<BlockKey> keys = {TestKey(random() % next), TestKey(random() % next)};
      ASSERT_TRUE(tier->Remove(keys).ok());
      for (const BlockKey& key : keys) EXPECT_FALSE(tier->Contains(key));
    }
    const DiskTier::Stats stats = tier->GetStats();
    ASSERT_LE(stats.held_bytes, kCapacityBytes);
    EXPECT_EQ(stats.capacity_bytes, kCapacityBytes);
  }
  std::size_t whole = 0;
  for (const auto& [number, block] : written) {
    const Found found = Find(*tier, block);
    EXPECT_NE(found, Found::kWrong);
    whole += found == Found::kWhole;
  }
  EXPECT_GT(whole, 10u);
  EXPECT_EQ(tier->GetStats().quarantined_count, 0u);
  EXPECT_GT(tier->GetStats().evicted_count, 0u);
}

TEST_P(DiskTierTest, ATouchedBlockOutlivesItsNeighbours) {
  const auto tier = Make();
  const TestBlock hot = MakeTestBlock(0, kBlockBytes);
  const TestBlock cold = MakeTestBlock(1, kBlockBytes);
  ASSERT_TRUE(WriteBlocks(*tier, {hot, cold}).ok());
  for (std::uint64_t n = 2; n < 4 * kCapacityBytes / kBlockBytes; ++n) {
    tier->Touch(hot.record.key);
    ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(n, kBlockBytes)}).ok());
  }
  EXPECT_EQ(Find(*tier, hot), Found::kWhole);
  EXPECT_EQ(Find(*tier, cold), Found::kAbsent);
}

TEST_P(DiskTierTest, TellsWhatIsGoneButNotWhatWasRemoved) {
  const auto tier = Make();
  std::multiset<BlockKey> told;
  tier->SetGoneListener([&](std::span<const BlockKey> keys) {
    for (const BlockKey& key : keys) {
      EXPECT_FALSE(tier->Contains(key)) << "told before it was gone";
      told.insert(key);
    }
  });
  TestBlock bad = MakeTestBlock(0, kBlockBytes);
  bad.record.checksum.high ^= 1;
  const TestBlock removed = MakeTestBlock(1, kBlockBytes);
  ASSERT_TRUE(WriteBlocks(*tier, {bad, removed}).ok());
  ASSERT_TRUE(tier->Remove(std::vector<BlockKey>{removed.record.key}).ok());
  EXPECT_TRUE(told.empty());
  EXPECT_EQ(Find(*tier, bad), Found::kAbsent);
  EXPECT_EQ(told, std::multiset<BlockKey>{bad.record.key});

  told.clear();
  const std::uint64_t count = 2 * kCapacityBytes / kBlockBytes;
  for (std::uint64_t n = 2; n < count; ++n) {
    ASSERT_TRUE(WriteBlocks(*tier, {MakeTestBlock(n, kBlockBytes)}).ok());
  }
  EXPECT_GT(told.size(), 0u);
  EXPECT_EQ(told.size(), tier->GetStats().evicted_count);
  for (std::uint64_t n = 2; n < count; ++n) {
    EXPECT_EQ(told.count(TestKey(n)), tier->Contains(TestKey(n)) ? 0u : 1u) << n;
  }
}

TEST_P(DiskTierTest, RemovedBlocksAreGoneAndTheirKeysCanBeWrittenAgain) {
  const auto tier = Make();
  const TestBlock block = MakeTestBlock(1, kBlockBytes);
  ASSERT_TRUE(WriteBlocks(*tier, {block}).ok());
  const std::vector<BlockKey> keys = {block.record.key, TestKey(77)};
  ASSERT_TRUE(tier->Remove(keys).ok());
  EXPECT_EQ(Find(*tier, block), Found::kAbsent);
  EXPECT_EQ(tier->GetStats().block_count, 0u);
  ASSERT_TRUE(WriteBlocks(*tier, {block}).ok());
  EXPECT_EQ(Find(*tier, block), Found::kWhole);
}

TEST_P(DiskTierTest, ABlockThatDoesNotMatchItsChecksumIsAMissAndQuarantined) {
  const auto tier = Make();
  TestBlock block = MakeTestBlock(1, kBlockBytes);
  block.record.checksum.low ^= 1;
  const TestBlock good = MakeTestBlock(2, kBlockBytes);
  ASSERT_TRUE(WriteBlocks(*tier, {block, good}).ok());
  EXPECT_EQ(Find(*tier, block), Found::kAbsent);
  EXPECT_FALSE(tier->Contains(block.record.key));
  EXPECT_EQ(tier->GetStats().quarantined_count, 1u);
  EXPECT_EQ(Find(*tier, good), Found::kWhole);
}

DocumentRevision TestDocument(std::uint8_t domain, std::uint8_t number, std::uint64_t revision) {
  DocumentRevision document;
  document.domain = TestDomain(domain);
  document.document.bytes[0] = number;
  document.name = "document " + std::to_string(number);
  document.revision = revision;
  document.tokens = {1, 2, 3};
  document.segments = {{.begin = 0, .end = 2, .block = TestKey(1)}};
  return document;
}

TEST_P(DiskTierTest, ADocumentIsReplacedReadAndRemovedInItsOwnDomain) {
  const auto tier = Make();
  ASSERT_TRUE(tier->PutDocument(TestDocument(1, 1, 1)).ok());
  ASSERT_TRUE(tier->PutDocument(TestDocument(1, 1, 2)).ok());
  ASSERT_TRUE(tier->PutDocument(TestDocument(1, 2, 1)).ok());
  ASSERT_TRUE(tier->PutDocument(TestDocument(2, 1, 7)).ok());

  const DocumentRevision wanted = TestDocument(1, 1, 2);
  const auto found = tier->GetDocument(wanted.domain, wanted.document);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->revision, 2u);
  EXPECT_EQ(found->tokens, wanted.tokens);
  ASSERT_EQ(found->segments.size(), 1u);
  EXPECT_EQ(found->segments[0].block, TestKey(1));

  const auto list = tier->ListDocuments(TestDomain(1));
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "document 1");
  EXPECT_EQ(list[1].name, "document 2");
  EXPECT_EQ(list[0].revision, 2u);
  EXPECT_EQ(list[0].token_count, wanted.tokens.size());
  EXPECT_TRUE(tier->ListDocuments(TestDomain(3)).empty());

  ASSERT_TRUE(tier->RemoveDocument(wanted.domain, wanted.document).ok());
  ASSERT_TRUE(tier->RemoveDocument(wanted.domain, wanted.document).ok());
  EXPECT_FALSE(tier->GetDocument(wanted.domain, wanted.document));
  EXPECT_TRUE(tier->GetDocument(TestDomain(2), wanted.document));
}

TEST_P(DiskTierTest, ADocumentOutOfItsLimitsIsRefused) {
  const auto tier = Make();
  DocumentRevision document = TestDocument(1, 1, 1);
  document.name.clear();
  EXPECT_EQ(tier->PutDocument(document).code(), Code::kInvalidArgument);
  EXPECT_TRUE(tier->ListDocuments(TestDomain(1)).empty());
}

TEST_P(DiskTierTest, ADocumentOverTheCapacityIsExhausted) {
  const auto tier = Make();
  DocumentRevision document = TestDocument(1, 1, 1);
  document.tokens.resize(kCapacityBytes / sizeof(TokenId));
  EXPECT_EQ(tier->PutDocument(document).code(), Code::kExhausted);
  EXPECT_TRUE(tier->ListDocuments(TestDomain(1)).empty());
}

TEST_P(DiskTierTest, MetadataIsKeptWithinItsLimits) {
  const auto tier = Make();
  EXPECT_FALSE(tier->GetMeta("secret"));
  ASSERT_TRUE(tier->PutMeta("secret", "one").ok());
  ASSERT_TRUE(tier->PutMeta("secret", "two").ok());
  EXPECT_EQ(tier->GetMeta("secret"), "two");

  const std::string name(DiskTier::kMaxMetaNameBytes, 'n');
  const std::string value(DiskTier::kMaxMetaValueBytes, 'v');
  EXPECT_TRUE(tier->PutMeta(name, value).ok());
  EXPECT_EQ(tier->GetMeta(name), value);
  EXPECT_EQ(tier->PutMeta(name + 'n', "").code(), Code::kInvalidArgument);
  EXPECT_EQ(tier->PutMeta("", "").code(), Code::kInvalidArgument);
  EXPECT_EQ(tier->PutMeta("value", value + 'v').code(), Code::kInvalidArgument);
  EXPECT_FALSE(tier->GetMeta("value"));
}

TEST_P(DiskTierTest, MetadataIsListedByPrefixInOrderOfNamesAndRemoved) {
  const auto tier = Make();
  EXPECT_TRUE(tier->ListMeta("a/").empty());
  for (const char* name : {"b/1", "a/2", "a/\xff", "a/1", "a", "a0"}) {
    ASSERT_TRUE(tier->PutMeta(name, std::string("of ") + name).ok());
  }
  const auto names = [&tier](std::string_view prefix) {
    std::vector<std::string> found;
    for (const DiskTier::Meta& meta : tier->ListMeta(prefix)) {
      EXPECT_EQ(meta.value, "of " + meta.name);
      found.push_back(meta.name);
    }
    return found;
  };
  EXPECT_EQ(names("a/"), (std::vector<std::string>{"a/1", "a/2", "a/\xff"}));
  EXPECT_EQ(names("").size(), 6u);
  EXPECT_TRUE(tier->RemoveMeta("a/2").ok());
  EXPECT_TRUE(tier->RemoveMeta("a/2").ok()) << "an absent name is no failure";
  EXPECT_FALSE(tier->GetMeta("a/2"));
  EXPECT_EQ(names("a/"), (std::vector<std::string>{"a/1", "a/\xff"}));
}

TEST_P(DiskTierTest, ThreadsThatWriteReadAndRemoveSeeWholeBlocksOnly) {
  const auto tier = Make();
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&tier, t] {
      std::mt19937_64 random(t);
      for (int round = 0; round < 60; ++round) {
        const std::uint64_t number = random() % 40;
        const TestBlock block =
            MakeTestBlock(number, kBlockBytes + 4096 * static_cast<std::uint32_t>(number % 5));
        switch (random() % 8) {
          case 0:
            EXPECT_TRUE(tier->Remove(std::vector<BlockKey>{block.record.key}).ok());
            break;
          case 1:
            tier->Touch(block.record.key);
            break;
          case 2:
          case 3:
          case 4:
            EXPECT_NE(Find(*tier, block), Found::kWrong);
            break;
          default:
            EXPECT_TRUE(
                WriteBlocks(*tier, {block, MakeTestBlock(1000 + random() % 1000, 8 * kBlockBytes)})
                    .ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(tier->GetStats().quarantined_count, 0u);
  EXPECT_LE(tier->GetStats().held_bytes, kCapacityBytes);
}

std::unique_ptr<DiskTier> MakeInMemory(const std::string&, std::uint64_t capacity_bytes) {
  return MakeMemoryDiskTier(capacity_bytes);
}

std::unique_ptr<DiskTier> MakeOnDisk(const std::string& folder, std::uint64_t capacity_bytes) {
  Result<std::unique_ptr<DiskTier>> tier =
      OpenDiskTier({.folder = folder, .capacity_bytes = capacity_bytes});
  KVC_ASSERT(tier.has_value());
  return *std::move(tier);
}

const Implementation kImplementations[] = {{"Memory", MakeInMemory}, {"Disk", MakeOnDisk}};

INSTANTIATE_TEST_SUITE_P(All, DiskTierTest, testing::ValuesIn(kImplementations),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace kvcommons
