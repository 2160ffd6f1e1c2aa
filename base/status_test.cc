#include "base/status.h"

#include <gtest/gtest.h>

namespace kvcommons {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) return Fail(InvalidArgument("value is odd"));
  return value / 2;
}

Status NeedsEven(int value) {
  KVC_RETURN_IF_ERROR(Half(value).has_value() ? Status() : Half(value).error());
  return Status();
}

TEST(StatusTest, DefaultIsOk) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().ToString(), "ok");
}

TEST(StatusTest, AFailureSaysItsCodeAndItsMessage) {
  const Status status = Exhausted("arena is full: 64 of 64 blocks are leased");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.ToString(), "exhausted: arena is full: 64 of 64 blocks are leased");
}

TEST(StatusTest, AResultCarriesAValueOrAFailure) {
  EXPECT_EQ(Half(4).value(), 2);
  EXPECT_EQ(Half(3).error().code(), Code::kInvalidArgument);
}

TEST(StatusTest, ReturnIfErrorReturnsTheFirstFailure) {
  EXPECT_TRUE(NeedsEven(2).ok());
  EXPECT_EQ(NeedsEven(3).code(), Code::kInvalidArgument);
}

// Codes travel over the wire, so their numbers are a promise.
TEST(StatusTest, CodesKeepTheirNumbersAndHaveNames) {
  EXPECT_EQ(static_cast<int>(Code::kInvalidArgument), 1);
  EXPECT_EQ(static_cast<int>(Code::kInternal), 9);
  for (int n = 0; n <= 9; ++n) EXPECT_NE(CodeName(static_cast<Code>(n)), "unknown") << n;
}

}  // namespace
}  // namespace kvcommons
