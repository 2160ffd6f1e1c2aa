// The bounds of open libraries, and what a domain is told when it meets one.

#include "daemon/library_budget.h"

#include <gtest/gtest.h>

#include "daemon/tenant.h"

namespace kvcommons {
namespace {

using Room = LibraryBudget::Room;

const DomainId kOne = TenantOfUid(1).domain;
const DomainId kTwo = TenantOfUid(2).domain;

TEST(LibraryBudgetTest, ADomainHasAQuarterOfTheWhole) {
  LibraryBudget budget;
  ASSERT_TRUE(budget.Take(kOne, (1u << 24) - 1).ok());
  EXPECT_EQ(budget.Take(kOne, 2).message(),
            "the tenant's open libraries hold 16777215 tokens, asked for are 2 more; the limit is "
            "16777216");
  EXPECT_TRUE(budget.Take(kOne, 1).ok());
  EXPECT_EQ(budget.Take(kOne, 1).code(), Code::kExhausted);
  EXPECT_TRUE(budget.Take(kOne, 0).ok());
  EXPECT_TRUE(budget.Take(kTwo, 1u << 24).ok());
}

// I7.
TEST(LibraryBudgetTest, WhenTheDaemonIsFullNobodysFiguresAreTold) {
  LibraryBudget budget({.tokens = 100, .domain_tokens = 80});
  ASSERT_TRUE(budget.Take(kOne, 73).ok());
  ASSERT_TRUE(budget.Take(kTwo, 7).ok());
  EXPECT_EQ(budget.RoomFor(kTwo, 20), Room::kFits);
  EXPECT_EQ(budget.RoomFor(kTwo, 21), Room::kDaemonIsFull);
  EXPECT_EQ(budget.Take(kTwo, 21).message(),
            "the daemon has no room for 21 more tokens; the limit of all open libraries is 100");
  EXPECT_TRUE(budget.Take(kTwo, 20).ok());
}

TEST(LibraryBudgetTest, ADomainOverItsOwnBoundIsToldThatEvenWhenTheDaemonIsFull) {
  LibraryBudget budget({.tokens = 100, .domain_tokens = 80});
  ASSERT_TRUE(budget.Take(kOne, 80).ok());
  ASSERT_TRUE(budget.Take(kTwo, 20).ok());
  EXPECT_EQ(budget.RoomFor(kOne, 1), Room::kDomainIsFull);
}

TEST(LibraryBudgetTest, WhatIsGivenBackCanBeTakenByAnother) {
  LibraryBudget budget({.tokens = 100, .domain_tokens = 80});
  ASSERT_TRUE(budget.Take(kOne, 80).ok());
  budget.Give(kOne, 60);
  EXPECT_TRUE(budget.Take(kTwo, 80).ok());
  EXPECT_EQ(budget.RoomFor(kOne, 1), Room::kDaemonIsFull);
}

}  // namespace
}  // namespace kvcommons
