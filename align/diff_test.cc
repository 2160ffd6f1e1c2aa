// What these tests hold the diff to: every run is a real match in order, up to max_edits it keeps
// as many tokens as a quadratic LCS does, and hostile inputs end in bounded time.

#include "align/diff.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace kvcommons {
namespace {

using Ids = std::vector<TokenId>;

Ids RandomIds(std::mt19937& random, std::size_t size, int alphabet) {
  std::uniform_int_distribution<int> id(0, alphabet - 1);
  Ids ids(size);
  for (TokenId& value : ids) value = id(random);
  return ids;
}

std::size_t LcsLength(const Ids& a, const Ids& b) {
  std::vector<std::size_t> row(b.size() + 1, 0);
  for (const TokenId x : a) {
    std::size_t diagonal = 0;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = x == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::size_t KeptTokens(const std::vector<KeptRun>& runs) {
  std::size_t sum = 0;
  for (const KeptRun& run : runs) sum += static_cast<std::size_t>(run.length);
  return sum;
}

void ExpectRealMatches(const std::vector<KeptRun>& runs, const Ids& a, const Ids& b) {
  KeptRun before;
  for (const KeptRun& run : runs) {
    ASSERT_GT(run.length, 0);
    ASSERT_GE(run.a_begin, before.a_end());
    ASSERT_GE(run.b_begin, before.b_end());
    if (before.length > 0) {
      ASSERT_FALSE(run.a_begin == before.a_end() && run.b_begin == before.b_end())
          << "two runs that are one";
    }
    ASSERT_LE(run.a_end(), static_cast<Position>(a.size()));
    ASSERT_LE(run.b_end(), static_cast<Position>(b.size()));
    ASSERT_TRUE(
        std::equal(a.begin() + run.a_begin, a.begin() + run.a_end(), b.begin() + run.b_begin));
    before = run;
  }
}

double CpuMillisecondsOf(const Ids& a, const Ids& b, std::vector<KeptRun>& runs) {
  const std::clock_t start = std::clock();  // of this process: others share the machine
  runs = DiffTokens(a, b).value();
  return 1000.0 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

// Sanitizers make everything about ten times slower.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlow = 20;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr double kSlow = 20;
#else
constexpr double kSlow = 1;
#endif
#else
constexpr double kSlow = 1;
#endif

TEST(DiffTest, EqualSequencesAreOneRun) {
  const Ids a = {1, 2, 3, 4};
  EXPECT_EQ(DiffTokens(a, a).value(), (std::vector<KeptRun>{{0, 0, 4}}));
}

TEST(DiffTest, NothingInCommonIsNoRun) {
  EXPECT_TRUE(DiffTokens(Ids{1, 2, 3}, Ids{4, 5}).value().empty());
  EXPECT_TRUE(DiffTokens(Ids{}, Ids{4, 5}).value().empty());
  EXPECT_TRUE(DiffTokens(Ids{1}, Ids{}).value().empty());
  EXPECT_TRUE(DiffTokens(Ids{}, Ids{}).value().empty());
}

TEST(DiffTest, InsertionDeletionAndReplacementLeaveTheirTwoSides) {
  const Ids a = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(DiffTokens(a, Ids{1, 2, 3, 9, 9, 4, 5, 6}).value(),
            (std::vector<KeptRun>{{0, 0, 3}, {3, 5, 3}}));
  EXPECT_EQ(DiffTokens(a, Ids{1, 2, 5, 6}).value(), (std::vector<KeptRun>{{0, 0, 2}, {4, 2, 2}}));
  EXPECT_EQ(DiffTokens(a, Ids{1, 2, 9, 5, 6}).value(),
            (std::vector<KeptRun>{{0, 0, 2}, {4, 3, 2}}));
}

TEST(DiffTest, AnAmbiguousRunJoinsItsLeftNeighbour) {
  // The 7 of b may be either 7 of a. With the first one the unchanged start is longer.
  EXPECT_EQ(DiffTokens(Ids{1, 2, 7, 5, 7, 3, 4}, Ids{1, 2, 7, 3, 4}).value(),
            (std::vector<KeptRun>{{0, 0, 3}, {5, 3, 2}}));
}

TEST(DiffTest, ARunThatItsRightNeighbourCanTakeVanishes) {
  // Ids 50 and 51 occur in a before the removed part and at its end: two runs are enough.
  const Ids a = {1, 2, 8, 50, 51, 9, 9, 9, 50, 51, 3, 4};
  const Ids b = {1, 2, 50, 51, 3, 4};
  const auto runs = DiffTokens(a, b).value();
  ExpectRealMatches(runs, a, b);
  EXPECT_EQ(KeptTokens(runs), 6u);
  EXPECT_EQ(runs, (std::vector<KeptRun>{{0, 0, 2}, {8, 2, 4}}));
}

TEST(DiffTest, KeepsAsManyTokensAsAQuadraticLcs) {
  constexpr unsigned kSeed = 20240703;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int round = 0; round < 4000; ++round) {
    const int alphabet = 2 + static_cast<int>(random() % 12);
    const Ids a = RandomIds(random, random() % 48, alphabet);
    const Ids b = RandomIds(random, random() % 48, alphabet);
    const auto runs = DiffTokens(a, b).value();
    ASSERT_NO_FATAL_FAILURE(ExpectRealMatches(runs, a, b)) << "round " << round;
    ASSERT_EQ(KeptTokens(runs), LcsLength(a, b)) << "round " << round;
  }
}

// Cuts random pieces out of `a` and puts random pieces in, as an editor does.
Ids Edited(std::mt19937& random, const Ids& a, int places, int alphabet) {
  Ids b = a;
  for (int i = 0; i < places; ++i) {
    const std::size_t at = random() % (b.size() + 1);
    const std::size_t removed = std::min<std::size_t>(random() % 30, b.size() - at);
    b.erase(b.begin() + static_cast<std::ptrdiff_t>(at),
            b.begin() + static_cast<std::ptrdiff_t>(at + removed));
    const Ids inserted = RandomIds(random, random() % 30, alphabet);
    b.insert(b.begin() + static_cast<std::ptrdiff_t>(at), inserted.begin(), inserted.end());
  }
  return b;
}

TEST(DiffTest, FollowsEditsOfALongDocument) {
  constexpr unsigned kSeed = 7;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int round = 0; round < 20; ++round) {
    const Ids a = RandomIds(random, 1500, 200);
    const Ids b = Edited(random, a, 1 + round, 200);
    const auto runs = DiffTokens(a, b).value();
    ASSERT_NO_FATAL_FAILURE(ExpectRealMatches(runs, a, b)) << "round " << round;
    ASSERT_EQ(KeptTokens(runs), LcsLength(a, b)) << "round " << round;
  }
}

TEST(DiffTest, BeyondMaxEditsItAnchorsOnUniqueRuns) {
  constexpr unsigned kSeed = 11;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int round = 0; round < 20; ++round) {
    const Ids a = RandomIds(random, 3000, 5000);
    const Ids b = Edited(random, a, 20, 5000);
    DiffOptions options;
    options.max_edits = 50;
    const auto runs = DiffTokens(a, b, options).value();
    ASSERT_NO_FATAL_FAILURE(ExpectRealMatches(runs, a, b)) << "round " << round;
    // Short pieces between two edits may be lost; no more than that.
    ASSERT_GE(KeptTokens(runs) + 200, LcsLength(a, b)) << "round " << round;
  }
}

TEST(DiffTest, AnyBoundGivesRealMatches) {
  constexpr unsigned kSeed = 13;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (int round = 0; round < 3000; ++round) {
    const int alphabet = 2 + static_cast<int>(random() % 40);
    const Ids a = RandomIds(random, random() % 200, alphabet);
    const Ids b = Edited(random, a, 1 + static_cast<int>(random() % 6), alphabet);
    DiffOptions options;
    options.max_edits = static_cast<std::int32_t>(random() % 40);
    options.max_steps = static_cast<std::int64_t>(random() % 4000);
    const auto runs = DiffTokens(a, b, options).value();
    ASSERT_NO_FATAL_FAILURE(ExpectRealMatches(runs, a, b)) << "round " << round;
    ASSERT_LE(KeptTokens(runs), LcsLength(a, b)) << "round " << round;
  }
}

TEST(DiffTest, UnrelatedSequencesEndInBoundedTime) {
  std::mt19937 random(1);
  const Ids a = RandomIds(random, 8192, 50000);
  const Ids b = RandomIds(random, 8192, 50000);
  std::vector<KeptRun> runs;
  EXPECT_LT(CpuMillisecondsOf(a, b, runs), 50 * kSlow);
  ExpectRealMatches(runs, a, b);
}

TEST(DiffTest, RepetitiveSequencesEndInBoundedTime) {
  std::mt19937 random(2);
  const Ids a = RandomIds(random, 8192, 2);
  Ids b = RandomIds(random, 8192, 2);
  std::vector<KeptRun> runs;
  EXPECT_LT(CpuMillisecondsOf(a, b, runs), 200 * kSlow);
  ExpectRealMatches(runs, a, b);
}

TEST(DiffTest, TheLimitIsAcceptedAndOneMoreIsRefused) {
  Ids a(kMaxDiffTokens, 5);
  Ids b = a;
  b[kMaxDiffTokens / 2] = 6;
  const auto half = static_cast<Position>(kMaxDiffTokens / 2);
  EXPECT_EQ(DiffTokens(a, b).value(),
            (std::vector<KeptRun>{{0, 0, half}, {half + 1, half + 1, half - 1}}));
  a.push_back(5);
  const auto refused = DiffTokens(a, b);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(refused.error().message(), "tokens has 16777217 entries; the limit is 16777216");
}

TEST(DiffTest, CommonEndsAreFoundAtEveryLength) {
  for (std::size_t size = 0; size < 200; ++size) {
    Ids a(size);
    for (std::size_t i = 0; i < size; ++i) a[i] = static_cast<TokenId>(i);
    EXPECT_EQ(CommonPrefix(a, a), size);
    EXPECT_EQ(CommonSuffix(a, a), size);
    for (std::size_t at = 0; at < size; ++at) {
      Ids b = a;
      b[at] = -1;
      ASSERT_EQ(CommonPrefix(a, b), at);
      ASSERT_EQ(CommonSuffix(a, b), size - 1 - at);
    }
  }
}

}  // namespace
}  // namespace kvcommons
