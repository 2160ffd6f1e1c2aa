// The index against a plain map, its memory per block, and that domains do not meet in it.

#include "store/index.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <utility>

namespace kvcommons {
namespace {

BlockKey RandomKey(std::mt19937_64& random) {
  BlockKey key;
  const std::uint64_t words[2] = {random(), random()};
  std::memcpy(key.bytes.data(), words, sizeof words);
  return key;
}

TEST(IndexTest, AgreesWithAMapThroughRandomInsertsAndErases) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  Index index;
  std::map<std::pair<DomainSlot, BlockKey>, std::uint32_t> model;
  std::vector<std::pair<DomainSlot, BlockKey>> names;
  for (std::uint32_t i = 0; i < 3000; ++i) {
    names.emplace_back(1 + random() % 2, RandomKey(random));
  }
  for (std::uint32_t step = 0; step < 40'000; ++step) {
    const auto& name = names[random() % names.size()];
    Index::Entry* const entry = index.Find(name.first, name.second);
    const auto expected = model.find(name);
    ASSERT_EQ(entry != nullptr, expected != model.end()) << "seed=" << seed;
    if (entry == nullptr) {
      index.Insert(name.first, name.second).bytes = step;
      model[name] = step;
    } else {
      ASSERT_EQ(entry->bytes, expected->second) << "seed=" << seed;
      if (random() % 2 == 0) {
        index.Erase(entry);
        model.erase(expected);
      }
    }
    ASSERT_EQ(index.size(), model.size()) << "seed=" << seed;
  }
  for (const auto& [name, bytes] : model) {
    const Index::Entry* const entry = std::as_const(index).Find(name.first, name.second);
    ASSERT_NE(entry, nullptr) << "seed=" << seed;
    ASSERT_EQ(entry->bytes, bytes) << "seed=" << seed;
  }
}

TEST(IndexTest, OneKeyInTwoDomainsIsTwoEntries) {
  Index index;
  const BlockKey key{{1, 2, 3}};
  index.Insert(1, key).bytes = 10;
  EXPECT_EQ(index.Find(2, key), nullptr);
  index.Insert(2, key).bytes = 20;
  EXPECT_EQ(index.Find(1, key)->bytes, 10u);
  index.Erase(index.Find(1, key));
  EXPECT_EQ(index.Find(1, key), nullptr);
  EXPECT_EQ(index.Find(2, key)->bytes, 20u);
  EXPECT_EQ(index.FindOnDisk(key), nullptr);
  index.Find(2, key)->on_disk = 1;
  EXPECT_EQ(index.FindOnDisk(key)->domain, 2u);
}

TEST(IndexTest, NeverTakesMoreThan100BytesABlockOnceThereAreMany) {
  std::mt19937_64 random(7);
  Index index;
  for (std::uint32_t i = 0; i < 400'000; ++i) {
    index.Insert(1, RandomKey(random));
    if (i > 20'000 && i % 1000 == 0) {
      ASSERT_LE(index.memory_bytes(), 100 * index.size()) << "at " << index.size() << " entries";
    }
  }
}

TEST(IndexTest, RepeatedWalksMeetEveryEntryInTurn) {
  std::mt19937_64 random(8);
  Index index;
  for (std::uint32_t i = 0; i < 1000; ++i) index.Insert(1, RandomKey(random));
  std::set<BlockKey> met;
  std::uint64_t cursor = 0;
  for (int walk = 0; walk < 100; ++walk) {
    int left = 10;
    index.Walk(cursor, [&](const Index::Entry& entry) {
      EXPECT_TRUE(met.insert(entry.key).second) << "met twice before all were met once";
      return --left > 0;
    });
  }
  EXPECT_EQ(met.size(), 1000u);
  std::uint32_t all = 0;
  index.Walk(cursor, [&](const Index::Entry&) { return ++all < 5000; });
  EXPECT_EQ(all, 1000u) << "from any cursor, once around";
}

TEST(IndexTest, AnEmptyIndexHasNothingAndWalksOverNothing) {
  Index index;
  EXPECT_EQ(index.Find(1, BlockKey{}), nullptr);
  std::uint64_t cursor = 77;
  index.Walk(cursor, [](const Index::Entry&) {
    ADD_FAILURE();
    return true;
  });
}

}  // namespace
}  // namespace kvcommons
