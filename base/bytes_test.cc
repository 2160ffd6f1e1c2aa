#include "base/bytes.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

TEST(BytesTest, AcceptsWhatPeopleWrite) {
  EXPECT_EQ(ParseBytes("4096").value(), 4096u);
  EXPECT_EQ(ParseBytes("8GB").value(), 8 * kGiB);
  EXPECT_EQ(ParseBytes("8 GiB").value(), 8 * kGiB);
  EXPECT_EQ(ParseBytes("8g").value(), 8 * kGiB);
  EXPECT_EQ(ParseBytes("1.5M").value(), kMiB + kMiB / 2);
  EXPECT_EQ(ParseBytes("0").value(), 0u);
}

TEST(BytesTest, RefusesWhatCannotBeASize) {
  for (const char* text : {"", "GB", "-1", "8 XB", "1e30T", "nan", "8GBB", "8 G B C"}) {
    const auto bytes = ParseBytes(text);
    ASSERT_FALSE(bytes.has_value()) << text;
    EXPECT_EQ(bytes.error().code(), Code::kInvalidArgument) << text;
  }
}

TEST(BytesTest, FormatsWithAtMostOneDecimal) {
  EXPECT_EQ(FormatBytes(100), "100 B");
  EXPECT_EQ(FormatBytes(64 * kMiB), "64 MiB");
  EXPECT_EQ(FormatBytes(3 * kGiB / 2), "1.5 GiB");
}

}  // namespace
}  // namespace kvcommons
