// Internal to kernels/. The arithmetic of completion, one element or pair at a time: the definition
// that the references apply everywhere and the vector code to what its vectors leave over.
//
// Every implementation repeats these operations in this order. A correction starts as fma(u, g, 0)
// and not as a product: a compiler may fuse a bare product with the addition behind it.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "kernels/complete.h"
#include "kernels/scalar_rotation.h"

namespace kvcommons::scalar {

// cos and sin of one pair.
struct Angle {
  float cosine;
  float sine;
};

// One element of U_t g; `gain` at that column of the first of `rank` rows.
inline float Correction(const float* loadings, const float* gain, std::size_t rank,
                        std::size_t gain_stride) {
  float sum = 0;
  for (std::size_t k = 0; k < rank; ++k) sum = std::fma(loadings[k], gain[k * gain_stride], sum);
  return sum;
}

inline bool AllZero(const float* values, std::size_t count) {
  return std::all_of(values, values + count, [](float value) { return value == 0; });
}

// Whether row `row` of the chunk is placed as it is stored.
inline bool NoLoadings(const CompletionUpdate& update, std::size_t row) {
  const std::size_t at = row * update.rank;
  return AllZero(update.key_loadings + at, update.rank) &&
         AllZero(update.value_loadings + at, update.rank);
}

// Stops at the first number that is not zero, which is mostly the first.
inline bool NoGain(const CompletionUpdate& update, std::size_t columns) {
  for (std::size_t k = 0; k < update.rank; ++k) {
    if (!AllZero(update.gain + k * update.gain_stride, columns)) return false;
  }
  return true;
}

template <ElementType kType>
void CompleteElement(const std::byte* from, std::byte* to, float correction) {
  Store<kType>(Load<kType>(from) + correction, to);
}

// The pair at byte offsets `a` and `b`; `row` turns the correction, `move` the corrected key.
template <ElementType kType>
void CompletePair(const std::byte* source, std::byte* destination, std::size_t a, std::size_t b,
                  float correction_a, float correction_b, Angle row, Angle move) {
  const float first = std::fma(-correction_b, row.sine,
                               std::fma(correction_a, row.cosine, Load<kType>(source + a)));
  const float second =
      std::fma(correction_a, row.sine, std::fma(correction_b, row.cosine, Load<kType>(source + b)));
  Store<kType>(std::fma(-second, move.sine, first * move.cosine), destination + a);
  Store<kType>(std::fma(first, move.sine, second * move.cosine), destination + b);
}

template <ElementType kType>
void ResidualElement(const std::byte* cell, const std::byte* stored, float* residual) {
  Store<ElementType::kFp32>(Load<kType>(cell) - Load<kType>(stored),
                            reinterpret_cast<std::byte*>(residual));
}

// The elements `a` and `b` of a cell's key, a stored one and their residual.
template <ElementType kType>
void ResidualPair(const std::byte* cell, const std::byte* stored, float* residual, std::size_t a,
                  std::size_t b, Angle row, Angle move) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const float cell_a = Load<kType>(cell + a * kBytes);
  const float cell_b = Load<kType>(cell + b * kBytes);
  const float first =
      std::fma(cell_b, move.sine, cell_a * move.cosine) - Load<kType>(stored + a * kBytes);
  const float second =
      std::fma(-cell_a, move.sine, cell_b * move.cosine) - Load<kType>(stored + b * kBytes);
  Store<ElementType::kFp32>(std::fma(second, row.sine, first * row.cosine),
                            reinterpret_cast<std::byte*>(residual + a));
  Store<ElementType::kFp32>(std::fma(-first, row.sine, second * row.cosine),
                            reinterpret_cast<std::byte*>(residual + b));
}

}  // namespace kvcommons::scalar
