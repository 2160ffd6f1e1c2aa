// What keys must do: equal contexts meet, everything else parts. The fixed vectors were computed
// with Python's hmac and hashlib from the formula in the header, so a change of format shows here.

#include "store/chain_key.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace kvcommons {
namespace {

DomainSecret Secret(std::uint8_t first = 0) {
  DomainSecret secret;
  std::iota(secret.begin(), secret.end(), first);
  return secret;
}

Fingerprint Print(std::uint8_t first = 0xA0) {
  Fingerprint fingerprint;
  std::iota(fingerprint.bytes.begin(), fingerprint.bytes.end(), first);
  return fingerprint;
}

DocumentKey Document(std::uint8_t first = 0) {
  DocumentKey key;
  std::iota(key.bytes.begin(), key.bytes.end(), first);
  return key;
}

std::vector<TokenId> Tokens(std::size_t count) {
  std::vector<TokenId> tokens(count);
  for (std::size_t i = 0; i < count; ++i) tokens[i] = static_cast<TokenId>(i * 7919 % 49152);
  return tokens;
}

TEST(ChainKeyTest, KeysMatchVectorsComputedIndependently) {
  const ChainHasher hasher(Secret(), Print());
  const auto keys = hasher.Chain(Tokens(150), 64, true);
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(keys[0].ToHex(), "7e9c86c8265da2c216f731083cff6c95");
  EXPECT_EQ(keys[1].ToHex(), "097205f1e5575aa5dcf8e49460ce746c");
  EXPECT_EQ(keys[2].ToHex(), "2fb362151bf5a7726c550313edd26103");
  EXPECT_EQ(hasher.RevisionKey(Document(), 3, 9).ToHex(), "a3402c97c3faf743003024127c7ae115");
  EXPECT_EQ(hasher
                .KeyOfDocument("notes/\xC3\xBC"
                               "berblick.md")
                .ToHex(),
            "7596b53f788069564a65a95793e38e53");
  const std::vector<TokenId> content{5, -1, 49151};
  EXPECT_EQ(hasher.ContentKeyOf(content).ToHex(), "a8fbb05b5df79e16daf7d7686492f9be");
}

TEST(ChainKeyTest, EqualPrefixesHaveEqualKeysWhateverFollows) {
  const ChainHasher hasher(Secret(), Print());
  auto longer = Tokens(256);
  longer[200] = 1;
  const auto a = hasher.Chain(Tokens(128), 64, true);
  const auto b = hasher.Chain(longer, 64, true);
  EXPECT_EQ(a[0], b[0]);
  EXPECT_EQ(a[1], b[1]);
}

TEST(ChainKeyTest, AChangedParentChangesEveryBlockAfterIt) {
  const ChainHasher hasher(Secret(), Print());
  auto changed = Tokens(192);
  changed[0] += 1;
  const auto a = hasher.Chain(Tokens(192), 64, true);
  const auto b = hasher.Chain(changed, 64, true);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NE(a[i], b[i]) << i;
}

TEST(ChainKeyTest, OrderOfTokensChangesTheKey) {
  const ChainHasher hasher(Secret(), Print());
  auto swapped = Tokens(64);
  std::swap(swapped[10], swapped[11]);
  EXPECT_NE(hasher.Chain(Tokens(64), 64, true)[0], hasher.Chain(swapped, 64, true)[0]);
}

TEST(ChainKeyTest, BlockSizeChangesTheKeyOfTheSameTokens) {
  const ChainHasher hasher(Secret(), Print());
  EXPECT_NE(hasher.Chain(Tokens(16), 16, true)[0], hasher.Chain(Tokens(16), 64, true)[0]);
}

TEST(ChainKeyTest, AnotherSecretOrFingerprintGivesOtherKeys) {
  const auto key = [](const ChainHasher& hasher) { return hasher.Chain(Tokens(64), 64, true)[0]; };
  const BlockKey base = key(ChainHasher(Secret(), Print()));
  EXPECT_NE(base, key(ChainHasher(Secret(1), Print())));
  EXPECT_NE(base, key(ChainHasher(Secret(), Print(0xA1))));
}

TEST(ChainKeyTest, AShortLastBlockHasAKeyOnlyWhenAskedFor) {
  const ChainHasher hasher(Secret(), Print());
  EXPECT_EQ(hasher.Chain(Tokens(129), 64, false).size(), 2u);
  EXPECT_EQ(hasher.Chain(Tokens(129), 64, true).size(), 3u);
  EXPECT_EQ(hasher.Chain(Tokens(128), 64, true).size(), 2u);
  EXPECT_TRUE(hasher.Chain({}, 64, true).empty());
}

TEST(ChainKeyTest, KindsOfKeysNeverMeetEvenOverTheSameBytes) {
  const ChainHasher hasher(Secret(), Print());
  // 28 bytes that are a legal input of each kind: 16 of document or parent, then 12 more.
  std::vector<TokenId> tokens(7, 0);
  const std::string_view name(reinterpret_cast<const char*>(tokens.data()), 28);
  std::set<std::string> all;
  all.insert(hasher.RevisionKey(DocumentKey{}, 0, 0).ToHex());
  all.insert(hasher.KeyOfDocument(name).ToHex());
  all.insert(hasher.ContentKeyOf(tokens).ToHex());
  all.insert(hasher.Chain(tokens, 7, true)[0].ToHex());
  EXPECT_EQ(all.size(), 4u);
}

TEST(ChainKeyTest, RevisionKeysDifferByDocumentRevisionAndIndex) {
  const ChainHasher hasher(Secret(), Print());
  std::set<std::string> all;
  for (std::uint8_t document = 0; document < 3; ++document) {
    for (std::uint64_t revision = 1; revision <= 3; ++revision) {
      for (std::uint32_t index = 0; index < 3; ++index) {
        all.insert(hasher.RevisionKey(Document(document), revision, index).ToHex());
      }
    }
  }
  EXPECT_EQ(all.size(), 27u);
}

using Prefaces = std::vector<std::vector<TokenId>>;

TEST(ChainKeyTest, EqualPrefacesAndChunksHaveEqualCanonicalKeys) {
  const Prefaces prefaces{{1, 2, 3}, {4}};
  const ChainHasher a(Secret(), Print()), b(Secret(), Print());
  const ChainRoot root = a.RootOf(RootKind::kMean, prefaces);
  EXPECT_EQ(root, b.RootOf(RootKind::kMean, prefaces));
  const auto keys = a.CanonicalChain(root, Tokens(150), 64);
  EXPECT_EQ(keys.size(), 3u);
  EXPECT_EQ(keys, b.CanonicalChain(root, Tokens(150), 64));
}

TEST(ChainKeyTest, AnyOneTokenOfAPrefaceItsPlaceOrKindMakesAnotherRoot) {
  const ChainHasher hasher(Secret(), Print());
  std::set<std::string> ids;
  std::size_t count = 0;
  const auto add = [&](RootKind kind, const Prefaces& prefaces) {
    ids.insert(hasher.RootOf(kind, prefaces).id.ToHex());
    ++count;
  };
  const Prefaces prefaces{{1, 2, 3}, {4}};
  add(RootKind::kMean, prefaces);
  add(RootKind::kNear, prefaces);
  for (std::size_t p = 0; p < prefaces.size(); ++p) {
    for (std::size_t i = 0; i < prefaces[p].size(); ++i) {
      Prefaces changed = prefaces;
      changed[p][i] += 1;
      add(RootKind::kMean, changed);
    }
  }
  add(RootKind::kMean, {{1, 2}, {3, 4}});  // the same tokens, cut elsewhere
  add(RootKind::kMean, {{1, 2, 3, 4}});
  add(RootKind::kMean, {{4}, {1, 2, 3}});
  add(RootKind::kMean, {{1, 2, 3}, {4}, {}});
  EXPECT_EQ(ids.size(), count);
}

TEST(ChainKeyTest, LoadingsOfAnotherVersionAreAnotherRootAndOnePrefaceHasNone) {
  const ChainHasher hasher(Secret(), Print());
  const auto root = [&](const Prefaces& prefaces, std::uint32_t version) {
    return hasher.RootOf(RootKind::kMean, prefaces, version).id.ToHex();
  };
  EXPECT_NE(root({{1, 2}, {3}}, kLoadingsVersion), root({{1, 2}, {3}}, kLoadingsVersion + 1));
  EXPECT_EQ(root({{1, 2}}, kLoadingsVersion), root({{1, 2}}, kLoadingsVersion + 1));
}

TEST(ChainKeyTest, CanonicalKeysPartByRootChunkDomainAndModel) {
  const Prefaces prefaces{{1, 2, 3}};
  std::set<std::string> firsts;
  const auto add = [&](const ChainHasher& hasher, RootKind kind, const std::vector<TokenId>& text) {
    firsts.insert(hasher.CanonicalChain(hasher.RootOf(kind, prefaces), text, 64)[0].ToHex());
  };
  const ChainHasher hasher(Secret(), Print());
  add(hasher, RootKind::kSystem, Tokens(150));
  add(hasher, RootKind::kWarm, Tokens(150));
  add(hasher, RootKind::kSystem, Tokens(149));  // equal first block, another chunk
  add(ChainHasher(Secret(1), Print()), RootKind::kSystem, Tokens(150));
  add(ChainHasher(Secret(), Print(1)), RootKind::kSystem, Tokens(150));
  firsts.insert(hasher.Chain(Tokens(150), 64, true)[0].ToHex());
  EXPECT_EQ(firsts.size(), 6u);
}

TEST(ChainKeyTest, IdsOfOtherKindsPartByLabelMessageDomainAndModel) {
  const DomainSecret secret{1}, other_secret{2};
  Fingerprint model, other_model;
  other_model.bytes[0] = 1;
  const ChainHasher hasher(secret, model);
  const auto id = hasher.IdOf<ContentKey>("team    ", "message");
  EXPECT_EQ(id, hasher.IdOf<ContentKey>("team    ", "message"));
  EXPECT_NE(id, hasher.IdOf<ContentKey>("another ", "message"));
  EXPECT_NE(id, hasher.IdOf<ContentKey>("team    ", "messag"));
  EXPECT_NE(id, ChainHasher(other_secret, model).IdOf<ContentKey>("team    ", "message"));
  EXPECT_NE(id, ChainHasher(secret, other_model).IdOf<ContentKey>("team    ", "message"));
}

}  // namespace
}  // namespace kvcommons
