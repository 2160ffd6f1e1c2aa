#include "align/anchors/mean_offsets.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/assert.h"
#include "kernels/anchor_rows.h"

namespace kvcommons {

float TrustInMean(float square_of_mean, float mean_square, std::uint32_t count) {
  if (count < 2 || !(square_of_mean > 0)) return 0;
  const auto n = static_cast<float>(count);
  const float apart = std::max(0.0F, mean_square - square_of_mean) * n / (n - 1);
  return std::clamp((square_of_mean - apart / n) / square_of_mean, 0.0F, 1.0F);
}

MeanOffsets::MeanOffsets(std::vector<std::uint32_t> plane_elements)
    : plane_elements_(std::move(plane_elements)),
      planes_(plane_elements_.size()),
      squares_(plane_elements_.size()) {}

void MeanOffsets::Add(std::span<const float> offsets, std::size_t rows) {
  const std::size_t row_floats =
      std::accumulate(plane_elements_.begin(), plane_elements_.end(), std::size_t{0});
  KVC_ASSERT(offsets.size() == rows * row_floats);
  if (counts_.size() < rows) {
    counts_.resize(rows);
    for (std::size_t p = 0; p < planes_.size(); ++p) {
      planes_[p].resize(rows * plane_elements_[p]);
      squares_[p].resize(rows);
    }
  }
  for (std::size_t row = 0; row < rows; ++row) ++counts_[row];
  const float* from = offsets.data();
  for (std::size_t p = 0; p < planes_.size(); ++p) {
    const std::size_t elements = plane_elements_[p];
    // Stretches of equal counts: few, one for every length that was seen.
    for (std::size_t begin = 0; begin < rows;) {
      std::size_t end = begin + 1;
      while (end < rows && counts_[end] == counts_[begin]) ++end;
      AddToMean(ElementType::kFp32, reinterpret_cast<const std::byte*>(from + begin * elements),
                (end - begin) * elements, 1.0F / static_cast<float>(counts_[begin]),
                planes_[p].data() + begin * elements);
      begin = end;
    }
    for (std::size_t row = 0; row < rows; ++row) {
      float sum = 0;
      for (std::size_t e = 0; e < elements; ++e) {
        const float value = from[row * elements + e];
        sum += value * value;
      }
      float& square = squares_[p][row];
      square += (sum - square) / static_cast<float>(counts_[row]);
    }
    from += rows * elements;
  }
}

std::size_t MeanOffsets::CoveredRows(std::uint32_t least) const {
  const auto end = std::find_if(counts_.begin(), counts_.end(),
                                [least](std::uint32_t count) { return count < least; });
  return static_cast<std::size_t>(end - counts_.begin());
}

float MeanOffsets::Trust(std::size_t plane, std::size_t row) const {
  const std::size_t elements = plane_elements_[plane];
  float square = 0;
  for (std::size_t e = 0; e < elements; ++e) {
    const float value = planes_[plane][row * elements + e];
    square += value * value;
  }
  return TrustInMean(square, squares_[plane][row], counts_[row]);
}

std::uint64_t MeanOffsets::bytes() const {
  std::uint64_t floats = counts_.size();
  for (const auto& plane : planes_) floats += plane.size();
  for (const auto& squares : squares_) floats += squares.size();
  return floats * sizeof(float);
}

}  // namespace kvcommons
