// The start-up gate: moved keys are offered for a model only if the rotation proved itself on it.
//
// The engine runs one fixed prompt at positions 0.. and again at s..; for each layer
//   e_K = ‖R_s K(run 0) − K(run s)‖ / ‖K‖      e_V = ‖V(run 0) − V(run s)‖ / ‖V‖
// V has no rotation, so e_V is the noise floor. One figure catches a wrong layout, base, scaling,
// width or magnitude; negative controls (R_{s+1} and R_0 must fail) catch a test that cannot fail.
// Source: specs: positional re-encoding §2.7.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "align/model_profile.h"

namespace kvcommons {

// K and V rows of one layer from the two runs, fp32, [token][kv_head][head_dim].
struct GateProbe {
  std::uint32_t layer = 0;
  Position shift = 0;
  std::span<const float> key_at_zero;
  std::span<const float> key_at_shift;
  std::span<const float> value_at_zero;
  std::span<const float> value_at_shift;
};

struct GateReport {
  bool passed = false;
  double worst_key_error = 0;    // max over layers and shifts of e_K
  double worst_value_error = 0;  // of e_V
  double weakest_control = 0;    // min over layers and shifts of the controls' e_K
  std::string reason;            // empty when passed; else the figure that failed
};

GateReport EvaluateGate(const ModelProfile& profile, std::span<const GateProbe> probes);

}  // namespace kvcommons
