// The vector code of anchor_rows.h' distances. 32 lanes whatever the vectors' length: groups of 32
// elements, each element's lane its index in the group.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/anchor_distances.cc"
// For the reasons in rotate.cc.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/assert.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/anchor_rows-inl.h"
#include "kernels/anchor_rows.h"
#include "kernels/row_check.h"
#include "kernels/stream_copy.h"

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {

#if HWY_NATIVE_FMA

constexpr std::size_t kSumLanes = 32;

struct Square {
  static HWY_INLINE VF Add(VF difference, VF sum) {
    return hn::MulAdd(difference, difference, sum);
  }
  static float Add(float difference, float sum) { return std::fma(difference, difference, sum); }
};
struct Absolute {
  static HWY_INLINE VF Add(VF difference, VF sum) { return hn::Add(sum, hn::Abs(difference)); }
  static float Add(float difference, float sum) { return sum + std::abs(difference); }
};

// Of at most kDistanceSpan elements.
template <ElementType kType, typename Term>
HWY_INLINE double SpanDistance(const std::byte* a, const std::byte* b, std::size_t count) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  constexpr std::size_t kN = hn::MaxLanes(DF());
  constexpr std::size_t kVectors = kSumLanes / kN;  // named one by one, so that they stay registers
  static_assert(kVectors == 2 || kVectors == 4 || kVectors == 8);
  const DF df;
  VF s0 = hn::Zero(df), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  const auto add = [&](std::size_t at, VF& low, VF& high) HWY_ATTR {
    VF a0, a1, b0, b1;
    Load2<kType>(a + at * kBytes, a0, a1);
    Load2<kType>(b + at * kBytes, b0, b1);
    low = Term::Add(hn::Sub(a0, b0), low);
    high = Term::Add(hn::Sub(a1, b1), high);
  };
  std::size_t e = 0;
  for (; e + kSumLanes <= count; e += kSumLanes) {
    AskFor(b + e * kBytes + kAheadBytes, kSumLanes * kBytes);
    add(e, s0, s1);
    if constexpr (kVectors > 2) add(e + 2 * kN, s2, s3);
    if constexpr (kVectors > 4) {
      add(e + 4 * kN, s4, s5);
      add(e + 6 * kN, s6, s7);
    }
  }
  HWY_ALIGN float lanes[kSumLanes];
  ToFloats2<kType>(s0, s1, lanes);
  if constexpr (kVectors > 2) ToFloats2<kType>(s2, s3, lanes + 2 * kN);
  if constexpr (kVectors > 4) {
    ToFloats2<kType>(s4, s5, lanes + 4 * kN);
    ToFloats2<kType>(s6, s7, lanes + 6 * kN);
  }
  for (std::size_t lane = 0; e < count; ++e, ++lane) {
    const float difference =
        scalar::Load<kType>(a + e * kBytes) - scalar::Load<kType>(b + e * kBytes);
    lanes[lane] = Term::Add(difference, lanes[lane]);
  }
  // Pairwise by halves, whole vectors of them as long as there are.
  std::size_t half = kSumLanes / 2;
  for (; half >= kN; half /= 2) {
    for (std::size_t i = 0; i < half; i += kN) {
      hn::Store(hn::Add(hn::Load(df, lanes + i), hn::Load(df, lanes + i + half)), df, lanes + i);
    }
  }
  for (; half > 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return double{lanes[0]};
}

template <ElementType kType, typename Term>
double DistanceOf(const std::byte* a, const std::byte* b, std::size_t elements) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  double sum = 0;
  for (std::size_t begin = 0; begin < elements; begin += kDistanceSpan) {
    const std::size_t count = std::min(kDistanceSpan, elements - begin);
    sum += SpanDistance<kType, Term>(a + begin * kBytes, b + begin * kBytes, count);
  }
  return sum;
}

double SquaredKernel(ElementType type, const std::byte* a, const std::byte* b,
                     std::size_t elements) {
  switch (type) {
    case ElementType::kFp16:
      return DistanceOf<ElementType::kFp16, Square>(a, b, elements);
    case ElementType::kBf16:
      return DistanceOf<ElementType::kBf16, Square>(a, b, elements);
    case ElementType::kFp32:
      break;
  }
  return DistanceOf<ElementType::kFp32, Square>(a, b, elements);
}

template <ElementType kType>
void RowDistancesOf(const std::byte* a, const std::byte* b, std::size_t rows, std::size_t elements,
                    double* sums) {
  const std::size_t bytes = elements * ElementBytes(kType);
  for (std::size_t row = 0; row < rows; ++row, a += bytes, b += bytes) {
    for (std::size_t begin = 0; begin < elements; begin += kDistanceSpan) {
      const std::size_t at = begin * ElementBytes(kType);
      const std::size_t count = std::min(kDistanceSpan, elements - begin);
      sums[row] += SpanDistance<kType, Absolute>(a + at, b + at, count);
    }
  }
}

