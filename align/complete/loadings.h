// Loadings: what the errors of a chunk's rows have in common, learned once, when its canonical KV
// is made behind several prefaces.
//
// A stale row's error is what full prefill would give minus what is stored. Tokens of one chunk see
// the same foreign context, and how much each takes in hardly depends on which context it is; so
// the errors of a chunk are jointly distributed, with a covariance that prefaces reveal. Loadings
// are its low-rank form: C ≈ U Uᵀ + ν I. Keys and values have one each: which rows err together is
// not the same for both (docs/fidelity.md).
//
// Source: specs: selective recompute §I. Thread safety: pure functions.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"

namespace kvcommons {

inline constexpr std::uint32_t kLoadingsRank = 16;
inline constexpr std::uint32_t kMaxPrefaces = 64;
inline constexpr std::uint32_t kMaxLoadingsRows = 4096;  // of one chunk: [rows][rows] is worked on

// One layer's rows of one chunk behind every preface: keys un-rotated (each row moved to position
// 0), since only there do errors of different rows add up; values as they are. fp32.
struct PrefaceRows {
  std::uint32_t preface_count = 0;  // 2 to kMaxPrefaces; 6 and more are worth it
  std::uint32_t row_count = 0;      // 1 to kMaxLoadingsRows
  std::uint32_t row_elements = 0;   // of K, and of V
  std::span<const float> keys;      // [preface][row][row_elements]
  std::span<const float> values;
};

// Of one plane, keys or values, divided by the root mean square of its deviations.
struct PlaneLoadings {
  std::uint32_t rank = 0;  // min(kLoadingsRank, rows)
  std::vector<float> u;    // [row][rank]
  float residue = 0;       // ν: the variance that U leaves, per row
};
struct LayerLoadings {
  PlaneLoadings keys, values;
};

// What the first rows of a chunk err by beyond what prefaces let expect, each on its own: a
// variance for each row of a plane, kFirstRowDoubt · kFirstRowDecay^row times what its loadings and
// ν say. What stands right before a chunk is nowhere as it was when the chunk was made, and the
// first rows see little else: row 0 errs by about three times its share, from row 20 on nothing is
// left. The height was chosen by the KL of twelve prompts; the decay was not varied
// (docs/fidelity.md). Products alone: the same on every machine. `loadings`: [row][rank]; a rank of
// 0 has none.
inline constexpr double kFirstRowDoubt = 6;
inline constexpr double kFirstRowDecay = 0.8465;  // to a 1/e in six rows
std::vector<double> FirstRowVariances(std::span<const float> loadings, std::uint32_t rank,
                                      std::size_t rows, double residue);

// kInvalidArgument names field, value and limit. Deterministic: equal bytes in, equal bytes out.
Result<LayerLoadings> LearnLoadings(const PrefaceRows& rows);

// The mean of covariances over layers and planes, as one: what `design` chooses rows by. The first
// fifth of a model's layers is left out: errors there are small and of another kind.
// REQUIRES: at least one layer; all of one rank and of as many rows.
Result<PlaneLoadings> MeanLoadings(std::span<const LayerLoadings> layers);

}  // namespace kvcommons
