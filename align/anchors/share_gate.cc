#include "align/anchors/share_gate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/assert.h"

namespace kvcommons {

std::string_view ShareReasonName(ShareReason reason) {
  switch (reason) {
    case ShareReason::kNear:
      return "near";
    case ShareReason::kEmpty:
      return "empty";
    case ShareReason::kFewAnchors:
      return "few_anchors";
    case ShareReason::kFewLong:
      return "few_long_anchors";
    case ShareReason::kSpread:
      return "spread";
    case ShareReason::kNotANumber:
      return "not_a_number";
  }
  return "unknown";
}

std::optional<ShareReason> DecideByCounts(std::size_t anchors, std::size_t long_anchors,
                                          std::uint32_t tokens) {
  if (tokens == 0) return ShareReason::kEmpty;
  if (anchors < kMinAnchors) return ShareReason::kFewAnchors;
  if (long_anchors < kMinAnchors) return ShareReason::kFewLong;
  return std::nullopt;
}

std::vector<double> WeightsOf(std::span<const double> distances) {
  std::vector<double> weights(distances.begin(), distances.end());
  if (weights.empty()) return weights;
  const double smallest = *std::min_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) {
    weight = std::exp(smallest - weight);
    sum += weight;
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

std::vector<std::size_t> CountedAnchors(std::span<const double> weights,
                                        const ShareGateOptions& options) {
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  double sum = 0;
  std::size_t below = 0;  // how many come before the sum reaches the nucleus
  for (; below < order.size(); ++below) {
    sum += weights[order[below]];
    if (sum >= options.nucleus) break;
  }
  if (options.profile == AnchorProfile::kCorrected) {
    order.resize(std::min(below + 1, order.size()));
  } else if (below > 0) {
    order.resize(below);
  }
  return order;
}

ShareDecision DecideByDistances(std::span<const double> distances,
                                const ShareGateOptions& options) {
  KVC_ASSERT(distances.size() >= kMinAnchors);
  ShareDecision decision;
  decision.limit_bits = options.gamma * std::log2(static_cast<double>(distances.size()));
  const auto is_finite = [](double distance) { return std::isfinite(distance); };
  if (!std::all_of(distances.begin(), distances.end(), is_finite)) return decision;
  decision.weights = WeightsOf(distances);
  for (const double weight : decision.weights) {
    if (weight > 0) decision.entropy_bits -= weight * std::log2(weight);
  }
  // Equal weights sum to a little more than there can be.
  const double most_bits = std::log2(static_cast<double>(distances.size()));
  decision.entropy_bits = std::min(decision.entropy_bits, most_bits);
  const bool is_near = decision.entropy_bits <= decision.limit_bits;
  decision.reason = is_near ? ShareReason::kNear : ShareReason::kSpread;
  if (is_near) decision.counted = CountedAnchors(decision.weights, options);
  return decision;
}

}  // namespace kvcommons
