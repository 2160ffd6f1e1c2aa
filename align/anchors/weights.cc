#include "align/anchors/weights.h"

#include <cmath>

#include "align/anchors/share_gate.h"
#include "base/assert.h"

namespace kvcommons {
namespace {

// softmax over anchors of −distance_of(sum), column by column.
template <typename DistanceOf>
std::vector<float> ColumnWeights(std::span<const double> sums, std::size_t anchors,
                                 DistanceOf distance_of) {
  KVC_ASSERT(anchors > 0 && sums.size() % anchors == 0);
  const std::size_t columns = sums.size() / anchors;
  std::vector<float> weights(sums.size());
  std::vector<double> distances(anchors);
  for (std::size_t column = 0; column < columns; ++column) {
    for (std::size_t i = 0; i < anchors; ++i) {
      distances[i] = distance_of(sums[i * columns + column]);
    }
    const std::vector<double> of_column = WeightsOf(distances);
    for (std::size_t i = 0; i < anchors; ++i) {
      weights[i * columns + column] = static_cast<float>(of_column[i]);
    }
  }
  return weights;
}

}  // namespace

std::vector<float> RowWeights(std::span<const double> sums, std::size_t anchors,
                              std::size_t elements) {
  return ColumnWeights(sums, anchors,
                       [&](double sum) { return sum / static_cast<double>(elements); });
}

std::vector<float> ElementWeights(std::span<const double> sums, std::size_t anchors) {
  return ColumnWeights(sums, anchors, [](double sum) { return std::sqrt(sum); });
}

}  // namespace kvcommons
