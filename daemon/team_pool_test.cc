// A tenant's pool without the wire: what it learns, what leaves, and what a kill between its steps
// leaves behind. Two layers, one head of 8: of a row of offsets 16 numbers are kept.

#include "daemon/team_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "daemon/model_testing.h"

namespace kvcommons {
namespace {

using testing::HasSubstr;

class TeamPoolTest : public testing::Test {
 protected:
  static constexpr std::size_t kRowBytes = 4 * 8 * 2;  // fp16

  TeamPoolTest() {
    Store::Options options;
    options.arena_bytes = 64 * kMiB;
    options.clock = &clock_;
    options.disk = MakeMemoryDiskTier(64 * kMiB);
    store_ = Store::Open(std::move(options)).value();
    const auto small = SmallModel(*store_, 1, 1000);
    ModelProfile profile = small->profile;
    profile.layer_count = 2;
    GateReport gate;
    gate.passed = true;
    model_ = std::make_shared<const OpenedModel>(small->tenant, profile, gate,
                                                 store_->SecretOf(small->tenant.domain).value());
    Open();
  }

  void Open(std::uint64_t limit_bytes = kMiB) {
    pool_ = TeamPool::Open(*store_, model_->tenant.domain, limit_bytes);
  }

  static MeanKey Key(std::uint8_t which) {
    MeanKey key;
    key.bytes[0] = which;
    return key;
  }

  TeamLesson Lesson(std::uint8_t key, std::uint8_t content, std::uint32_t rows, float value) {
    TeamLesson lesson;
    lesson.model = model_;
    lesson.key = Key(key);
    lesson.team = "team";
    lesson.agent = "agent";
    lesson.slot = "slot";
    lesson.content.bytes[0] = content;
    lesson.rows = rows;
    lesson.offsets = [value](std::uint32_t, std::uint32_t count) -> Result<std::vector<float>> {
      return std::vector<float>(4 * count * 8, value);
    };
    return lesson;
  }

  // The first number of a row of a block in the first plane that is kept.
  static float ValueAt(const PinnedBlock& block, std::size_t row) {
    _Float16 value;
    std::memcpy(&value, block.bytes().data() + (2 * block.record().tokens.size() + row) * 16,
                sizeof value);
    return static_cast<float>(value);
  }
  // The same of the mean.
  float MeanAt(std::uint8_t key, std::uint32_t row) {
    const MeanPtr mean = pool_->Find(Key(key));
    if (mean == nullptr) return std::numeric_limits<float>::quiet_NaN();
    auto pin = store_->Pin(model_->tenant.domain, mean->blocks[row / 16]).value();
    return ValueAt(*pin, row % 16);
  }

  std::size_t TeamBlocks() const {
    std::size_t blocks = 0;
    for (const auto& block : store_->List(model_->tenant.domain, 1000)) {
      blocks += block.storage_class == StorageClass::kTeam ? 1 : 0;
    }
    return blocks;
  }

