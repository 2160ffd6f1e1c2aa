// Internal to the tests of kernels/: rows as models have them, their formats, and every instruction
// set in turn.

#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/rotate.h"
#include "kernels/scalar_rotation.h"

namespace kvcommons {

inline constexpr std::uint32_t kSeed = 20240703;
inline constexpr ElementType kTypes[] = {ElementType::kFp16, ElementType::kBf16,
                                         ElementType::kFp32};
inline constexpr PairLayout kLayouts[] = {PairLayout::kHalfSplit, PairLayout::kInterleaved};

inline float ReadElement(ElementType type, const std::byte* at) {
  return type == ElementType::kFp16   ? scalar::Load<ElementType::kFp16>(at)
         : type == ElementType::kBf16 ? scalar::Load<ElementType::kBf16>(at)
                                      : scalar::Load<ElementType::kFp32>(at);
}

inline void WriteElement(ElementType type, float value, std::byte* at) {
  if (type == ElementType::kFp16) return scalar::Store<ElementType::kFp16>(value, at);
  if (type == ElementType::kBf16) return scalar::Store<ElementType::kBf16>(value, at);
  scalar::Store<ElementType::kFp32>(value, at);
}

inline std::vector<float> Omega(std::size_t pair_count, double base) {
  std::vector<float> omega(pair_count);
  for (std::size_t c = 0; c < pair_count; ++c) {
    const double exponent = -static_cast<double>(c) / static_cast<double>(pair_count);
    omega[c] = static_cast<float>(std::pow(base, exponent));
  }
  return omega;
}

inline RotationTable TableFor(const KeyRowFormat& format, std::int64_t delta) {
  return RotationTable(Omega(format.rotary_dim / 2, 5e5), delta);
}

// Bytes whose first one lies 64 bytes behind an alignment of 64, plus `misaligned_bytes`.
class Buffer {
 public:
  explicit Buffer(std::size_t size, std::size_t misaligned_bytes = 0)
      : storage_(size + 128, std::byte{0xEE}) {
    const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
    begin_ = storage_.data() + (64 - address % 64) + misaligned_bytes;
    size_ = size;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() { return begin_; }
  std::vector<std::byte> bytes() const { return {begin_, begin_ + size_}; }

 private:
  std::vector<std::byte> storage_;
  std::byte* begin_;
  std::size_t size_;
};

// Keys as models have them: Gaussian, with a few large outlier channels.
inline void FillWithKeys(const KeyRowFormat& format, std::size_t row_count, std::byte* rows) {
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  const std::size_t element_bytes = ElementBytes(format.type);
  for (std::size_t i = 0; i < row_count * format.head_count * format.head_dim; ++i) {
    const float scale = i % format.head_dim % 29 == 7 ? 12.0f : 1.0f;
    WriteElement(format.type, scale * normal(random), rows + i * element_bytes);
  }
}

inline std::string Describe(const KeyRowFormat& f) {
  return std::to_string(f.head_count) + "x" + std::to_string(f.head_dim) + " rotary " +
         std::to_string(f.rotary_dim) + "@" + std::to_string(f.rotary_offset) + " " +
         (f.layout == PairLayout::kHalfSplit ? "half-split " : "interleaved ") +
         std::string(ElementTypeName(f.type));
}

// Shapes of real models and odd ones: heads x head_dim, rotary part, its offset.
inline std::vector<KeyRowFormat> Formats() {
  struct Shape {
    std::uint32_t heads, head_dim, rotary_dim, offset;
  };
  constexpr Shape kShapes[] = {
      {3, 64, 64, 0},   {8, 128, 128, 0}, {2, 80, 32, 0},  {4, 256, 64, 0}, {1, 576, 64, 512},
      {2, 96, 72, 24},  {1, 2, 2, 0},     {3, 6, 4, 1},    {2, 64, 0, 0},   {1, 1024, 1024, 0},
      {2, 128, 96, 16}, {2, 128, 16, 0},  {4, 128, 8, 32},
  };
  std::vector<KeyRowFormat> formats;
  for (const Shape& s : kShapes) {
    for (const PairLayout layout : kLayouts) {
      for (const ElementType type : kTypes) {
        formats.push_back({s.heads, s.head_dim, s.rotary_dim, s.offset, layout, type});
      }
    }
  }
  return formats;
}

// Calls `check` once for every instruction set of this machine.
template <typename Check>
void OnEveryTarget(Check check) {
  for (const char* target : RotateTargets()) {
    ForceRotateTarget(target);
    SCOPED_TRACE(target);
    check();
    if (testing::Test::HasFailure()) break;
  }
  ForceRotateTarget("");
}

}  // namespace kvcommons
