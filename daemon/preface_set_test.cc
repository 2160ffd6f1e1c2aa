// Prefaces: what they are made of, and what they are refused for.

#include "daemon/preface_set.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

PrefaceSet Sample() {
  PrefaceSet set;
  set.sink_tokens = {1};
  set.system_tokens = {2, 3};
  set.prefaces = 4;
  set.passages_per_preface = 2;
  set.preface_tokens = 3;
  for (TokenId i = 0; i < 8; ++i) set.neutral.push_back({100 + i});
  return set;
}

const ChainHasher& Hasher() {
  static const ChainHasher hasher(DomainSecret{}, Fingerprint{});
  return hasher;
}

using Lists = std::vector<TokenList>;

TEST(PrefaceSetTest, EveryVariantHasItsPrefaces) {
  const PrefaceRoots roots(Sample(), Hasher());
  EXPECT_EQ(roots.Prefaces(RootKind::kSink), (Lists{{1}}));
  EXPECT_EQ(roots.Prefaces(RootKind::kSystem), (Lists{{2, 3}}));
  EXPECT_EQ(roots.Prefaces(RootKind::kWarm), (Lists{{2, 3, 100, 101}}));
  EXPECT_EQ(roots.Prefaces(RootKind::kMean),
            (Lists{{2, 3, 100, 101}, {2, 3, 102, 103}, {2, 3, 104, 105}, {2, 3, 106, 107}}));
  EXPECT_EQ(roots.Root(RootKind::kMean),
            Hasher().RootOf(RootKind::kMean, roots.Prefaces(RootKind::kMean)));
}

TEST(PrefaceSetTest, EverySecondPrefaceOfNearHasTheNeighboursCutToLength) {
  const PrefaceRoots roots(Sample(), Hasher());
  EXPECT_EQ(roots.NeighbourLimit(), 4u);
  const Lists three{{11, 12, 13, 14}, {21}, {31}};
  EXPECT_EQ(
      roots.NearPrefaces(three),
      (Lists{{2, 3, 11, 12, 13, 21}, {2, 3, 102, 103}, {2, 3, 31, 11, 12, 13}, {2, 3, 106, 107}}));
}

TEST(PrefaceSetTest, ALoneNeighbourIsMadeUpWithDifferentNeutralText) {
  const PrefaceRoots roots(Sample(), Hasher());
  EXPECT_EQ(roots.NearPrefaces(Lists{{11}}),
            (Lists{{2, 3, 11, 101}, {2, 3, 102, 103}, {2, 3, 11, 105}, {2, 3, 106, 107}}));
}

TEST(PrefaceSetTest, TheSetIsNamedByAllItsTokensButTheSink) {
  const RootId id = PrefaceRoots(Sample(), Hasher()).id();
  PrefaceSet changed = Sample();
  changed.sink_tokens = {9};
  EXPECT_EQ(PrefaceRoots(changed, Hasher()).id(), id);
  changed = Sample();
  changed.system_tokens = {2, 4};
  EXPECT_NE(PrefaceRoots(changed, Hasher()).id(), id);
  changed = Sample();
  changed.neutral[7] = {9};
  EXPECT_NE(PrefaceRoots(changed, Hasher()).id(), id);
}

TEST(PrefaceSetTest, EveryFieldIsLimited) {
  const auto message = [](auto change, std::uint32_t context = 1000) {
    PrefaceSet set = Sample();
    change(set);
    return CheckPrefaceSet(set, context).message();
  };
  EXPECT_EQ(message([](PrefaceSet&) {}), "");
  EXPECT_EQ(message([](PrefaceSet& s) { s.prefaces = 0; }), "prefaces is 0; the limit is 1 to 64");
  EXPECT_EQ(message([](PrefaceSet& s) { s.prefaces = 65; }),
            "prefaces is 65; the limit is 1 to 64");
  EXPECT_EQ(message([](PrefaceSet& s) {
              s.prefaces = 64;
              s.neutral.resize(128, {1});
            }),
            "");
  EXPECT_EQ(message([](PrefaceSet& s) { s.passages_per_preface = 17; }),
            "passagesPerPreface is 17; the limit is 1 to 16");
  EXPECT_EQ(message([](PrefaceSet& s) { s.preface_tokens = 8193; }),
            "prefaceTokens is 8193; the limit is 1 to 8192");
  EXPECT_EQ(message([](PrefaceSet& s) { s.neutral.pop_back(); }),
            "neutral's length is 7; the limit is 8 to 4096");
  EXPECT_EQ(message([](PrefaceSet& s) {
              s.neutral[2] = {1, 2, 3, 4};
            }),
            "neutral[2]'s length is 4; the limit is 1 to 3");
  EXPECT_EQ(message([](PrefaceSet& s) { s.neutral[2].clear(); }),
            "neutral[2]'s length is 0; the limit is 1 to 3");
  // Three of all tokens are not neutral.
  const auto with_total = [](std::size_t more) {
    return [more](PrefaceSet& s) {
      s.preface_tokens = 1025;
      s.neutral.assign(1024, TokenList(1024, 1));
      s.neutral[0].resize(1024 - 3 + more);
    };
  };
  EXPECT_EQ(message(with_total(0), 3000), "");
  EXPECT_EQ(message(with_total(1), 3000),
            "tokens of the preface set is 1048577; the limit is 0 to 1048576");
  EXPECT_EQ(message([](PrefaceSet&) {}, 9), "");
  EXPECT_EQ(message([](PrefaceSet&) {}, 8),
            "tokens of the longest preface is 8; the limit is 0 to 7");
}

}  // namespace
}  // namespace kvcommons
