// Library documents in a store: durable, of one domain, gone together with their canonical blocks.

#include <gtest/gtest.h>

#include <algorithm>

#include "store/disk_testing.h"
#include "store/store_test_support.h"

namespace kvcommons {
namespace {

const DomainId kDomain = TestDomain(1);
constexpr std::uint32_t kBlockTokens = 4;

class StoreLibraryTest : public ::testing::TestWithParam<bool> {
 protected:
  StoreLibraryTest() { store_ = OpenStore(Options()); }

  Store::Options Options() const {
    return SmallStore(64, GetParam() ? MakeMemoryDiskTier(16 * kMiB) : nullptr);
  }

  ChainHasher Hasher() { return ChainHasher(*store_->SecretOf(kDomain), Fingerprint{}); }

  static ChainRoot Root(RootKind kind) {
    ChainRoot root{kind, {}};
    root.id.bytes.fill(static_cast<std::uint8_t>(kind));
    return root;
  }

  LibraryDocument Document(const std::string& name, std::vector<TokenId> tokens,
                           const std::vector<RootKind>& kinds) {
    LibraryDocument document;
    document.document = Hasher().KeyOfLibraryDocument(name);
    document.name = name;
    document.domain = kDomain;
    document.block_tokens = kBlockTokens;
    document.tokens = std::move(tokens);
    for (const RootKind kind : kinds) {
      document.variants.emplace_back().root = Root(kind);
    }
    return document;
  }

  // Stores blocks for one variant of the document.
  std::vector<BlockKey> PutVariant(const LibraryDocument& document, RootKind kind) {
    const std::vector<BlockKey> keys = BlocksOf(document, Root(kind), Hasher());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      TestBlock block = MakeTestBlock(i, kTestBlockBytes, 1);
      block.record.key = keys[i];
      block.record.storage_class = StorageClass::kCanonical;
      KVC_ASSERT(PutBlocks(*store_, {block}).has_value());
    }
    return keys;
  }

  bool AnyOf(const std::vector<BlockKey>& keys) const {
    return std::any_of(keys.begin(), keys.end(),
                       [&](const BlockKey& key) { return store_->Contains(kDomain, key); });
  }

