// Bounds, eviction and counts of anchors (TV4 of specs: KVCOMM §15; D7, D9, D16), and that what is
// refused changes nothing.

#include "align/anchors/anchor_ledger.h"

#include <gmock/gmock.h>

namespace kvcommons {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Change = AnchorLedger::Change;

template <typename Id>
Id IdOf(unsigned number) {
  Id id;
  id.bytes[0] = static_cast<std::uint8_t>(number);
  id.bytes[1] = static_cast<std::uint8_t>(number >> 8);
  return id;
}
SlotKey Slot(unsigned number) { return IdOf<SlotKey>(number); }
ReaderKey Reader(unsigned number) { return IdOf<ReaderKey>(number); }

AnchorLedger::Deposit Of(unsigned content, unsigned reader = 0, unsigned slot = 0,
                         std::uint32_t tokens = 10) {
  return {.key = {Slot(slot), IdOf<ContentKey>(content)},
          .tokens = tokens,
          .reader = Reader(reader),
          .base_bytes = 100,
          .offset_bytes = 10};
}

std::vector<unsigned> Contents(const AnchorLedger& ledger, unsigned slot = 0) {
  std::vector<unsigned> contents;
  const auto* pool = ledger.Find(Slot(slot));
  for (std::size_t i = 0; pool != nullptr && i < pool->size(); ++i) {
    contents.push_back((*pool)[i].content.bytes[0]);
  }
  return contents;
}

TEST(AnchorLedger, ASlotHoldsItsTwentyYoungestWhereNoneWasUsed) {
  for (const unsigned readers : {1u, 2u, 3u}) {
    AnchorLedger ledger({.bytes = 1u << 20});
    for (unsigned content = 0; content < 60; ++content) {
      for (unsigned reader = 0; reader < readers; ++reader) {
        ASSERT_TRUE(ledger.Put(Of(content, reader)));
        ASSERT_LE(ledger.Find(Slot(0))->size(), 20u);
      }
    }
    EXPECT_EQ(ledger.Find(Slot(0))->size(), 20u);
    EXPECT_EQ(Contents(ledger).front(), 40u);
    EXPECT_EQ(Contents(ledger).back(), 59u);
    EXPECT_EQ(ledger.bytes(), 20u * (100 + 10 * readers));
  }
}

TEST(AnchorLedger, ThePublishedBoundLetsOneMoreInWhereThereIsOneReader) {
  for (const unsigned readers : {1u, 2u, 3u}) {
    AnchorLedger ledger({.bytes = 1u << 20}, AnchorProfile::kPublished);
    for (unsigned content = 0; content < 60; ++content) {
      for (unsigned reader = 0; reader < readers; ++reader) {
        ASSERT_TRUE(ledger.Put(Of(content, reader)));
      }
    }
    EXPECT_EQ(ledger.Find(Slot(0))->size(), readers == 1 ? 21u : 20u);
    EXPECT_EQ(Contents(ledger).back(), 59u);
    EXPECT_EQ(Contents(ledger).front(), readers == 1 ? 39u : 40u);
  }
}

TEST(AnchorLedger, TheLeastUsedOfTheOldestLeavesAndAmongEqualsTheOldest) {
  AnchorLedger ledger({.slot_anchors = 4, .window = 3});
  for (const unsigned content : {1u, 2u, 3u, 4u}) ASSERT_TRUE(ledger.Put(Of(content)));
  ledger.CountUse(Of(1).key);
  EXPECT_THAT(ledger.Put(Of(5))->evicted, ElementsAre(Of(2).key));
  ledger.CountUse(Of(3).key);
  ledger.CountUse(Of(4).key);
  // 5 was not used either, but is not among the three oldest.
  EXPECT_THAT(ledger.Put(Of(6))->evicted, ElementsAre(Of(1).key));
  EXPECT_THAT(Contents(ledger), ElementsAre(3, 4, 5, 6));
}

TEST(AnchorLedger, OneReaderMoreExtendsAndEvictsNobody) {
  AnchorLedger ledger({.slot_anchors = 2});
  ASSERT_TRUE(ledger.Put(Of(1)));
  ASSERT_TRUE(ledger.Put(Of(2)));
  const auto outcome = ledger.Put(Of(1, 7));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->change, Change::kExtended);
  EXPECT_THAT(outcome->evicted, IsEmpty());
  EXPECT_EQ(ledger.bytes(), 230u);
}

TEST(AnchorLedger, TheFirstDepositOfAReaderStays) {
  AnchorLedger ledger({});
  EXPECT_EQ(ledger.Put(Of(1))->change, Change::kInserted);
  EXPECT_EQ(ledger.Put(Of(1))->change, Change::kNone);
  EXPECT_EQ(ledger.bytes(), 110u);
}

TEST(AnchorLedger, AContentOfAnotherLengthIsRefused) {
  AnchorLedger ledger({});
  ASSERT_TRUE(ledger.Put(Of(1)));
  const auto outcome = ledger.Put(Of(1, 1, 0, 11));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().message(), "the content has 11 tokens; its anchor has 10");
}

