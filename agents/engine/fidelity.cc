#include "agents/engine/fidelity.h"

#include <algorithm>
#include <cmath>

#include "base/assert.h"

namespace kvcommons {
namespace {

// log of the sum of exp, without overflow.
double LogSumExp(std::span<const float> logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return top + std::log(sum);
}

}  // namespace

double KlDivergence(std::span<const float> reference, std::span<const float> other) {
  KVC_ASSERT(!reference.empty() && reference.size() == other.size());
  const double reference_norm = LogSumExp(reference);
  const double other_norm = LogSumExp(other);
  double sum = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double p = static_cast<double>(reference[i]) - reference_norm;
    const double q = static_cast<double>(other[i]) - other_norm;
    sum += std::exp(p) * (p - q);
  }
  if (!std::isfinite(sum)) return kNoDistributionKl;
  return std::clamp(sum, 0.0, kNoDistributionKl);  // Rounding alone makes it negative.
}

Fidelity Compare(const std::vector<std::vector<float>>& reference,
                 const std::vector<std::vector<float>>& other) {
  KVC_ASSERT(!reference.empty() && reference.size() == other.size());
  Fidelity fidelity;
  fidelity.positions = reference.size();
  std::size_t agreed = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double kl = KlDivergence(reference[i], other[i]);
    fidelity.kl_mean += kl / static_cast<double>(reference.size());
    fidelity.kl_max = std::max(fidelity.kl_max, kl);
    const auto top = [](const std::vector<float>& logits) {
      return std::max_element(logits.begin(), logits.end()) - logits.begin();
    };
    agreed += kl < kNoDistributionKl && top(reference[i]) == top(other[i]) ? 1 : 0;
  }
  fidelity.top1_agreement = static_cast<double>(agreed) / static_cast<double>(reference.size());
  return fidelity;
}

}  // namespace kvcommons
