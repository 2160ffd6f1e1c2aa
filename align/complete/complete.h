// Residual completion: the rows of a chunk that were computed again correct those that were not.
//
// Errors measured on the rows S predict those of the others by best linear prediction with the
// loadings of their plane, keys or values: with g = (U_Sᵀ W U_S + σ I)⁻¹ U_Sᵀ W r_S, row t is
// corrected by U_t g (keys un-rotated; the caller rotates to row t's position). W = σ ÷ (σ + a
// row's own variance) believes first rows less. Stored bytes never change (I3): the result is
// private to a request.
//
// Keys are given only a share of what is predicted (KeyShare): it explains a quarter of what keys
// are off by, less where fewer rows were measured, and an error in a key acts through an
// exponential where one in a value acts in proportion (docs/fidelity.md).
//
// Guards: a chunk with fewer than two measured rows is left alone, and so is a plane whose rows,
// each predicted from the others, would be worse for it. Rows of far more variance than the chunk's
// others are left alone: attention sinks, which are one in one context and none in the next. They
// do not follow a line, and every row attends to them: correcting one by half made a prompt's KL 30
// times as large (docs/fidelity.md).
//
// Source: specs: selective recompute §I. Thread safety: pure functions.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace kvcommons {

// Of one plane of one layer.
struct CompletionInput {
  std::uint32_t rank = 0;            // 1 to 64
  std::span<const float> loadings;   // of the measured rows: [row][rank]
  float residue = 0;                 // ν of the plane
  std::span<const float> residuals;  // computed minus stored: [row][stride], keys un-rotated
  std::uint32_t first_column = 0;    // of the plane's in a row of residuals
  std::uint32_t columns = 0;
  std::uint32_t stride = 0;
  // Of each measured row, beyond what loadings and ν say (FirstRowVariances): what errs on its own
  // tells little of others. Empty: none.
  std::span<const double> own_variance;
  double shrinkage = 0.1;  // λ; results hardly depend on it between 0.03 and 0.5
};

enum class CompletionOutcome : std::uint8_t {
  kApplied,
  kTooFewRows,  // fewer than kMinMeasuredRows
  kWorse,       // leave-one-out prediction errs more than no prediction
};

inline constexpr std::uint32_t kMinMeasuredRows = 2;

struct Completion {
  CompletionOutcome outcome = CompletionOutcome::kTooFewRows;
  std::vector<float> gain;  // g: [rank][columns]; empty unless applied
  // Σ w‖r − prediction without r‖² ÷ Σ w‖r‖²: above 1 is worse than nothing.
  double left_out_error = 0;
};

// Which rows are not to be corrected: of more than kWildVariance times the median row's variance,
// keys and values together. Loadings: [row][rank] of a whole chunk. 1 for each such row.
// REQUIRES: rank > 0, both of one size, a multiple of it.
inline constexpr double kWildVariance = 10;
std::vector<std::uint8_t> WildRows(std::span<const float> key_loadings,
                                   std::span<const float> value_loadings, std::uint32_t rank);

// kInvalidArgument names field, value and limit. Deterministic.
Result<Completion> CompleteResiduals(const CompletionInput& input);

// How much of a predicted correction keys are given: |S| ÷ (|S| + kKeyDoubtRows).
inline constexpr float kKeyDoubtRows = 10;
float KeyShare(std::size_t measured_rows);

}  // namespace kvcommons
