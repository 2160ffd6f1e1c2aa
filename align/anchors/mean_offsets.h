// The running mean of a slot's offsets for one reader, position by position: what KVCOMM's blend
// over many anchors comes to, since its weights are close to equal, in the memory of one (specs:
// KVCOMM §7, §11, variant `mean`).
//
// Position t is the mean over the contents that had more than t tokens, and how far these lay apart
// is kept with it, a number a row and plane. Offsets are in the local
// frame, fp32. A value: a copy is a snapshot. Thread safety: const calls from any thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvcommons {

// How much of a row's mean is likely to be more than chance, 0 to 1: what it is to be multiplied
// with so that the expected square of what is left is least. From how far the offsets lay apart: of
// n offsets with mean m and mean square s, (|m|² − v/n) ÷ |m|² with v = (s − |m|²) n ÷ (n − 1). The
// mean of few offsets that have little in common is mostly noise, and adds it to every row.
float TrustInMean(float square_of_mean, float mean_square, std::uint32_t count);

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
  // TrustInMean() of the row.
  float Trust(std::size_t plane, std::size_t row) const;
  std::uint64_t bytes() const;

 private:
  std::vector<std::uint32_t> plane_elements_;
  std::vector<std::uint32_t> counts_;
  std::vector<std::vector<float>> planes_;
  std::vector<std::vector<float>> squares_;  // [plane][row]: mean of the offsets' squares, summed
};

}  // namespace kvcommons
