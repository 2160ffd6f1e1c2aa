// KVCOMM's byte work: how far rows of two contents are from each other, and rows corrected by a
// weighted sum of offsets that were measured on other contents.
//
// A plane is [row][element], one type throughout. Keys are compared, and offsets kept, in the local
// frame: rotated as if the content began at position 0, so that what was measured at one place
// holds at another (specs: KVCOMM §10, D3 and D4).
//
// Sums are those of §10, D13: fp32 over at most kDistanceSpan elements (in 32 lanes, element e in
// lane e % 32, added pairwise; sums by element in the order of the rows), and double over these. So
// neither threads nor instruction sets change them. All else is fp32 with one rounding to nearest
// even at the end. Every implementation equals the reference bit for bit; the test runs all of them
// over one table of cases.
//
// For a device: plain pointers and counts, no state, no callbacks.
// Thread safety: all functions are pure; what they read and write must not overlap.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/rotate.h"

namespace kvcommons {

inline constexpr std::size_t kDistanceSpan = 4096;

// --- Distances (§5, §7)

// Σ (a − b)² over all elements: what the gate turns on, of value planes.
double SquaredDistance(ElementType type, const std::byte* a, const std::byte* b,
                       std::size_t elements);
// sums[row] += Σ |a − b| over the row's elements: weights of a content's rows.
void AddRowDistances(ElementType type, const std::byte* a, const std::byte* b, std::size_t rows,
                     std::size_t row_elements, double* sums);
// sums[element] += Σ (a − b)² over the rows: weights of the text behind a content. `shift`, where
// it is not null, turns b's rows first: the last rows of a longer anchor, moved to the local
// positions of a's. REQUIRES: with a shift, format.rotary_dim / 2 pairs in it.
void AddElementDistances(const KeyRowFormat& format, const RotationTable* shift, const std::byte* a,
                         const std::byte* b, std::size_t rows, double* sums);

// --- Offsets (§3.6)

// offset = R(dense) dense row − R(base) base row, in fp32, rounded once to `offset_type`. For keys
// `dense` turns back by the content's position in the prompt and `base` by its own; for values both
// are null and nothing turns.
struct OffsetRows {
  KeyRowFormat format;  // of both
  const RotationTable* dense_shift = nullptr;
  const RotationTable* base_shift = nullptr;
  const std::byte* dense = nullptr;
  const std::byte* base = nullptr;
  std::size_t rows = 0;
};
void MeasureOffsets(const OffsetRows& rows, ElementType offset_type, std::byte* offsets);

// mean += (offset − mean) · share, element by element: the running mean of 1 ÷ share offsets.
void AddToMean(ElementType offset_type, const std::byte* offsets, std::size_t elements, float share,
               float* mean);

// The same for a mean that is kept as `type`: after = round(before + (offset − before) · share).
// Null `before`: of zeros. Plain C++: nobody waits for it.
void MixIntoMean(ElementType type, const std::byte* before, const float* offsets,
                 std::size_t elements, float share, std::byte* after);

// Offsets or means of `type` as fp32.
void OffsetsToFloats(ElementType type, const std::byte* from, std::size_t elements, float* to);

// --- Blend (§7)

// out = round(R(move) base row + R(start) Σ_i weight_i · offset_i). For keys `move` turns the
// stored base to its place and `start` is the content's position in the prompt; for values both are
// null.
struct BlendRows {
  KeyRowFormat format;  // of base and out
  const RotationTable* move = nullptr;
  const RotationTable* start = nullptr;
  const std::byte* base = nullptr;
  std::byte* out = nullptr;
  std::size_t rows = 0;
  ElementType offset_type = ElementType::kFp32;
  std::span<const std::byte* const> offsets;  // an anchor each, at least one
  // [anchor][row], or [anchor][element of a row] where the text behind a content is corrected.
  const float* weights = nullptr;
  bool weights_by_element = false;
};
void Blend(const BlendRows& rows);

// Plain C++, one element at a time.
double SquaredDistanceReference(ElementType type, const std::byte* a, const std::byte* b,
                                std::size_t elements);
void AddRowDistancesReference(ElementType type, const std::byte* a, const std::byte* b,
                              std::size_t rows, std::size_t row_elements, double* sums);
void AddElementDistancesReference(const KeyRowFormat& format, const RotationTable* shift,
                                  const std::byte* a, const std::byte* b, std::size_t rows,
                                  double* sums);
void MeasureOffsetsReference(const OffsetRows& rows, ElementType offset_type, std::byte* offsets);
void AddToMeanReference(ElementType offset_type, const std::byte* offsets, std::size_t elements,
                        float share, float* mean);
void BlendReference(const BlendRows& rows);

}  // namespace kvcommons