  std::unique_ptr<Store> store_;
};

INSTANTIATE_TEST_SUITE_P(WithAndWithoutADisk, StoreLibraryTest, ::testing::Bool());

TEST_P(StoreLibraryTest, WhatWasPutIsFoundAndListedInItsOwnDomainOnly) {
  const LibraryDocument document = Document("a", {1, 2, 3}, {RootKind::kMean});
  ASSERT_TRUE(store_->PutLibraryDocument(document).ok());
  const auto found = store_->GetLibraryDocument(kDomain, document.document);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(EncodeLibraryDocument(*found), EncodeLibraryDocument(document));
  EXPECT_EQ(store_->ListLibraryDocuments(kDomain).size(), 1u);
  EXPECT_FALSE(store_->GetLibraryDocument(TestDomain(2), document.document).has_value());
  EXPECT_TRUE(store_->ListLibraryDocuments(TestDomain(2)).empty());
}

TEST_P(StoreLibraryTest, RemovingADocumentRemovesTheBlocksOfAllItsVariants) {
  const auto document = Document("a", {1, 2, 3, 4, 5}, {RootKind::kSystem, RootKind::kMean});
  ASSERT_TRUE(store_->PutLibraryDocument(document).ok());
  const auto system = PutVariant(document, RootKind::kSystem);
  const auto mean = PutVariant(document, RootKind::kMean);
  ASSERT_EQ(mean.size(), 2u);
  EXPECT_EQ(store_->RemoveLibraryDocument(kDomain, document.document).value_or(false), true);
  EXPECT_FALSE(AnyOf(system));
  EXPECT_FALSE(AnyOf(mean));
  EXPECT_FALSE(store_->GetLibraryDocument(kDomain, document.document).has_value());
  EXPECT_EQ(store_->RemoveLibraryDocument(kDomain, document.document).value_or(true), false);
}

TEST_P(StoreLibraryTest, PinnedRowsOfARemovedDocumentStayReadable) {
  const auto document = Document("a", {1, 2, 3}, {RootKind::kMean});
  ASSERT_TRUE(store_->PutLibraryDocument(document).ok());
  const auto keys = PutVariant(document, RootKind::kMean);
  const auto pin = store_->PinIfInMemory(kDomain, keys[0]);
  ASSERT_TRUE(pin.has_value());
  ASSERT_TRUE(store_->RemoveLibraryDocument(kDomain, document.document).has_value());
  EXPECT_FALSE(AnyOf(keys));
  EXPECT_EQ(ChecksumOf(pin->bytes().data(), pin->bytes().size()), pin->record().checksum);
}

TEST_P(StoreLibraryTest, OtherTokensUnderTheSameNameRemoveTheOldBlocks) {
  const auto document = Document("a", {1, 2, 3}, {RootKind::kMean});
  ASSERT_TRUE(store_->PutLibraryDocument(document).ok());
  const auto keys = PutVariant(document, RootKind::kMean);
  ASSERT_TRUE(store_->PutLibraryDocument(Document("a", {1, 2, 4}, {RootKind::kMean})).ok());
  EXPECT_FALSE(AnyOf(keys));
}

TEST_P(StoreLibraryTest, AVariantThatARecordNoLongerHasLosesItsBlocks) {
  auto document = Document("a", {1, 2, 3}, {RootKind::kMean, RootKind::kNear});
  ASSERT_TRUE(store_->PutLibraryDocument(document).ok());
  const auto mean = PutVariant(document, RootKind::kMean);
  const auto near = PutVariant(document, RootKind::kNear);
  document.variants.pop_back();
  ASSERT_TRUE(store_->PutLibraryDocument(document).ok());
  EXPECT_TRUE(AnyOf(mean));
  EXPECT_FALSE(AnyOf(near));
}

TEST_P(StoreLibraryTest, EqualTextsShareTheirBlocksUntilTheLastOfThemGoes) {
  const auto a = Document("a", {1, 2, 3}, {RootKind::kMean});
  const auto b = Document("b", {1, 2, 3}, {RootKind::kMean});
  ASSERT_TRUE(store_->PutLibraryDocument(a).ok());
  ASSERT_TRUE(store_->PutLibraryDocument(b).ok());
  const auto keys = PutVariant(a, RootKind::kMean);
  ASSERT_TRUE(store_->RemoveLibraryDocument(kDomain, a.document).has_value());
  EXPECT_TRUE(AnyOf(keys));
  ASSERT_TRUE(store_->RemoveLibraryDocument(kDomain, b.document).has_value());
  EXPECT_FALSE(AnyOf(keys));
}

TEST_P(StoreLibraryTest, ARecordOutOfItsLimitsIsRefused) {
  LibraryDocument document = Document("a", {1}, {});
  document.tokens.clear();
  EXPECT_EQ(store_->PutLibraryDocument(document).code(), Code::kInvalidArgument);
}

// I7.
TEST(StoreLibraryMemoryTest, ADomainHasAQuarterOfTheMemoryAndLearnsNothingOfTheOthers) {
  const auto document = [](std::uint8_t domain, const std::string& name, std::size_t tokens) {
    LibraryDocument made;
    made.document.bytes.fill(static_cast<std::uint8_t>(name[0]));
    made.name = name;
    made.domain = TestDomain(domain);
    made.block_tokens = kBlockTokens;
    made.tokens.resize(tokens);
    return made;
  };
  const std::size_t bytes = EncodeLibraryDocument(document(1, "a", 50)).size();
  Store::Options options = SmallStore(64, nullptr);
  options.library_memory_bytes = 8 * bytes + 3 * 4;
  const auto store = OpenStore(std::move(options));
  const auto put = [&](std::uint8_t domain, const std::string& name, std::size_t tokens) {
    return store->PutLibraryDocument(document(domain, name, tokens)).message();
  };
  const std::string limit = "the limit is " + std::to_string(2 * bytes + 3);
  for (std::uint8_t domain = 1; domain <= 4; ++domain) {
    ASSERT_EQ(put(domain, "a", 50), "");
    EXPECT_EQ(put(domain, "b", 51), "the domain's library documents in memory hold " +
                                        std::to_string(bytes) + " bytes, this one has " +
                                        std::to_string(bytes + 4) + "; " + limit);
    ASSERT_EQ(put(domain, "b", 50), "");
  }
  EXPECT_EQ(put(5, "a", 1),
            "no room in memory for a library document of " + std::to_string(bytes - 4 * 49) +
                " bytes; the limit of all domains is " + std::to_string(8 * bytes + 12));
  // The same in its place needs no room, and what was removed makes some.
  EXPECT_EQ(put(4, "b", 50), "");
  ASSERT_TRUE(store->RemoveLibraryDocument(TestDomain(4), document(4, "b", 1).document));
  EXPECT_EQ(put(5, "a", 50), "");
}

TEST(StoreLibraryDiskTest, DocumentsAndTheirSharedTextSurviveARestart) {
  const TestFolder folder;
  const auto open = [&] {
    DiskTierOptions options;
    options.folder = folder.path();
    options.capacity_bytes = 64 * kMiB;
    auto disk = OpenDiskTier(options);
    KVC_ASSERT(disk.has_value());
    return OpenStore(SmallStore(64, std::move(*disk)));
  };
  LibraryDocument document;
  document.name = "a";
  document.domain = kDomain;
  document.block_tokens = kBlockTokens;
  document.tokens = {1, 2, 3};
  {
    const auto store = open();
    for (std::uint8_t i = 1; i <= 2; ++i) {
      document.document.bytes.fill(i);
      ASSERT_TRUE(store->PutLibraryDocument(document).ok());
    }
  }
  const auto store = open();
  EXPECT_EQ(store->ListLibraryDocuments(kDomain).size(), 2u);
  EXPECT_EQ(store->RemoveLibraryDocument(kDomain, document.document).value_or(false), true);
  EXPECT_EQ(store->ListLibraryDocuments(kDomain).size(), 1u);
}

}  // namespace
}  // namespace kvcommons
