// Where a block's loadings lie: behind its planes, from the next multiple of 64 bytes on, all fp32:
//
//   [plane, then the mean over planes] { [row][rank] loadings | 1 residue }
//
// A layer is two planes, K and V, in the order of a block's planes; the mean is what rows are
// chosen by (align/complete/loadings.h). Version 1 had one for both planes of a layer.
// Written by workers, checked by the daemon, read in place by clients: whoever computes an offset
// does it here. Thread safety: pure functions.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvcommons {

// Of the layout above. Another version is never read, only passed over.
inline constexpr std::uint32_t kLoadingsVersion = 2;
inline constexpr std::uint32_t kMaxLoadingsRank = 64;
inline constexpr std::size_t kLoadingsAlignment = 64;

struct LoadingsLayout {
  std::size_t planes = 0;  // of the model: two a layer
  std::size_t rows = 0;
  std::uint32_t rank = 0;  // 0: none

  std::size_t mean() const { return planes; }  // behind the planes
  std::size_t PlaneFloats() const { return rows * rank + 1; }
  std::size_t Bytes() const { return rank == 0 ? 0 : (planes + 1) * PlaneFloats() * sizeof(float); }

  // From the block's first byte to its loadings.
  static std::size_t OffsetBytes(std::size_t plane_bytes) {
    return (plane_bytes + kLoadingsAlignment - 1) / kLoadingsAlignment * kLoadingsAlignment;
  }
  // Of the whole block: `loadings_bytes` behind `plane_bytes`.
  static std::size_t BlockBytes(std::size_t plane_bytes, std::size_t loadings_bytes) {
    return loadings_bytes == 0 ? plane_bytes : OffsetBytes(plane_bytes) + loadings_bytes;
  }

  // `loadings`: the first float of all planes. REQUIRES: rank > 0, plane <= mean().
  std::span<const float> Plane(const float* loadings, std::size_t plane) const {
    return {loadings + plane * PlaneFloats(), rows * rank};
  }
  float Residue(const float* loadings, std::size_t plane) const {
    return loadings[plane * PlaneFloats() + rows * rank];
  }
};

}  // namespace kvcommons