TEST(AnchorLedger, OnlyAnchorsAsLongThatThisReaderMeasuredAreEligible) {
  AnchorLedger ledger({});
  ASSERT_TRUE(ledger.Put(Of(1, 0, 0, 10)));
  ASSERT_TRUE(ledger.Put(Of(2, 0, 0, 9)));
  ASSERT_TRUE(ledger.Put(Of(3, 1, 0, 20)));
  ASSERT_TRUE(ledger.Put(Of(4, 0, 1, 20)));
  EXPECT_THAT(ledger.Eligible(Slot(0), 10, Reader(0)), ElementsAre(0));
  EXPECT_THAT(ledger.LongEnough(Slot(0), 10), ElementsAre(0, 2));
  EXPECT_THAT(ledger.Eligible(Slot(2), 1, Reader(0)), IsEmpty());
  // Nothing but an empty content fits behind an empty one.
  ASSERT_TRUE(ledger.Put(Of(5, 0, 3, 0)));
  EXPECT_THAT(ledger.Eligible(Slot(3), 0, Reader(0)), ElementsAre(0));
  EXPECT_THAT(ledger.Eligible(Slot(3), 1, Reader(0)), IsEmpty());
}

TEST(AnchorLedger, APinnedAnchorStaysAndWhereAllArePinnedTheDepositIsRefused) {
  AnchorLedger ledger({.slot_anchors = 3, .window = 2});
  for (const unsigned content : {1u, 2u, 3u}) ASSERT_TRUE(ledger.Put(Of(content)));
  const auto first_two = [](const AnchorKey& key) { return key.content.bytes[0] <= 2; };
  const auto all = [](const AnchorKey&) { return true; };
  const auto refused = ledger.Put(Of(4), all);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kExhausted);
  EXPECT_THAT(refused.error().message(), HasSubstr("3 anchors, all of them pinned"));
  EXPECT_THAT(Contents(ledger), ElementsAre(1, 2, 3));
  EXPECT_THAT(ledger.Put(Of(4), first_two)->evicted, ElementsAre(Of(3).key));
}

TEST(AnchorLedger, TheBytesOfATenantAreBoundedOverAllSlotsByUsesAByte) {
  AnchorLedger ledger({.bytes = 440});
  for (const unsigned slot : {0u, 1u, 2u, 3u}) ASSERT_TRUE(ledger.Put(Of(slot, 0, slot)));
  EXPECT_EQ(ledger.bytes(), 440u);  // The limit itself.
  for (const unsigned slot : {0u, 1u, 3u}) ledger.CountUse(Of(slot, 0, slot).key);
  ledger.CountUse(Of(0, 0, 0).key);
  const auto outcome = ledger.Put(Of(9, 0, 1));
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome->evicted, ElementsAre(Of(2, 0, 2).key));
  EXPECT_EQ(ledger.Find(Slot(2)), nullptr);
  EXPECT_EQ(ledger.bytes(), 440u);
  // Now 9, which was not used, and of 1 and 3, which were once, the one of more bytes.
  AnchorLedger::Deposit large = Of(8, 0, 0);
  large.base_bytes = 210;
  EXPECT_THAT(ledger.Put(large)->evicted, ElementsAre(Of(9, 0, 1).key, Of(1, 0, 1).key));
}

TEST(AnchorLedger, ADepositOverTheTenantsBoundIsRefusedAndNothingLeaves) {
  AnchorLedger ledger({.bytes = 300});
  ASSERT_TRUE(ledger.Put(Of(1)));
  ASSERT_TRUE(ledger.Put(Of(2)));
  AnchorLedger::Deposit large = Of(3);
  large.base_bytes = 291;
  const auto refused = ledger.Put(large);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kExhausted);
  EXPECT_EQ(refused.error().message(),
            "the anchor needs 301 bytes; the limit of all anchors is 300");
  EXPECT_THAT(Contents(ledger), ElementsAre(1, 2));
  large.base_bytes = 290;
  EXPECT_THAT(ledger.Put(large)->evicted, ElementsAre(Of(1).key, Of(2).key));
  EXPECT_EQ(ledger.bytes(), 300u);
}

TEST(AnchorLedger, WhatIsExtendedDoesNotLeaveForIt) {
  AnchorLedger ledger({.bytes = 115});
  ASSERT_TRUE(ledger.Put(Of(1)));
  const auto refused = ledger.Put(Of(1, 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message(),
            "the anchor needs 10 bytes beside 110 that must stay; the limit is 115");
}

TEST(AnchorLedger, ACopyIsASnapshot) {
  AnchorLedger ledger({.slot_anchors = 1});
  ASSERT_TRUE(ledger.Put(Of(1)));
  const AnchorLedger before = ledger;
  ASSERT_TRUE(ledger.Put(Of(2)));
  EXPECT_THAT(Contents(before), ElementsAre(1));
  EXPECT_THAT(Contents(ledger), ElementsAre(2));
  EXPECT_TRUE(ledger.Remove(Of(2).key));
  EXPECT_FALSE(ledger.Remove(Of(2).key));
  EXPECT_EQ(ledger.bytes(), 0u);
}

}  // namespace
}  // namespace kvcommons
