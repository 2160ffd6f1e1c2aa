// Shift completion (AgentKVShift): the rows of a chunk that were not computed again are moved by
// the mean residual μ of its probes, each by a weight of its own:
//
//   row = stored + w·μ,   w_t = min(1, d_t ÷ mean of d over the chunk's probes)
//
// with d the divergence at the check layer, keys and values apart. The paper clips a divergence at
// 1 and does not say in which unit; relative to the probes is ours: where all residuals point one
// way and are as large as at the check layer, μ is that of a row with the probes' mean divergence,
// so this weight recovers every row. Needs no loadings, which is its use beside complete.h.
//
// A chunk without probes is left alone. Keys are un-rotated, residuals and μ alike: only there do
// residuals of different positions add up; the caller rotates the sum to its row's position. Stored
// bytes never change (I3): the result is private to a request. Layer 0 is exact and is not moved.
//
// Source: specs: selective recompute §C.2. Thread safety: pure functions.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace kvcommons {

inline constexpr std::uint32_t kMaxShiftColumns = 1 << 20;

// μ of one chunk and layer: residuals (computed minus stored) of its probes, [probe][columns].
// Empty without probes. kInvalidArgument names field, value and limit.
Result<std::vector<float>> MeanResidual(std::span<const float> residuals, std::uint32_t columns);

// w of one chunk, for one of its planes, the same in every layer: `deviation` is Σ(new − stored)²
// of each of its rows at the check layer, `probes` are the indices of those computed again,
// ascending. 0 for probes, and for all rows of a chunk without any. kInvalidArgument as above.
Result<std::vector<float>> ShiftWeights(std::span<const float> deviation,
                                        std::span<const std::size_t> probes);

// The same as a low-rank update, for both planes at once (kernels/complete.h): with a row's
// loadings [w_K, w_V] and the gain [[μ_K, 0], [0, μ_V]], row = stored + loadings · gain.
inline constexpr std::uint32_t kShiftRank = 2;
// [row][kShiftRank]. kInvalidArgument: as ShiftWeights(), or planes of another number of rows.
Result<std::vector<float>> ShiftLoadings(std::span<const float> key_deviation,
                                         std::span<const float> value_deviation,
                                         std::span<const std::size_t> probes);
// [kShiftRank][columns]. REQUIRES: `mean` has keys beside values, an even number of columns.
std::vector<float> ShiftGain(std::span<const float> mean);
// The rows that move, ascending: one of their loadings is not 0.
std::vector<std::size_t> ShiftedRows(std::span<const float> loadings);

}  // namespace kvcommons
