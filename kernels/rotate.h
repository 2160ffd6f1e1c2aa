// Rotation of cached keys by a position difference δ, fused with the copy that has to happen
// anyway.
//
// K(p + δ) = R(δ·ω) K(p): exact for every RoPE with a fixed ω (specs: positional re-encoding §2.1).
// Angles come from δ alone, in double, from the engine's own fp32 ω; arithmetic is fp32; one
// rounding to nearest even. Always rotate from the stored bytes, never from a rotated copy. δ = 0
// copies bits.
//
// Every implementation equals RotateRowsReference() bit for bit (same order of fused operations);
// the test runs all of them over one table of cases.
//
// Thread safety: all functions are pure; source and destination must not overlap.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/element_type.h"

namespace kvcommons {

// Wider rotary parts are refused where a model profile is checked, and assert here.
inline constexpr std::uint32_t kRotaryDimMax = 1024;

// One token's key row of one layer: `head_count` heads of `head_dim` elements, of which the
// `rotary_dim` elements from `rotary_offset` turn and the others are copied.
struct KeyRowFormat {
  std::uint32_t head_count = 0;
  std::uint32_t head_dim = 0;
  std::uint32_t rotary_dim = 0;  // even, <= head_dim - rotary_offset
  std::uint32_t rotary_offset = 0;
  PairLayout layout = PairLayout::kHalfSplit;
  ElementType type = ElementType::kFp16;

  std::size_t row_bytes() const {
    return static_cast<std::size_t>(head_count) * head_dim * ElementBytes(type);
  }
};

// cos and sin of δ·ω_c for every pair c; serves all tokens, heads and layers of one ω group.
class RotationTable {
 public:
  // `omega`: fp32 frequencies as the engine uses them, one per pair (radians per position).
  RotationTable(std::span<const float> omega, std::int64_t delta);

  std::int64_t delta() const { return delta_; }
  bool is_identity() const { return delta_ == 0; }
  std::span<const float> cos() const { return cos_; }
  std::span<const float> sin() const { return sin_; }

 private:
  std::int64_t delta_;
  std::vector<float> cos_;
  std::vector<float> sin_;
};

// Rotates `row_count` contiguous rows at `source` into `destination`, where consecutive rows are
// `destination_stride_bytes` apart (row_bytes() for a contiguous destination).
// REQUIRES: table.cos().size() == format.rotary_dim / 2.
void RotateRows(const KeyRowFormat& format, const RotationTable& table, const std::byte* source,
                std::byte* destination, std::size_t row_count,
                std::size_t destination_stride_bytes);

// The same, row i going to destination + cells[i] * row_bytes(): a paged or scattered cache.
void RotateRowsScatter(const KeyRowFormat& format, const RotationTable& table,
                       const std::byte* source, std::byte* destination,
                       std::span<const std::uint32_t> cells);

// Plain C++, one element at a time: what the others are checked against.
void RotateRowsReference(const KeyRowFormat& format, const RotationTable& table,
                         const std::byte* source, std::byte* destination, std::size_t row_count,
                         std::size_t destination_stride_bytes);

// Copies bytes with the faster of an ordinary and a streaming (non-temporal) copy for this size.
//
// This and RotateRows() read ahead of themselves, past the end of their source: whoever goes
// through a block's planes in the order in which they lie reads at memory's full rate.
void CopyBytes(const std::byte* source, std::byte* destination, std::size_t bytes);

// Names of the instruction sets compiled in and usable here, best first ("AVX3", "AVX2", ...).
// Forces one for tests and benchmarks; an empty name returns to the best.
std::vector<const char*> RotateTargets();
void ForceRotateTarget(const char* name);

}  // namespace kvcommons
