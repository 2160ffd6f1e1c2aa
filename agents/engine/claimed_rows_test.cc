#include "agents/engine/claimed_rows.h"

#include <gmock/gmock.h>

#include <atomic>
#include <thread>

namespace kvcommons {
namespace {

using ::testing::ElementsAre;

constexpr std::uint32_t kLayers = 2, kCells = 16;

// A cache of one number a row, and a block whose row r of plane p is 100 · p + r.
class ClaimedRowsTest : public testing::Test {
 protected:
  ClaimedRowsTest() {
    profile_.layer_count = kLayers;
    profile_.kv_head_count = 1;
    profile_.head_dim = 1;
    profile_.element_type = ElementType::kFp32;
    cache_.type = ElementType::kFp32;
    cache_.cell_count = kCells;
    cache_.row_elements = 1;
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
      cache_.layers.push_back({reinterpret_cast<std::byte*>(planes_[2 * layer]),
                               reinterpret_cast<std::byte*>(planes_[2 * layer + 1])});
    }
    for (std::size_t plane = 0; plane < 2 * std::size_t{kLayers}; ++plane) {
      for (std::size_t row = 0; row < 8; ++row) {
        block_[plane * 8 + row] = static_cast<float>(100 * plane + row + 1);
      }
    }
    // Positions 2 to 5 and 7 to 10, in cells of two stretches each.
    const auto* bytes = reinterpret_cast<const std::byte*>(block_);
    spans_ = {{2, 4, 0, bytes, 8, 0}, {7, 4, 0, bytes, 8, 4}};
    cells_.assign(12, -1);
    for (const auto& [position, cell] : std::vector<std::pair<std::size_t, std::int32_t>>{
             {2, 0}, {3, 1}, {4, 8}, {5, 9}, {7, 10}, {8, 11}, {9, 3}, {10, 4}}) {
      cells_[position] = cell;
    }
  }

  std::vector<float> Plane(std::size_t plane) const {
    return {planes_[plane], planes_[plane] + kCells};
  }

  float planes_[2 * kLayers][kCells] = {};
  float block_[2 * kLayers * 8] = {};
  ModelProfile profile_;
  CacheMemory cache_;
  std::vector<PlaceSpan> spans_;
  std::vector<std::int32_t> cells_;
};

TEST_F(ClaimedRowsTest, GoIntoTheirCellsInTheLayersThatAreAskedFor) {
  ClaimedRows rows(cache_, profile_, spans_, cells_);
  ASSERT_TRUE(rows.PlaceLayer(1).ok());
  EXPECT_THAT(Plane(0), testing::Each(0.0F));
  EXPECT_THAT(Plane(1), testing::Each(0.0F));
  EXPECT_THAT(Plane(2),
              ElementsAre(201, 202, 0, 207, 208, 0, 0, 0, 203, 204, 205, 206, 0, 0, 0, 0));
  EXPECT_THAT(Plane(3),
              ElementsAre(301, 302, 0, 307, 308, 0, 0, 0, 303, 304, 305, 306, 0, 0, 0, 0));
  EXPECT_THAT(rows.PlaceLayer(2).message(), testing::HasSubstr("layer is 2; the limit is 0 to 1"));
}

TEST_F(ClaimedRowsTest, ThatAreLeftOutAreNotWritten) {
  ClaimedRows rows(cache_, profile_, spans_, cells_);
  // Before all, inside a stretch, across spans, a hole, and behind all.
  const std::vector<TokenRun> first{{0, 1}, {3, 4}, {5, 8}}, second{{10, 12}};
  rows.LeaveOut(first);
  rows.LeaveOut(second);
  rows.Write(0, kLayers);
  EXPECT_THAT(Plane(0), ElementsAre(1, 0, 0, 7, 0, 0, 0, 0, 3, 0, 0, 6, 0, 0, 0, 0));
  EXPECT_THAT(Plane(3), ElementsAre(301, 0, 0, 307, 0, 0, 0, 0, 303, 0, 0, 306, 0, 0, 0, 0));
}

TEST_F(ClaimedRowsTest, AreLeftOutBesideAThreadThatWritesWithoutAPause) {
  ClaimedRows rows(cache_, profile_, spans_, cells_);
  std::atomic<bool> stop{false};
  std::atomic<int> written{0};
  std::thread writer([&] {
    while (!stop) {
      rows.Write(0, kLayers);
      ++written;
    }
  });
  while (written == 0) std::this_thread::yield();
  const TokenRun run{4, 6};
  rows.LeaveOut({&run, 1});
  // Theirs now, as a pass takes the cells of what it computes.
  planes_[0][8] = planes_[0][9] = -1;
  const int before = written;
  while (written < before + 100) std::this_thread::yield();
  stop = true;
  writer.join();
  EXPECT_EQ(planes_[0][8], -1);
  EXPECT_EQ(planes_[0][9], -1);
  EXPECT_EQ(planes_[0][10], 5);
}

}  // namespace
}  // namespace kvcommons
