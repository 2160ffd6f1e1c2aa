#include "agents/engine/pass_padding.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

constexpr PaddingModel kSmolLm{134'515'008, 30 * 9 * 64, true};
constexpr PaddingModel kWithoutAmx{134'515'008, 30 * 9 * 64, false};

TEST(PassPadding, FillsATileWhereThatIsFaster) {
  EXPECT_EQ(PaddingRows(kSmolLm, 32, 2100, 512), 32U);
  EXPECT_EQ(PaddingRows(kSmolLm, 63, 600, 512), 1U);
  EXPECT_EQ(PaddingRows(kSmolLm, 8, 2100, 512), 56U);
}

TEST(PassPadding, LeavesPassesAloneThatArePlainlyFaster) {
  EXPECT_EQ(PaddingRows(kSmolLm, 1, 8000, 512), 0U) << "a token at a time has its own way";
  EXPECT_EQ(PaddingRows(kSmolLm, 4, 2100, 512), 0U);
  EXPECT_EQ(PaddingRows(kSmolLm, 8, 600, 512), 0U);
  EXPECT_EQ(PaddingRows(kSmolLm, 64, 2100, 512), 0U);
  EXPECT_EQ(PaddingRows(kSmolLm, 32, 0, 512), 0U) << "no context, no attention to save";
}

TEST(PassPadding, LeavesShortPassesAloneWhereRowsAreDear) {
  EXPECT_EQ(PaddingRows(kSmolLm, 30, 190, 512), 34U);
  EXPECT_EQ(PaddingRows(kWithoutAmx, 30, 190, 512), 0U);
  EXPECT_EQ(PaddingRows(kWithoutAmx, 60, 190, 512), 4U);
  EXPECT_EQ(PaddingRows(kWithoutAmx, 12, 2100, 512), 0U);
  EXPECT_EQ(PaddingRows(kWithoutAmx, 16, 2100, 512), 48U);
}

TEST(PassPadding, CountsWhatTheLastUbatchHas) {
  EXPECT_EQ(PaddingRows(kSmolLm, 512, 2100, 512), 0U);
  EXPECT_EQ(PaddingRows(kSmolLm, 512 + 60, 600, 512), 4U);
  EXPECT_EQ(PaddingRows(kSmolLm, 512 + 64, 600, 512), 0U);
  EXPECT_EQ(PaddingRows(kSmolLm, 40, 2100, 63), 0U) << "no ubatch is as long as a tile";
}

TEST(PassPadding, RowsOfLargeModelsAreDear) {
  const PaddingModel large{8'000'000'000, 32 * 32 * 128, true};
  EXPECT_EQ(PaddingRows(large, 8, 2100, 512), 0U);
  EXPECT_EQ(PaddingRows(large, 48, 2100, 512), 16U);
}

}  // namespace
}  // namespace kvcommons
