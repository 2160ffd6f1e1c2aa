// Residual completion: the rows of a chunk that were computed again correct those that were not.
//
// Errors measured on the rows S predict those of the others by best linear prediction with the
// chunk's loadings: with g = (U_Sᵀ U_S + σ I)⁻¹ U_Sᵀ r_S, row t is corrected by U_t g (keys
// un-rotated; the caller rotates to row t's position). Stored bytes never change (I3): the result
// is private to a request.
//
// Keys are given only a share of what is predicted (ShareKeys): it explains a quarter of what keys
// are off by, less where fewer rows were measured, and an error in a key acts through an
// exponential where one in a value acts in proportion (docs/fidelity.md).
//
// Guards: a chunk with fewer than two measured rows is left alone, and so is one whose rows, each
// predicted from the others, would be worse for it. Rows of far more variance than the chunk's
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

struct CompletionInput {
  std::uint32_t rank = 0;            // 1 to 64
  std::span<const float> loadings;   // of the measured rows: [row][rank]
  float residue = 0;                 // ν of the layer
  std::span<const float> residuals;  // computed minus stored: [row][columns], K un-rotated beside V
  std::uint32_t columns = 0;
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
  double left_out_error = 0;  // Σ‖r − prediction without r‖² ÷ Σ‖r‖²: above 1 is worse than nothing
};

// Which rows are not to be corrected: of more than kWildVariance times the median row's variance.
// `loadings`: [row][rank] of a whole chunk. 1 for each such row.
// REQUIRES: rank > 0, loadings.size() a multiple of it.
inline constexpr double kWildVariance = 10;
std::vector<std::uint8_t> WildRows(std::span<const float> loadings, std::uint32_t rank);

// kInvalidArgument names field, value and limit. Deterministic.
Result<Completion> CompleteResiduals(const CompletionInput& input);

// Leaves the keys of a gain |S| ÷ (|S| + kKeyDoubtRows) of what they have; values as they are.
// REQUIRES: `gain` is [rank][keys beside values], as many of the one as of the other.
inline constexpr float kKeyDoubtRows = 10;
void ShareKeys(std::span<float> gain, std::uint32_t rank, std::size_t measured_rows);

}  // namespace kvcommons
