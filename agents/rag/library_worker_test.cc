#include "agents/rag/library_worker.h"

#include <gtest/gtest.h>

#include <cstring>

namespace kvcommons {
namespace {

// Two layers of rows of 3 bytes; byte and loading say where they belong.
constexpr std::size_t kRows = 10, kPlanes = 4;

CanonicalChunk MakeChunk(const PlaneLayout& planes, std::uint32_t rank) {
  CanonicalChunk chunk;
  chunk.tokens.resize(kRows);
  chunk.rank = rank;
  for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
    for (std::size_t row = 0; row < kRows; ++row) {
      chunk.planes.insert(chunk.planes.end(), planes.row_bytes[plane],
                          static_cast<std::byte>(16 * plane + row));
    }
  }
  for (std::size_t plane = 0; plane <= kPlanes && rank > 0; ++plane) {
    for (std::size_t i = 0; i < kRows * rank; ++i) {
      chunk.loadings.push_back(static_cast<float>(100 * plane + i));
    }
    chunk.loadings.push_back(static_cast<float>(plane) + 0.5F);  // the residue
  }
  return chunk;
}

TEST(WriteLibraryBlock, TakesTheRowsOfEveryPlaneAndTheirLoadings) {
  const PlaneLayout planes{{3, 3, 3, 3}};
  const CanonicalChunk chunk = MakeChunk(planes, 2);
  constexpr std::uint32_t kCount = 4;
  const LoadingsLayout layout{kPlanes, kCount, 2};
  std::vector<std::byte> block(
      LoadingsLayout::BlockBytes(planes.BlockBytes(kCount), layout.Bytes()));
  WriteLibraryBlock(planes, chunk, 5, kCount, block.data());
  for (std::size_t plane = 0; plane < 4; ++plane) {
    for (std::size_t row = 0; row < kCount; ++row) {
      EXPECT_EQ(block[planes.PlaneOffset(plane, kCount) + 3 * row],
                static_cast<std::byte>(16 * plane + 5 + row));
    }
  }
  std::vector<float> loadings(layout.Bytes() / sizeof(float));
  std::memcpy(loadings.data(),
              block.data() + LoadingsLayout::OffsetBytes(planes.BlockBytes(kCount)),
              layout.Bytes());
  for (std::size_t plane = 0; plane <= kPlanes; ++plane) {
    const auto values = layout.Plane(loadings.data(), plane);
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(values[i], static_cast<float>(100 * plane + 10 + i));
    }
    EXPECT_EQ(layout.Residue(loadings.data(), plane), static_cast<float>(plane) + 0.5F);
  }
}

TEST(WriteLibraryBlock, OfAChunkWithoutLoadingsIsItsPlanesAlone) {
  const PlaneLayout planes{{3, 3, 3, 3}};
  std::vector<std::byte> block(planes.BlockBytes(kRows) + 1, std::byte{0xEE});
  WriteLibraryBlock(planes, MakeChunk(planes, 0), 0, kRows, block.data());
  EXPECT_EQ(block[planes.BlockBytes(kRows) - 1], static_cast<std::byte>(16 * 3 + 9));
  EXPECT_EQ(block.back(), std::byte{0xEE});
}

}  // namespace
}  // namespace kvcommons
