// Plain C++ of anchor_rows.h: the definition, element by element.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "kernels/anchor_rows.h"
#include "kernels/scalar_rotation.h"

namespace kvcommons {
namespace {

constexpr std::size_t kLanes = 32;

float LoadAs(ElementType type, const std::byte* plane, std::size_t index) {
  const std::byte* const at = plane + index * ElementBytes(type);
  switch (type) {
    case ElementType::kFp16:
      return scalar::Load<ElementType::kFp16>(at);
    case ElementType::kBf16:
      return scalar::Load<ElementType::kBf16>(at);
    case ElementType::kFp32:
      break;
  }
  return scalar::Load<ElementType::kFp32>(at);
}

void StoreAs(ElementType type, float value, std::byte* plane, std::size_t index) {
  std::byte* const at = plane + index * ElementBytes(type);
  switch (type) {
    case ElementType::kFp16:
      return scalar::Store<ElementType::kFp16>(value, at);
    case ElementType::kBf16:
      return scalar::Store<ElementType::kBf16>(value, at);
    case ElementType::kFp32:
      return scalar::Store<ElementType::kFp32>(value, at);
  }
}

// Σ term(e) over [begin, end), at most kDistanceSpan of them; lane e − begin.
template <typename Accumulate>
double SumOfSpan(std::size_t begin, std::size_t end, Accumulate accumulate) {
  std::array<float, kLanes> lanes{};
  for (std::size_t e = begin; e < end; ++e) accumulate(e, lanes[(e - begin) % kLanes]);
  for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return double{lanes[0]};
}

// One row as fp32, turned where there is something to turn by.
void RowAsFloats(const KeyRowFormat& format, ElementType type, const RotationTable* shift,
                 const std::byte* row, float* to) {
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  for (std::size_t e = 0; e < elements; ++e) to[e] = LoadAs(type, row, e);
  if (shift == nullptr) return;
  const std::size_t pairs = format.rotary_dim / 2;
  for (std::size_t head = 0; head < format.head_count; ++head) {
    float* const turned = to + head * format.head_dim + format.rotary_offset;
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      const bool is_split = format.layout == PairLayout::kHalfSplit;
      float& a = turned[is_split ? pair : 2 * pair];
      float& b = turned[is_split ? pair + pairs : 2 * pair + 1];
      const float cosine = shift->cos()[pair], sine = shift->sin()[pair];
      const float first = a;
      a = std::fma(-b, sine, first * cosine);
      b = std::fma(first, sine, b * cosine);
    }
  }
}

}  // namespace

double SquaredDistanceReference(ElementType type, const std::byte* a, const std::byte* b,
                                std::size_t elements) {
  double sum = 0;
  for (std::size_t begin = 0; begin < elements; begin += kDistanceSpan) {
    sum += SumOfSpan(begin, std::min(begin + kDistanceSpan, elements),
                     [&](std::size_t e, float& lane) {
                       const float difference = LoadAs(type, a, e) - LoadAs(type, b, e);
                       lane = std::fma(difference, difference, lane);
                     });
  }
  return sum;
}

void AddRowDistancesReference(ElementType type, const std::byte* a, const std::byte* b,
                              std::size_t rows, std::size_t row_elements, double* sums) {
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t end = (row + 1) * row_elements;
    for (std::size_t begin = row * row_elements; begin < end; begin += kDistanceSpan) {
      sums[row] +=
          SumOfSpan(begin, std::min(begin + kDistanceSpan, end), [&](std::size_t e, float& lane) {
            lane += std::abs(LoadAs(type, a, e) - LoadAs(type, b, e));
          });
    }
  }
}

void AddElementDistancesReference(const KeyRowFormat& format, const RotationTable* shift,
                                  const std::byte* a, const std::byte* b, std::size_t rows,
                                  double* sums) {
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  std::vector<float> own(elements), other(elements), spans(elements);
  for (std::size_t row = 0; row < rows; ++row) {
    RowAsFloats(format, format.type, nullptr, a + row * format.row_bytes(), own.data());
    RowAsFloats(format, format.type, shift, b + row * format.row_bytes(), other.data());
    for (std::size_t e = 0; e < elements; ++e) {
      const float difference = own[e] - other[e];
      spans[e] = std::fma(difference, difference, spans[e]);
    }
    if ((row + 1) % kDistanceSpan != 0 && row + 1 != rows) continue;
    for (std::size_t e = 0; e < elements; ++e) sums[e] += double{spans[e]};
    std::fill(spans.begin(), spans.end(), 0.0f);
  }
}

void MeasureOffsetsReference(const OffsetRows& rows, ElementType offset_type, std::byte* offsets) {
  const KeyRowFormat& format = rows.format;
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  std::vector<float> dense(elements), base(elements);
  for (std::size_t row = 0; row < rows.rows; ++row) {
    const std::size_t at = row * format.row_bytes();
    RowAsFloats(format, format.type, rows.dense_shift, rows.dense + at, dense.data());
    RowAsFloats(format, format.type, rows.base_shift, rows.base + at, base.data());
    for (std::size_t e = 0; e < elements; ++e) {
      StoreAs(offset_type, dense[e] - base[e], offsets, row * elements + e);
    }
  }
}

void AddToMeanReference(ElementType offset_type, const std::byte* offsets, std::size_t elements,
                        float share, float* mean) {
  for (std::size_t e = 0; e < elements; ++e) {
    const float updated = std::fma(LoadAs(offset_type, offsets, e) - mean[e], share, mean[e]);
    StoreAs(ElementType::kFp32, updated, reinterpret_cast<std::byte*>(mean), e);
  }
}

void MixIntoMean(ElementType type, const std::byte* before, const float* offsets,
                 std::size_t elements, float share, std::byte* after) {
  for (std::size_t e = 0; e < elements; ++e) {
    const float mean = before == nullptr ? 0.0F : LoadAs(type, before, e);
    StoreAs(type, mean + (offsets[e] - mean) * share, after, e);
  }
}

void OffsetsToFloats(ElementType type, const std::byte* from, std::size_t elements, float* to) {
  for (std::size_t e = 0; e < elements; ++e) to[e] = LoadAs(type, from, e);
}

void BlendReference(const BlendRows& rows) {
  const KeyRowFormat& format = rows.format;
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  std::vector<float> base(elements), sum(elements), turned(elements);
  for (std::size_t row = 0; row < rows.rows; ++row) {
    for (std::size_t i = 0; i < rows.offsets.size(); ++i) {
      for (std::size_t e = 0; e < elements; ++e) {
        const float weight = rows.weights_by_element ? rows.weights[i * elements + e]
                                                     : rows.weights[i * rows.rows + row];
        const float offset = LoadAs(rows.offset_type, rows.offsets[i], row * elements + e);
        sum[e] = i == 0 ? weight * offset : std::fma(weight, offset, sum[e]);
      }
    }
    RowAsFloats(format, format.type, rows.move, rows.base + row * format.row_bytes(), base.data());
    RowAsFloats(format, ElementType::kFp32, rows.start,
                reinterpret_cast<const std::byte*>(sum.data()), turned.data());
    for (std::size_t e = 0; e < elements; ++e) {
      StoreAs(format.type, base[e] + turned[e], rows.out, row * elements + e);
    }
  }
}

}  // namespace kvcommons
