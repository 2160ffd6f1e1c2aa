// The rotation table, and the rotation one element at a time that the vector code is checked
// against.

#include <cmath>
#include <cstring>
#include <numbers>

#include "base/assert.h"
#include "kernels/rotate.h"
#include "kernels/scalar_rotation.h"

namespace kvcommons {
namespace {

template <ElementType kType>
void RotateRowsOf(const KeyRowFormat& format, const RotationTable& table, const std::byte* source,
                  std::byte* destination, std::size_t row_count,
                  std::size_t destination_stride_bytes) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const std::size_t pair_count = format.rotary_dim / 2;
  const std::size_t head_bytes = format.head_dim * kBytes;
  for (std::size_t row = 0; row < row_count; ++row) {
    const std::byte* from = source + row * format.row_bytes();
    std::byte* to = destination + row * destination_stride_bytes;
    std::memcpy(to, from, format.row_bytes());
    if (table.is_identity()) continue;
    for (std::size_t head = 0; head < format.head_count; ++head) {
      for (std::size_t pair = 0; pair < pair_count; ++pair) {
        const bool half_split = format.layout == PairLayout::kHalfSplit;
        const std::size_t first = format.rotary_offset + (half_split ? pair : 2 * pair);
        const std::size_t second = first + (half_split ? pair_count : 1);
        scalar::RotatePair<kType>(from + head * head_bytes, to + head * head_bytes, first * kBytes,
                                  second * kBytes, table.cos()[pair], table.sin()[pair]);
      }
    }
  }
}

}  // namespace

RotationTable::RotationTable(std::span<const float> omega, std::int64_t delta) : delta_(delta) {
  cos_.reserve(omega.size());
  sin_.reserve(omega.size());
  for (const float frequency : omega) {
    // Reduced in double before cos and sin: good to |δ| of about 1e9.
    const double angle = static_cast<double>(delta) * static_cast<double>(frequency);
    const double turns = std::nearbyint(angle / (2 * std::numbers::pi));
    const double reduced = angle - 2 * std::numbers::pi * turns;
    cos_.push_back(static_cast<float>(std::cos(reduced)));
    sin_.push_back(static_cast<float>(std::sin(reduced)));
  }
}

void RotateRowsReference(const KeyRowFormat& format, const RotationTable& table,
                         const std::byte* source, std::byte* destination, std::size_t row_count,
                         std::size_t destination_stride_bytes) {
  KVC_ASSERT(table.cos().size() == format.rotary_dim / 2);
  KVC_ASSERT(format.rotary_offset + format.rotary_dim <= format.head_dim);
  switch (format.type) {
    case ElementType::kFp16:
      return RotateRowsOf<ElementType::kFp16>(format, table, source, destination, row_count,
                                              destination_stride_bytes);
    case ElementType::kBf16:
      return RotateRowsOf<ElementType::kBf16>(format, table, source, destination, row_count,
                                              destination_stride_bytes);
    case ElementType::kFp32:
      return RotateRowsOf<ElementType::kFp32>(format, table, source, destination, row_count,
                                              destination_stride_bytes);
  }
  KVC_ASSERT(false && "element type");
}

}  // namespace kvcommons