  SystemClock clock_;
  std::unique_ptr<Store> store_;
  std::shared_ptr<const OpenedModel> model_;
  std::shared_ptr<TeamPool> pool_;
};

TEST_F(TeamPoolTest, EveryPositionIsTheMeanOfTheContentsThatHadIt) {
  ASSERT_TRUE(pool_->Learn(Lesson(1, 1, 40, 1.0F)));
  ASSERT_TRUE(pool_->Learn(Lesson(1, 2, 20, 4.0F)));
  ASSERT_TRUE(pool_->Learn(Lesson(1, 3, 35, 1.0F)));
  EXPECT_EQ(MeanAt(1, 0), 2.0F);
  EXPECT_EQ(MeanAt(1, 19), 2.0F);
  EXPECT_EQ(MeanAt(1, 20), 1.0F);
  EXPECT_EQ(MeanAt(1, 39), 1.0F);
  const MeanPtr mean = pool_->Find(Key(1));
  EXPECT_EQ(mean->deposits, 3u);
  EXPECT_EQ(mean->CoveredRows(3), 20u);
  EXPECT_EQ(mean->CoveredRows(2), 35u);
  EXPECT_EQ(mean->bytes, 40 * kRowBytes);
  EXPECT_EQ(TeamBlocks(), 3u);  // what was replaced is gone
}

TEST_F(TeamPoolTest, AMeansRowsSayHowFarTheyAreMoreThanChance) {
  const auto lesson = [this](std::uint8_t content, float keys, float values) {
    TeamLesson one = Lesson(3, content, 20, 0);
    one.offsets = [keys, values](std::uint32_t, std::uint32_t count) -> Result<std::vector<float>> {
      std::vector<float> all(4 * count * 8, 9.0F);  // layer 0's are not kept
      std::fill_n(all.begin() + 2 * count * 8, count * 8, keys);
      std::fill_n(all.begin() + 3 * count * 8, count * 8, values);
      return all;
    };
    return one;
  };
  ASSERT_TRUE(pool_->Learn(lesson(1, 1.0F, 1.0F)));
  ASSERT_TRUE(pool_->Learn(lesson(2, 1.0F, -1.0F)));
  ASSERT_TRUE(pool_->Learn(lesson(3, 1.0F, 3.0F)));
  const MeanPtr mean = pool_->Find(Key(3));
  const auto pin = store_->Pin(model_->tenant.domain, mean->blocks[0]).value();
  const auto at = [&](std::size_t plane, std::size_t row, std::size_t element) {
    _Float16 value;
    std::memcpy(&value, pin->bytes().data() + ((plane * 16 + row) * 8 + element) * 2, sizeof value);
    return static_cast<float>(value);
  };
  EXPECT_EQ(at(2, 5, 0), 1.0F);
  EXPECT_EQ(at(3, 5, 0), 1.0F);
  EXPECT_NEAR(at(0, 5, 2), 1.0F, 1e-3F);       // mean square of keys
  EXPECT_NEAR(at(0, 5, 3), 11.0F / 3, 1e-2F);  // of values: (1 + 1 + 9) / 3
  EXPECT_NEAR(at(1, 5, 2), 1.0F, 1e-2F);       // trust
  EXPECT_EQ(at(1, 5, 3), 0.0F);                // (1 − 4 / 3) is less than nothing
  EXPECT_EQ(at(0, 5, 0), 0.0F);
}

TEST_F(TeamPoolTest, AnErrorLearnsNothing) {
  ASSERT_TRUE(pool_->Learn(Lesson(1, 1, 20, 1.0F)));
  const MeanPtr before = pool_->Find(Key(1));
  EXPECT_EQ(pool_->Learn(Lesson(1, 2, 20, 65505.0F)).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(pool_->Learn(Lesson(1, 2, MeanSnapshot::kMaxRows + 1, 1)).error().code(),
            Code::kUnsupported);
  auto failing = Lesson(1, 2, 20, 1);
  failing.offsets = [](std::uint32_t, std::uint32_t) -> Result<std::vector<float>> {
    return Fail(Unavailable("gone"));
  };
  EXPECT_EQ(pool_->Learn(failing).error().code(), Code::kUnavailable);
  EXPECT_EQ(pool_->Find(Key(1)), before);
  EXPECT_EQ(TeamBlocks(), 2u);
  EXPECT_TRUE(pool_->Learn(Lesson(1, 2, 20, 65504.0F)));
}

TEST_F(TeamPoolTest, ReadersGoOnWhileOthersLearn) {
  ASSERT_TRUE(pool_->Learn(Lesson(1, 0, 40, 2.0F)));
  std::thread teacher([this] {
    for (std::uint8_t i = 1; i < 60; ++i) {
      EXPECT_TRUE(pool_->Learn(Lesson(1, i, 40, 2.0F)));
      EXPECT_TRUE(pool_->Learn(Lesson(2, i, 17, 1.0F)));
    }
  });
  for (int i = 0; i < 400; ++i) {
    const MeanPtr mean = pool_->Find(Key(1));
    ASSERT_NE(mean, nullptr);
    pool_->CountUse(Key(1));
    // A snapshot's block is the snapshot's, or gone: never another's.
    const auto pin = store_->Pin(model_->tenant.domain, mean->blocks[0]).value();
    if (!pin) continue;
    ASSERT_EQ(ValueAt(*pin, 0), 2.0F);
  }
  teacher.join();
  EXPECT_EQ(pool_->Find(Key(1))->deposits, 60u);
  EXPECT_EQ(TeamBlocks(), 5u);
}

TEST_F(TeamPoolTest, BlocksThatAKillLeftWithoutARecordAreRemoved) {
  ASSERT_TRUE(pool_->Learn(Lesson(1, 1, 20, 1.0F)));
  const MeanPtr mean = pool_->Find(Key(1));
  Store::PutItem orphan;
  orphan.record.key.bytes[0] = 9;
  orphan.record.tokens.assign(16, 0);
  orphan.record.fingerprint = model_->fingerprint;
  orphan.record.domain = model_->tenant.domain;
  orphan.record.storage_class = StorageClass::kTeam;
  orphan.record.planes = model_->planes;
  const std::vector<std::byte> bytes(orphan.record.block_bytes());
  orphan.planes = bytes.data();
  ASSERT_TRUE(store_->Put(model_->tenant.domain, {&orphan, 1}, Ack::kHeld));
  // As if killed behind the blocks and before the record: the intent names both.
  std::string intent(orphan.record.key.view());
  for (const BlockKey& key : mean->blocks) intent += key.view();
  ASSERT_TRUE(store_->PutNote(model_->tenant.domain, "team-intent", intent).ok());
  EXPECT_EQ(TeamBlocks(), 3u);
  Open();
  EXPECT_EQ(TeamBlocks(), 2u);
  EXPECT_EQ(MeanAt(1, 3), 1.0F);
  EXPECT_FALSE(store_->GetNote(model_->tenant.domain, "team-intent"));
}

TEST_F(TeamPoolTest, ATornRecordIsLeftOutAndTheOthersAreRead) {
  ASSERT_TRUE(pool_->Learn(Lesson(1, 1, 20, 1.0F)));
  ASSERT_TRUE(pool_->Learn(Lesson(2, 1, 20, 3.0F)));
  const auto notes = store_->ListNotes(model_->tenant.domain, "team-mean/");
  ASSERT_EQ(notes.size(), 2u);
  const bool first_is_one = notes[0].name.substr(10, 2) == "01";
  ASSERT_TRUE(store_->PutNote(model_->tenant.domain, notes[0].name, "torn").ok());
  Open();
  EXPECT_EQ(pool_->Find(Key(first_is_one ? 1 : 2)), nullptr);
  EXPECT_EQ(MeanAt(first_is_one ? 2 : 1, 0), first_is_one ? 3.0F : 1.0F);
}

TEST_F(TeamPoolTest, ASmallerBoundThanBeforeLeavesWhatFits) {
  ASSERT_TRUE(pool_->Learn(Lesson(1, 1, 40, 1.0F)));
  ASSERT_TRUE(pool_->Learn(Lesson(2, 1, 40, 1.0F)));
  Open(50 * kRowBytes);
  EXPECT_EQ(pool_->GetTotals().means, 1u);
  EXPECT_LE(pool_->GetTotals().bytes, 50 * kRowBytes);
  EXPECT_EQ(TeamBlocks(), 3u);
}

}  // namespace
}  // namespace kvcommons
