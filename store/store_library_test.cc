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