void RowDistancesKernel(ElementType type, const std::byte* a, const std::byte* b, std::size_t rows,
                        std::size_t elements, double* sums) {
  switch (type) {
    case ElementType::kFp16:
      return RowDistancesOf<ElementType::kFp16>(a, b, rows, elements, sums);
    case ElementType::kBf16:
      return RowDistancesOf<ElementType::kBf16>(a, b, rows, elements, sums);
    case ElementType::kFp32:
      return RowDistancesOf<ElementType::kFp32>(a, b, rows, elements, sums);
  }
}

// spans += (a − turned b)², element by element.
template <ElementType kType>
struct SquareSink {
  const std::byte* a;
  float* spans;
  HWY_INLINE void Two(std::size_t e, VF b0, VF b1) const {
    VF a0, a1, s0, s1;
    Load2<kType>(a + e * ElementBytes(kType), a0, a1);
    LoadFloats2<kType>(spans + e, s0, s1);
    ToFloats2<kType>(Square::Add(hn::Sub(a0, b0), s0), Square::Add(hn::Sub(a1, b1), s1), spans + e);
  }
  void One(std::size_t e, float b) const {
    spans[e] = Square::Add(scalar::Load<kType>(a + e * ElementBytes(kType)) - b, spans[e]);
  }
};

template <ElementType kType, PairLayout kLayout>
void ElementDistancesOf(const KeyRowFormat& format, const RotationTable* shift, const std::byte* a,
                        const std::byte* b, std::size_t rows, double* sums) {
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  const RowTurn<kType, kLayout> turn(shift);
  std::vector<float> spans(elements);
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t at = row * format.row_bytes();
    AskFor(b + at + kAheadBytes, format.row_bytes());
    TurnRow(format, turn, b + at, SquareSink<kType>{a + at, spans.data()});
    if ((row + 1) % kDistanceSpan != 0 && row + 1 != rows) continue;
    for (std::size_t e = 0; e < elements; ++e) sums[e] += double{spans[e]};
    std::fill(spans.begin(), spans.end(), 0.0f);
  }
}

template <ElementType kType>
void ElementDistancesOf(const KeyRowFormat& format, const RotationTable* shift, const std::byte* a,
                        const std::byte* b, std::size_t rows, double* sums) {
  if (format.layout == PairLayout::kHalfSplit) {
    ElementDistancesOf<kType, PairLayout::kHalfSplit>(format, shift, a, b, rows, sums);
  } else {
    ElementDistancesOf<kType, PairLayout::kInterleaved>(format, shift, a, b, rows, sums);
  }
}

void ElementDistancesKernel(const KeyRowFormat& format, const RotationTable* shift,
                            const std::byte* a, const std::byte* b, std::size_t rows,
                            double* sums) {
  switch (format.type) {
    case ElementType::kFp16:
      return ElementDistancesOf<ElementType::kFp16>(format, shift, a, b, rows, sums);
    case ElementType::kBf16:
      return ElementDistancesOf<ElementType::kBf16>(format, shift, a, b, rows, sums);
    case ElementType::kFp32:
      return ElementDistancesOf<ElementType::kFp32>(format, shift, a, b, rows, sums);
  }
}

#else  // HWY_NATIVE_FMA

double SquaredKernel(ElementType type, const std::byte* a, const std::byte* b,
                     std::size_t elements) {
  return SquaredDistanceReference(type, a, b, elements);
}
void RowDistancesKernel(ElementType type, const std::byte* a, const std::byte* b, std::size_t rows,
                        std::size_t elements, double* sums) {
  AddRowDistancesReference(type, a, b, rows, elements, sums);
}
void ElementDistancesKernel(const KeyRowFormat& format, const RotationTable* shift,
                            const std::byte* a, const std::byte* b, std::size_t rows,
                            double* sums) {
  AddElementDistancesReference(format, shift, a, b, rows, sums);
}

#endif  // HWY_NATIVE_FMA

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {

HWY_EXPORT(SquaredKernel);
HWY_EXPORT(RowDistancesKernel);
HWY_EXPORT(ElementDistancesKernel);

double SquaredDistance(ElementType type, const std::byte* a, const std::byte* b,
                       std::size_t elements) {
  return HWY_DYNAMIC_DISPATCH(SquaredKernel)(type, a, b, elements);
}

void AddRowDistances(ElementType type, const std::byte* a, const std::byte* b, std::size_t rows,
                     std::size_t row_elements, double* sums) {
  HWY_DYNAMIC_DISPATCH(RowDistancesKernel)(type, a, b, rows, row_elements, sums);
}

void AddElementDistances(const KeyRowFormat& format, const RotationTable* shift, const std::byte* a,
                         const std::byte* b, std::size_t rows, double* sums) {
  if (shift != nullptr) CheckFormat(format, *shift);
  HWY_DYNAMIC_DISPATCH(ElementDistancesKernel)(format, shift, a, b, rows, sums);
}

}  // namespace kvcommons
#endif  // HWY_ONCE
