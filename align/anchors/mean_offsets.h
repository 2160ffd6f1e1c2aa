// The running mean of a slot's offsets for one reader, position by position: what KVCOMM's blend
// over many anchors comes to, since its weights are close to equal, in the memory of one (specs:
// KVCOMM §7, §11, variant `mean`).
//
// Position t is the mean over the contents that had more than t tokens. Offsets are in the local
// frame, fp32. A value: a copy is a snapshot. Thread safety: const calls from any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvcommons {

class MeanOffsets {
 public:
  // `plane_elements`: of one row in each plane.
  explicit MeanOffsets(std::vector<std::uint32_t> plane_elements);

  // [plane][row][element] of a content of `rows` tokens. REQUIRES: as many floats.
  void Add(std::span<const float> offsets, std::size_t rows);

  std::size_t rows() const { return counts_.size(); }
  // How many contents had a token at each position: never more than at the one before.
  std::span<const std::uint32_t> counts() const { return counts_; }
  // How many positions from the first on are the mean of `least` contents or more.
  std::size_t CoveredRows(std::uint32_t least) const;
  std::span<const float> plane(std::size_t index) const {
    return planes_[index];
  }  // [row][element]
  std::uint64_t bytes() const;

 private:
  std::vector<std::uint32_t> plane_elements_;
  std::vector<std::uint32_t> counts_;
  std::vector<std::vector<float>> planes_;
};

}  // namespace kvcommons
