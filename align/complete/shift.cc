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

void AddShift(float weight, std::span<const float> mean, std::span<float> row) {
  KVC_ASSERT(mean.size() == row.size());
  for (std::size_t c = 0; c < row.size(); ++c) row[c] += weight * mean[c];
}

}  // namespace kvcommons
