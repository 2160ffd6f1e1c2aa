// What reuse and prefill cost on the worker that asks, so that a plan never picks reuse that is
// slower than prefill (I11).

#pragma once

#include <cstdint>

namespace kvcommons {

// Measured by the worker (kvcommons-engine does it at start); the defaults are a small CPU model's.
struct CostModel {
  double prefill_us_per_token = 2000;    // one more row in a pass
  double attention_us_per_token_k = 20;  // added per row and 1,000 rows of context before it
  double place_us_per_token = 3;         // copying one row of all layers
  double rotate_us_per_token = 1;        // on top, when δ ≠ 0
  double run_us = 300;                   // one more run of computed rows in a pass
  double lookup_us = 500;                // the control call
  double blend_us_per_token = 20;        // correcting one row of a team's slot, in the daemon

  // `context`: rows before each computed row, on average: (begin + end) / 2 of a span, so that the
  // spans of a prompt add up to its prefill.
  double ComputeUs(std::int64_t rows, std::int64_t context) const {
    return static_cast<double>(rows) *
           (prefill_us_per_token +
            attention_us_per_token_k * static_cast<double>(context) / 1000.0);
  }
  double PlaceUs(std::int64_t rows, bool rotated) const {
    return static_cast<double>(rows) * (place_us_per_token + (rotated ? rotate_us_per_token : 0));
  }
};

}  // namespace kvcommons
