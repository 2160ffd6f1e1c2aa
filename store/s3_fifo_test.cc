// The order in which blocks leave: one-time blocks first, blocks that are read again last, pinned
// ones never.

#include "store/s3_fifo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace kvcommons {
namespace {

class S3FifoTest : public ::testing::Test {
 protected:
  EvictionNode& Add(std::uint64_t hash) {
    nodes_.push_back(std::make_unique<EvictionNode>());
    nodes_.back()->hash = hash;
    nodes_.back()->bytes = 1;
    fifo_.Insert(*nodes_.back());
    return *nodes_.back();
  }
  // The hash of what left; 0 for nothing.
  std::uint64_t Evict() {
    const EvictionNode* const node = fifo_.Evict([](EvictionNode&) { return true; });
    return node == nullptr ? 0 : node->hash;
  }

  S3Fifo fifo_;
  std::vector<std::unique_ptr<EvictionNode>> nodes_;
};

TEST_F(S3FifoTest, BlocksThatNobodyReadLeaveOldestFirst) {
  for (std::uint64_t hash = 1; hash <= 3; ++hash) Add(hash);
  EXPECT_EQ(Evict(), 1u);
  EXPECT_EQ(Evict(), 2u);
  EXPECT_EQ(Evict(), 3u);
  EXPECT_EQ(Evict(), 0u);
}

TEST_F(S3FifoTest, AScanDoesNotPushOutWhatIsReadAgain) {
  // Nine, so that one new block is the tenth that `small` may hold.
  for (std::uint64_t hash = 1; hash <= 9; ++hash) {
    EvictionNode& node = Add(hash);
    fifo_.Touch(node);
    fifo_.Touch(node);
  }
  for (std::uint64_t hash = 100; hash < 200; ++hash) {
    Add(hash);
    EXPECT_GE(Evict(), 100u) << "a hot block left during the scan";
  }
}

TEST_F(S3FifoTest, OneReadIsNotEnoughToStay) {
  EvictionNode& once = Add(1);
  Add(2);
  fifo_.Touch(once);
  EXPECT_EQ(Evict(), 1u);
}

TEST_F(S3FifoTest, ABlockThatComesBackSoonOutlivesNewOnes) {
  Add(1);
  EXPECT_EQ(Evict(), 1u);
  Add(1);  // From the ghosts straight to main.
  for (std::uint64_t hash = 2; hash <= 5; ++hash) Add(hash);
  for (std::uint64_t hash = 2; hash <= 5; ++hash) EXPECT_EQ(Evict(), hash);
  EXPECT_EQ(Evict(), 1u);
}

TEST_F(S3FifoTest, GhostsAreForgottenInTheEnd) {
  Add(1);
  EXPECT_EQ(Evict(), 1u);
  for (std::uint64_t hash = 100; hash < 120; ++hash) {
    Add(hash);
    EXPECT_EQ(Evict(), hash);
  }
  Add(1);
  Add(2);
  EXPECT_EQ(Evict(), 1u) << "1 is an ordinary new block again";
}

TEST_F(S3FifoTest, WhatMayNotLeaveIsPassedOver) {
  for (std::uint64_t hash = 1; hash <= 4; ++hash) Add(hash);
  const auto even = [](EvictionNode& node) { return node.hash % 2 == 0; };
  EXPECT_EQ(fifo_.Evict(even)->hash, 2u);
  EXPECT_EQ(fifo_.Evict(even)->hash, 4u);
  EXPECT_EQ(fifo_.Evict(even), nullptr);
  EXPECT_EQ(fifo_.size(), 2u);
  EXPECT_EQ(Evict(), 1u);
}

TEST_F(S3FifoTest, ABlockOfMainLeavesOnlyAfterItsHitsAreUsedUp) {
  EvictionNode& hot = Add(1);
  for (int i = 0; i < 10; ++i) fifo_.Touch(hot);
  EXPECT_EQ(Evict(), 1u) << "alone it leaves, however hot";
}

TEST_F(S3FifoTest, RemovedBlocksAreNeverReturned) {
  EvictionNode& first = Add(1);
  Add(2);
  fifo_.Remove(first);
  EXPECT_EQ(Evict(), 2u);
  EXPECT_EQ(Evict(), 0u);
}

TEST_F(S3FifoTest, EveryBlockIsInTheOrderExactlyOnceWhateverHappens) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  std::set<std::uint64_t> present;
  std::vector<EvictionNode*> live;
  for (std::uint64_t step = 1; step <= 5000; ++step) {
    const std::uint64_t choice = random() % 4;
    if (choice == 0 || live.empty()) {
      live.push_back(&Add(step));
      present.insert(step);
    } else if (choice == 1) {
      fifo_.Touch(*live[random() % live.size()]);
    } else {
      EvictionNode* node = nullptr;
      if (choice == 2) {
        node = live[random() % live.size()];
        fifo_.Remove(*node);
      } else {
        const bool only_odd = random() % 2 == 0;
        node = fifo_.Evict([&](EvictionNode& n) { return !only_odd || n.hash % 2 == 1; });
        if (node == nullptr) continue;
      }
      ASSERT_EQ(present.erase(node->hash), 1u) << "seed=" << seed;
      live.erase(std::find(live.begin(), live.end(), node));
    }
    ASSERT_EQ(fifo_.size(), present.size()) << "seed=" << seed;
  }
  std::set<std::uint64_t> visited;
  fifo_.ForEach([&](EvictionNode& node) { visited.insert(node.hash); });
  EXPECT_EQ(visited, present) << "seed=" << seed;
}

}  // namespace
}  // namespace kvcommons
