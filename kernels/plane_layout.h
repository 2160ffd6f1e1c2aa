// How the bytes of a block are arranged: [plane][token][row], one plane contiguous, so that a layer
// can be streamed and a plane is one copy. For a plain decoder plane 2l is K of layer l and plane
// 2l + 1 its V; nothing that moves blocks needs to know more.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvcommons {

struct PlaneLayout {
  // Bytes of one token's row in each plane, in storage order.
  std::vector<std::uint32_t> row_bytes;

  std::size_t plane_count() const { return row_bytes.size(); }

  // Bytes of one token over all planes.
  std::size_t TokenBytes() const {
    std::size_t sum = 0;
    for (const std::uint32_t bytes : row_bytes) sum += bytes;
    return sum;
  }
  std::size_t BlockBytes(std::size_t token_count) const { return TokenBytes() * token_count; }

  // Offset of plane `plane` inside a block of `token_count` tokens.
  std::size_t PlaneOffset(std::size_t plane, std::size_t token_count) const {
    std::size_t sum = 0;
    for (std::size_t p = 0; p < plane; ++p) sum += row_bytes[p];
    return sum * token_count;
  }

  friend bool operator==(const PlaneLayout& a, const PlaneLayout& b) {
    return a.row_bytes == b.row_bytes;
  }
};

}  // namespace kvcommons
