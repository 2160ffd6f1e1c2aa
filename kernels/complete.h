// Residual completion's byte work: a chunk's rows corrected by a rank-k update while they are
// placed, and the residuals that such an update is made from.
//
// R(p) is the model's rotation by p positions. A chunk of T rows is stored for origin 0 (row t's
// key is rotated for position t) and starts at position δ of the prompt. With U_t the loadings of
// row t, those of its key and those of its value, and g = [g_K | g_V] the gain, un-rotated:
//
//   value = round(stored value + U^V_t g_V)
//   key   = round(R(δ) [stored key + R(t) U^K_t g_K])    equal to R(δ) stored + R(δ + t) U^K_t g_K
//
// The first form costs as many operations as the second and its angles per row depend on the
// chunk's length alone: one RowRotations serves every chunk, layer and request of a model.
// Elements outside the rotary part are corrected without a rotation. Arithmetic is fp32, with one
// rounding to nearest even; a NaN becomes the one quiet NaN of its type.
//
// A row whose loadings are all zero, both its key's and its value's, and every row where the gain
// is, gets bit for bit what RotateRows() and CopyBytes() give; all else is equal bit for bit to the
// reference (same order of fused operations; the test runs both over one table of cases).
//
// For a device: ChunkRows and CompletionUpdate are plain pointers and counts, then into device
// memory, and with the four arrays of RotationTable and RowRotations all that a kernel needs; a
// thread takes a pair of elements of a row, g stays in shared memory. No other state, no callbacks.
//
// Thread safety: all functions are pure; what they read and write must not overlap. Two threads
// may complete different rows of one chunk.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/rotate.h"

namespace kvcommons {

inline constexpr std::uint32_t kCompletionRankMax = 64;

// cos and sin of t·ω_c for the rows t of a chunk and every pair c, made like RotationTable's.
class RowRotations {
 public:
  RowRotations(std::span<const float> omega, std::uint32_t row_count);

  std::uint32_t row_count() const { return row_count_; }
  std::size_t pair_count() const { return pair_count_; }
  std::span<const float> cos() const { return cos_; }  // [row][pair]
  std::span<const float> sin() const { return sin_; }

 private:
  std::uint32_t row_count_;
  std::size_t pair_count_;
  std::vector<float> cos_;
  std::vector<float> sin_;
};

// Rows of one layer of one chunk, and the cells of an engine's cache where their likes are.
struct ChunkRows {
  KeyRowFormat format;                     // of keys; values have as many elements of the same type
  const std::byte* stored_keys = nullptr;  // [row][element], contiguous: a plane of a block
  const std::byte* stored_values = nullptr;
  const std::uint32_t* rows = nullptr;   // [row_count] rows of the chunk, in any order
  const std::uint32_t* cells = nullptr;  // [row_count] where each of them is
  std::size_t row_count = 0;

  // Cell c's key at keys + c * key_stride_bytes. Element e of its value at
  // values + c * value_stride_bytes + e * value_element_stride_bytes: a cache of transposed values
  // has one element as the stride of cells. It is written element by element, and measured by plain
  // code.
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  std::size_t key_stride_bytes = 0;
  std::size_t value_stride_bytes = 0;
  std::size_t value_element_stride_bytes = 0;

  std::size_t row_elements() const {
    return static_cast<std::size_t>(format.head_count) * format.head_dim;
  }
};

struct CompletionUpdate {
  std::uint32_t rank = 0;  // 1 to kCompletionRankMax
  // U^K and U^V: [row of the chunk][rank]. Equal pointers are one set for both.
  const float* key_loadings = nullptr;
  const float* value_loadings = nullptr;
  // g: [rank][gain_stride], of which 2 * row_elements count, K beside V. Where the stride is a
  // multiple of 1024 and the rank above 8, rows of g fall into the same sets of a CPU's cache; 32
  // more are worth a tenth.
  const float* gain = nullptr;
  std::size_t gain_stride = 0;
};

// Writes the corrected rows into their cells.
// REQUIRES: table and rotations have format.rotary_dim / 2 pairs; every row is one of rotations'.
void CompleteRows(const RotationTable& table, const RowRotations& rotations, const ChunkRows& rows,
                  const CompletionUpdate& update);

// Plain C++, one element at a time.
void CompleteRowsReference(const RotationTable& table, const RowRotations& rotations,
                           const ChunkRows& rows, const CompletionUpdate& update);

// What the cells hold minus what is stored, un-rotated: R(−t) [R(−δ) key − stored key] beside
// value − stored value, into `residuals`: [row_count][2 * row_elements]. Reads the cells only.
void MeasureResiduals(const RotationTable& table, const RowRotations& rotations,
                      const ChunkRows& rows, float* residuals);
void MeasureResidualsReference(const RotationTable& table, const RowRotations& rotations,
                               const ChunkRows& rows, float* residuals);

}  // namespace kvcommons
