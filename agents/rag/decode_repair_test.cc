#include "agents/rag/decode_repair.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "agents/engine/engine_testing.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kTokens = 60;

// A prompt of which the rows 20 to 40 are those of another one.
class DecodeRepairTest : public testing::Test {
 protected:
  void SetUp() override {
    KVC_NEEDS_MODEL();
    engine_ = &SharedEngine(TestEngine::kExactFlash);
    prompt_ = std::span(LongText()).first(kTokens);
    ASSERT_TRUE(engine_->RunRest(prompt_).ok());
    forced_ = engine_->Generate(6).value();
    ASSERT_GE(forced_.size(), 3U);
    ASSERT_TRUE(engine_->RemoveFrom(kTokens).ok());
    full_ = TeacherForce(*engine_, prompt_, forced_).value();
    exact_ = Rows(*engine_, 0, kTokens);
    ASSERT_TRUE(
        (engine_->Clear(), engine_->RunRest(std::span(LongText()).subspan(500, kTokens))).ok());
    foreign_ = Rows(*engine_, 0, kTokens);
    for (Position row = 20; row < 40; ++row) {
      stale_.rows.push_back(row);
      stale_.deviation.push_back(1);
    }
  }

  void PlaceStale() {
    const PlaceSpan spans[] = {{0, 20, 0, exact_.data(), kTokens, 0},
                               {20, 20, 0, foreign_.data(), kTokens, 20},
                               {40, kTokens - 40, 0, exact_.data(), kTokens, 40}};
    ASSERT_TRUE(engine_->Place(spans).ok());
  }

  Engine* engine_ = nullptr;
  std::span<const TokenId> prompt_;
  std::vector<TokenId> forced_;
  LogitRows full_;
  std::vector<std::byte> exact_, foreign_;
  StaleRows stale_;
};

TEST_F(DecodeRepairTest, WhenAllStaleRowsAreRepairedTokensAreFullPrefills) {
  PlaceStale();
  DecodeRepair repair(*engine_, prompt_, stale_, 20);
  const auto rows = repair.TeacherForce(forced_);
  ASSERT_TRUE(rows) << rows.error().ToString();
  ASSERT_EQ(rows->size(), full_.size());
  EXPECT_GT(Kl(full_[0], (*rows)[0]), 1e-3) << "the first token read what was stale";
  EXPECT_EQ(repair.repaired(), 20U);
  EXPECT_EQ(repair.stale_count(), 0U);
  // The rows behind the repaired ones are exact here, so everything is.
  for (std::size_t i = 1; i < rows->size(); ++i) EXPECT_LT(Kl(full_[i], (*rows)[i]), 1e-2) << i;
  EXPECT_EQ(engine_->held_end(), static_cast<Position>(kTokens));
}

TEST_F(DecodeRepairTest, AFewRowsATokenAreRepairedAndTheMostMisreadFirst) {
  PlaceStale();
  // One row errs far more than the others.
  stale_.deviation[7] = 1e6F;
  DecodeRepair repair(*engine_, prompt_, stale_, 3);
  ASSERT_TRUE(repair.RunLast().ok());
  EXPECT_EQ(repair.repaired(), 0U) << "nobody had read them yet";
  ASSERT_TRUE(repair.Run(forced_[0]).ok());
  EXPECT_EQ(repair.repaired(), 3U);
  EXPECT_EQ(engine_->computed_rows(), 4U);
  const std::vector<std::byte> row = Rows(*engine_, 27, 1);
  PlaceStale();
  EXPECT_NE(row, Rows(*engine_, 27, 1)) << "row 27 was computed";
}

TEST_F(DecodeRepairTest, WithNothingStaleItIsPlainDecoding) {
  ASSERT_TRUE((engine_->Clear(), engine_->RunRest(prompt_)).ok());
  DecodeRepair repair(*engine_, prompt_, {});
  const auto answer = repair.Generate(static_cast<std::uint32_t>(forced_.size()));
  ASSERT_TRUE(answer) << answer.error().ToString();
  EXPECT_EQ(*answer, forced_);
  EXPECT_EQ(repair.repaired(), 0U);
}

TEST_F(DecodeRepairTest, MoreRowsATokenThanTheLimitAreRefused) {
  PlaceStale();
  DecodeRepair repair(*engine_, prompt_, stale_, kMaxDecodeRows + 1);
  EXPECT_EQ(repair.RunLast().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace kvcommons
