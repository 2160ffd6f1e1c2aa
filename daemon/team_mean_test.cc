// A mean's record: found as it was written, and refused where it is torn.

#include "daemon/team_mean.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

MeanSnapshot Mean() {
  MeanSnapshot mean;
  mean.key.bytes[0] = 1;
  mean.fingerprint.bytes[1] = 2;
  mean.team = "team";
  mean.agent = "solver";
  mean.slot = "question";
  mean.of = MeanOf::kAnswers;
  mean.deposits = 5;
  mean.of_corrected = 2;
  mean.block_tokens = 16;
  mean.bytes = 12345;
  mean.counts = {5, 5, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1};
  mean.blocks.resize(2);
  mean.blocks[1].bytes[3] = 9;
  mean.learned.resize(3);
  mean.learned[2].bytes[5] = 7;
  return mean;
}

TEST(TeamMeanTest, ARecordIsFoundAsItWasWritten) {
  const MeanSnapshot mean = Mean();
  const auto read = DecodeMean(EncodeMean(mean));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->key, mean.key);
  EXPECT_EQ(read->fingerprint, mean.fingerprint);
  EXPECT_EQ(read->team, "team");
  EXPECT_EQ(read->agent, "solver");
  EXPECT_EQ(read->slot, "question");
  EXPECT_EQ(read->of, MeanOf::kAnswers);
  EXPECT_EQ(read->deposits, 5u);
  EXPECT_EQ(read->of_corrected, 2u);
  EXPECT_EQ(read->block_tokens, 16u);
  EXPECT_EQ(read->bytes, 12345u);
  EXPECT_EQ(read->counts, mean.counts);
  EXPECT_EQ(read->blocks, mean.blocks);
  EXPECT_EQ(read->learned, mean.learned);
}

TEST(TeamMeanTest, EveryFlippedByteIsSeen) {
  const std::string bytes = EncodeMean(Mean());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string torn = bytes;
    torn[i] = static_cast<char>(torn[i] ^ 0x20);
    EXPECT_FALSE(DecodeMean(torn)) << i;
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeMean(bytes.substr(0, size))) << size;
  }
}

TEST(TeamMeanTest, RecordsThatContradictThemselvesAreRefused) {
  const auto refused = [](auto change) {
    MeanSnapshot mean = Mean();
    change(mean);
    return !DecodeMean(EncodeMean(mean));
  };
  EXPECT_FALSE(refused([](MeanSnapshot&) {}));
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.counts[3] = 5; }));  // more than at the one before
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.counts.back() = 0; }));
  EXPECT_FALSE(refused([](MeanSnapshot& m) { m.of = MeanOf::kPrompt; }));
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.of = static_cast<MeanOf>(3); }));
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.deposits = 4; }));
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.of_corrected = 6; }));
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.blocks.pop_back(); }));
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.block_tokens = 0; }));
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.counts.clear(); }));
  EXPECT_TRUE(refused([](MeanSnapshot& m) { m.learned.resize(MeanSnapshot::kMaxLearned + 1); }));
}

TEST(TeamMeanTest, CoveredAreTheRowsThatEnoughContentsHad) {
  const MeanSnapshot mean = Mean();
  EXPECT_EQ(mean.CoveredRows(1), 17u);
  EXPECT_EQ(mean.CoveredRows(2), 16u);
  EXPECT_EQ(mean.CoveredRows(5), 2u);
  EXPECT_EQ(mean.CoveredRows(6), 0u);
}

TEST(TeamMeanTest, TheLongestMeansRecordFitsANote) {
  MeanSnapshot mean = Mean();
  mean.team = mean.agent = mean.slot = std::string(MeanSnapshot::kMaxNameBytes, 'n');
  mean.counts.assign(MeanSnapshot::kMaxRows, 1);
  mean.blocks.resize(MeanSnapshot::kMaxRows / 16);
  mean.learned.resize(MeanSnapshot::kMaxLearned);
  const std::string bytes = EncodeMean(mean);
  EXPECT_TRUE(DecodeMean(bytes));
  EXPECT_LE(bytes.size(), std::size_t{64} << 10);
}

}  // namespace
}  // namespace kvcommons
