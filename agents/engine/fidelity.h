// How far one distribution over next tokens is from another: the figures that stand beside every
// speed-up of an approximate mode.
//
// Thread safety: pure functions.

#pragma once

#include <span>
#include <vector>

namespace kvcommons {

// Where logits are no numbers: farther than any distribution, and never taken for agreement.
inline constexpr double kNoDistributionKl = 1e6;

// KL(reference ‖ other) in nats, from raw logits of equal length; in double, shifted by the
// maximum; kNoDistributionKl at most.
double KlDivergence(std::span<const float> reference, std::span<const float> other);

struct Fidelity {
  double kl_mean = 0;
  double kl_max = 0;
  double top1_agreement = 0;  // share of positions with the same most probable token
  std::size_t positions = 0;
};

// `reference` and `other`: logits of the same teacher-forced positions, one vector each.
// REQUIRES: equal sizes, at least one position.
Fidelity Compare(const std::vector<std::vector<float>>& reference,
                 const std::vector<std::vector<float>>& other);

}  // namespace kvcommons
