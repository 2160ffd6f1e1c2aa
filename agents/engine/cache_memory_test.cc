#include "agents/engine/cache_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace kvcommons {
namespace {

TEST(CacheMemoryTest, RowsComeBackFromEitherLayoutOfValues) {
  for (const bool transposed : {false, true}) {
    for (const ElementType type : {ElementType::kFp16, ElementType::kFp32}) {
      CacheMemory memory;
      memory.value_transposed = transposed;
      memory.cell_count = 100;
      memory.row_elements = 48;
      memory.type = type;
      std::vector<std::byte> keys(memory.cell_count * memory.row_bytes());
      std::vector<std::byte> values(keys.size());
      memory.layers.push_back({keys.data(), values.data()});
      std::vector<std::byte> rows(37 * memory.row_bytes());
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(i * 7 + 3);
      const RotationTable still({}, 0);
      KeyRowFormat format;
      format.head_count = 1;
      format.head_dim = 48;
      format.type = type;
      memory.WriteKeys(0, 50, 37, rows.data(), format, still);
      memory.WriteValues(0, 50, 37, rows.data());
      std::vector<std::byte> back(rows.size());
      memory.ReadValues(0, 50, 37, back.data());
      EXPECT_EQ(back, rows);
      back.assign(back.size(), std::byte{0});
      memory.ReadKeys(0, 50, 37, back.data());
      EXPECT_EQ(back, rows);
      if (transposed) {
        // Element 5 of cell 51 lies in column 51 of line 5.
        EXPECT_EQ(0, std::memcmp(values.data() + (5 * 100 + 51) * memory.element_bytes(),
                                 rows.data() + (48 + 5) * memory.element_bytes(),
                                 memory.element_bytes()));
      }
    }
  }
}

TEST(CacheMemoryTest, StretchesAreMaximal) {
  const std::vector<std::int32_t> cells{4, 5, 6, 2, 9, 10, 8};
  std::vector<std::array<std::uint32_t, 3>> seen;
  ForCellStretches(cells, [&](std::uint32_t cell, std::uint32_t first, std::uint32_t count) {
    seen.push_back({cell, first, count});
  });
  EXPECT_THAT(seen, testing::ElementsAre(std::array{4U, 0U, 3U}, std::array{2U, 3U, 1U},
                                         std::array{9U, 4U, 2U}, std::array{8U, 6U, 1U}));
}

}  // namespace
}  // namespace kvcommons
