#include "align/complete/shift.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/assert.h"

namespace kvcommons {

Result<std::vector<float>> MeanResidual(std::span<const float> residuals, std::uint32_t columns) {
  if (columns < 1 || columns > kMaxShiftColumns) {
    return Fail(InvalidArgument("columns is " + std::to_string(columns) + "; the limit is 1 to " +
                                std::to_string(kMaxShiftColumns)));
  }
  if (residuals.size() % columns != 0) {
    return Fail(InvalidArgument("residuals has " + std::to_string(residuals.size()) +
                                " numbers; it must be rows of " + std::to_string(columns)));
  }
  if (residuals.empty()) return std::vector<float>();
  std::vector<double> sum(columns, 0);
  for (std::size_t i = 0; i < residuals.size(); ++i) {
    if (!std::isfinite(residuals[i])) {
      return Fail(InvalidArgument("residuals[" + std::to_string(i) + "] is not finite"));
    }
    sum[i % columns] += double{residuals[i]};
  }
  const auto probes = static_cast<double>(residuals.size() / columns);
  std::vector<float> mean(columns);
  for (std::size_t c = 0; c < columns; ++c) mean[c] = static_cast<float>(sum[c] / probes);
  return mean;
}

Result<std::vector<float>> ShiftWeights(std::span<const float> deviation,
                                        std::span<const std::size_t> probes) {
  for (std::size_t i = 0; i < deviation.size(); ++i) {
    if (!(deviation[i] >= 0) || !std::isfinite(deviation[i])) {
      return Fail(InvalidArgument("deviation[" + std::to_string(i) + "] is " +
                                  std::to_string(deviation[i]) +
                                  "; a sum of squares is 0 or more"));
    }
  }
  double divergence = 0;  // of all probes
  for (std::size_t i = 0; i < probes.size(); ++i) {
    if (probes[i] >= deviation.size() || (i > 0 && probes[i] <= probes[i - 1])) {
      return Fail(InvalidArgument("probes[" + std::to_string(i) + "] is " +
                                  std::to_string(probes[i]) + "; indices ascend and are below " +
                                  std::to_string(deviation.size())));
    }
    divergence += std::sqrt(double{deviation[probes[i]]});
  }
  std::vector<float> weights(deviation.size(), 0.0F);
  // Probes that do not diverge say that nothing has to move.
  if (divergence == 0) return weights;
  const double mean = divergence / static_cast<double>(probes.size());
  for (std::size_t i = 0; i < deviation.size(); ++i) {
    weights[i] = static_cast<float>(std::min(1.0, std::sqrt(double{deviation[i]}) / mean));
  }
  for (const std::size_t probe : probes) weights[probe] = 0;
  return weights;
}

Result<std::vector<float>> ShiftLoadings(std::span<const float> key_deviation,
                                         std::span<const float> value_deviation,
                                         std::span<const std::size_t> probes) {
  if (key_deviation.size() != value_deviation.size()) {
    return Fail(InvalidArgument("value_deviation has " + std::to_string(value_deviation.size()) +
                                " rows; key_deviation has " +
                                std::to_string(key_deviation.size())));
  }
  const auto key = ShiftWeights(key_deviation, probes);
  if (!key) return Fail(key.error());
  const auto value = ShiftWeights(value_deviation, probes);
  if (!value) return Fail(value.error());
  std::vector<float> loadings;
  loadings.reserve(kShiftRank * key->size());
  for (std::size_t i = 0; i < key->size(); ++i) {
    loadings.push_back((*key)[i]);
    loadings.push_back((*value)[i]);
  }
  return loadings;
}

std::vector<float> ShiftGain(std::span<const float> mean) {
  KVC_ASSERT(mean.size() % 2 == 0);
  const std::size_t columns = mean.size(), keys = columns / 2;
  std::vector<float> gain(kShiftRank * columns, 0.0F);
  for (std::size_t c = 0; c < columns; ++c) gain[(c < keys ? 0 : columns) + c] = mean[c];
  return gain;
}

std::vector<std::size_t> ShiftedRows(std::span<const float> loadings) {
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < loadings.size() / kShiftRank; ++row) {
    if (loadings[kShiftRank * row] != 0 || loadings[kShiftRank * row + 1] != 0) rows.push_back(row);
  }
  return rows;
}

}  // namespace kvcommons
