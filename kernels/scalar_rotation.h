// Internal to kernels/. Number formats and the rotation of one pair, one element at a time: the
// definition that RotateRowsReference() applies everywhere and the vector code applies to what is
// left over behind its last whole vector.
//
// The arithmetic, which every implementation repeats operation for operation:
//   a' = fma(-b, s, a * c)      b' = fma(a, s, b * c)      in fp32, then one rounding to nearest
//   even.
// A NaN result becomes the one quiet NaN of its type: which payload survives an FMA depends on the
// operand order that a compiler picks, so passing payloads through could not be made equal.

#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/element_type.h"

namespace kvcommons::scalar {

inline constexpr std::uint32_t kQuietNan = 0x7FC00000;

inline float Fp16ToFloat(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1F;
  const std::uint32_t mantissa = half & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000 | (mantissa << 13));
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  }
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // Exact.
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

inline std::uint16_t FloatToFp16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return 0x7E00;
  // 65520 lies half way between the largest fp16 and 2^16; a tie goes to the even one, infinity.
  if (magnitude >= 0x477FF000) return static_cast<std::uint16_t>(sign | 0x7C00);
  if (magnitude < 0x38800000) {
    // Subnormal or zero in fp16: adding 0.5 leaves the multiples of 2^-24 in the low mantissa bits,
    // rounded to nearest even by the addition itself.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    const std::uint32_t low = std::bit_cast<std::uint32_t>(shifted) - 0x3F000000;
    return static_cast<std::uint16_t>(sign | low);
  }
  const std::uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1) - (112u << 23);
  return static_cast<std::uint16_t>(sign | (rounded >> 13));
}

inline float Bf16ToFloat(std::uint16_t brain) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(brain) << 16);
}

inline std::uint16_t FloatToBf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return kQuietNan >> 16;
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

template <ElementType kType>
float Load(const std::byte* from) {
  if constexpr (kType == ElementType::kFp32) {
    float value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  } else {
    std::uint16_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    return kType == ElementType::kFp16 ? Fp16ToFloat(bits) : Bf16ToFloat(bits);
  }
}

template <ElementType kType>
void Store(float value, std::byte* to) {
  if constexpr (kType == ElementType::kFp32) {
    if (std::isnan(value)) value = std::bit_cast<float>(kQuietNan);
    std::memcpy(to, &value, sizeof(value));
  } else {
    const std::uint16_t bits =
        kType == ElementType::kFp16 ? FloatToFp16(value) : FloatToBf16(value);
    std::memcpy(to, &bits, sizeof(bits));
  }
}

// Rotates the pair of elements at byte offsets `a` and `b` of one head.
template <ElementType kType>
void RotatePair(const std::byte* source, std::byte* destination, std::size_t a, std::size_t b,
                float cosine, float sine) {
  const float first = Load<kType>(source + a);
  const float second = Load<kType>(source + b);
  Store<kType>(std::fma(-second, sine, first * cosine), destination + a);
  Store<kType>(std::fma(first, sine, second * cosine), destination + b);
}

}  // namespace kvcommons::scalar
