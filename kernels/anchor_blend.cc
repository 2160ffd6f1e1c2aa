// The vector code of anchor_rows.h' offsets and blend. Offsets are summed tile by tile, an anchor's
// rows at a time, so that memory is read in stretches longer than a row.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/anchor_blend.cc"
// For the reasons in rotate.cc.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#include <algorithm>
#include <cmath>
#include <type_traits>
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

constexpr std::size_t kTileFloats = 4096;  // half of a processor's nearest cache

// sum = weight · offset, or + where it is not the first. A weight for all, or one an element.
template <ElementType kType, bool kFirst, typename Weight>
HWY_INLINE void AddWeighted(const std::byte* offsets, Weight weight, float* sum,
                            std::size_t count) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  constexpr bool kByElement = std::is_pointer_v<Weight>;
  const DF df;
  const std::size_t n = hn::Lanes(df);
  std::size_t e = 0;
  for (; e + 2 * n <= count; e += 2 * n) {
    VF o0, o1, s0, s1, w0, w1;
    Load2<kType>(offsets + e * kBytes, o0, o1);
    if constexpr (kByElement) {
      LoadFloats2<kType>(weight + e, w0, w1);
    } else {
      w0 = w1 = hn::Set(df, weight);
    }
    if constexpr (kFirst) {
      ToFloats2<kType>(hn::Mul(w0, o0), hn::Mul(w1, o1), sum + e);
    } else {
      LoadFloats2<kType>(sum + e, s0, s1);
      ToFloats2<kType>(hn::MulAdd(w0, o0, s0), hn::MulAdd(w1, o1, s1), sum + e);
    }
  }
  for (; e < count; ++e) {
    float one;
    if constexpr (kByElement) {
      one = weight[e];
    } else {
      one = weight;
    }
    const float offset = scalar::Load<kType>(offsets + e * kBytes);
    sum[e] = kFirst ? one * offset : std::fma(one, offset, sum[e]);
  }
}

template <ElementType kType, bool kFirst>
HWY_INLINE void AddRows(const BlendRows& job, std::size_t anchor, std::size_t first,
                        std::size_t count, float* sum) {
  const std::size_t elements = std::size_t{job.format.head_count} * job.format.head_dim;
  const std::size_t bytes = elements * ElementBytes(kType);
  // The next anchor's rows of this tile, or the first one's of the next tile.
  const bool is_last = anchor + 1 == job.offsets.size();
  const std::byte* const next =
      job.offsets[is_last ? 0 : anchor + 1] + (first + (is_last ? count : 0)) * bytes;
  for (std::size_t row = 0; row < count; ++row, sum += elements) {
    const std::byte* const offsets = job.offsets[anchor] + (first + row) * bytes;
    AskFor(next + row * bytes, bytes);
    if (job.weights_by_element) {
      AddWeighted<kType, kFirst>(offsets, job.weights + anchor * elements, sum, elements);
    } else {
      const float weight = job.weights[anchor * job.rows + first + row];
      AddWeighted<kType, kFirst>(offsets, weight, sum, elements);
    }
  }
}

template <ElementType kType>
void SumTile(const BlendRows& job, std::size_t first, std::size_t count, float* sum) {
  AddRows<kType, true>(job, 0, first, count, sum);
  for (std::size_t i = 1; i < job.offsets.size(); ++i) {
    AddRows<kType, false>(job, i, first, count, sum);
  }
}

void SumTile(const BlendRows& job, std::size_t first, std::size_t count, float* sum) {
  switch (job.offset_type) {
    case ElementType::kFp16:
      return SumTile<ElementType::kFp16>(job, first, count, sum);
    case ElementType::kBf16:
      return SumTile<ElementType::kBf16>(job, first, count, sum);
    case ElementType::kFp32:
      return SumTile<ElementType::kFp32>(job, first, count, sum);
  }
}

// out = round(turned base + turned sum) of one row: where both turn, or neither.
template <ElementType kType, PairLayout kLayout, bool kStream>
struct RowBlend {
  static constexpr std::size_t kBytes = ElementBytes(kType);
  const KeyRowFormat& format;
  const RowTurn<kType, kLayout>& move;
  const RowTurn<kType, kLayout>& start;

  HWY_INLINE void Plain(const std::byte* base, const float* sum, std::byte* out, std::size_t begin,
                        std::size_t end) const {
    const std::size_t n = hn::Lanes(DF());
    std::size_t e = begin;
    for (; e + 2 * n <= end; e += 2 * n) {
      VF v0, v1, s0, s1;
      Load2<kType>(base + e * kBytes, v0, v1);
      LoadFloats2<kType>(sum + e, s0, s1);
      Store2<kType, kStream>(hn::Add(v0, s0), hn::Add(v1, s1), out + e * kBytes);
    }
    for (; e < end; ++e) {
      scalar::Store<kType>(scalar::Load<kType>(base + e * kBytes) + sum[e], out + e * kBytes);
    }
  }

  HWY_INLINE void Pair(const std::byte* base, const float* sum, std::byte* out, std::size_t pair,
                       std::size_t a, std::size_t b) const {
    float base_a = scalar::Load<kType>(base + a * kBytes);
    float base_b = scalar::Load<kType>(base + b * kBytes);
    float sum_a = sum[a], sum_b = sum[b];
    move.One(pair, base_a, base_b);
    start.One(pair, sum_a, sum_b);
    scalar::Store<kType>(base_a + sum_a, out + a * kBytes);
    scalar::Store<kType>(base_b + sum_b, out + b * kBytes);
  }

  HWY_INLINE void Head(const std::byte* base, const float* sum, std::byte* out,
                       std::size_t at) const {
    const std::size_t n = hn::Lanes(DF());
    const std::size_t pair_count = move.table->cos().size();
    std::size_t pair = 0;
    if constexpr (kLayout == PairLayout::kHalfSplit) {
      for (; pair + 2 * n <= pair_count; pair += 2 * n) {
        const std::size_t a = at + pair, b = a + pair_count;
        VF a0, a1, b0, b1, c0, c1, d0, d1;
        Load2<kType>(base + a * kBytes, a0, a1);
        Load2<kType>(base + b * kBytes, b0, b1);
        move.Halves(pair, a0, a1, b0, b1);
        LoadFloats2<kType>(sum + a, c0, c1);
        LoadFloats2<kType>(sum + b, d0, d1);
        start.Halves(pair, c0, c1, d0, d1);
        Store2<kType, kStream>(hn::Add(a0, c0), hn::Add(a1, c1), out + a * kBytes);
        Store2<kType, kStream>(hn::Add(b0, d0), hn::Add(b1, d1), out + b * kBytes);
      }
      for (; pair < pair_count; ++pair) {
        Pair(base, sum, out, pair, at + pair, at + pair + pair_count);
      }
    } else {
      for (; pair + n <= pair_count; pair += n) {
        const std::size_t e = at + 2 * pair;
        VF v0, v1, s0, s1;
        Load2<kType>(base + e * kBytes, v0, v1);
        move.Neighbours(pair, v0, v1);
        LoadFloats2<kType>(sum + e, s0, s1);
        start.Neighbours(pair, s0, s1);
        Store2<kType, kStream>(hn::Add(v0, s0), hn::Add(v1, s1), out + e * kBytes);
      }
      for (; pair < pair_count; ++pair) {
        Pair(base, sum, out, pair, at + 2 * pair, at + 2 * pair + 1);
      }
    }
  }

  void Row(const std::byte* base, const float* sum, std::byte* out) const {
    const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
    if (move.table == nullptr) return Plain(base, sum, out, 0, elements);
    for (std::size_t head = 0; head < elements; head += format.head_dim) {
      const std::size_t begin = head + format.rotary_offset, end = begin + format.rotary_dim;
      Plain(base, sum, out, head, begin);
      Head(base, sum, out, begin);
      Plain(base, sum, out, end, head + format.head_dim);
    }
  }
};

template <ElementType kType, PairLayout kLayout, bool kStream>
void BlendTiles(const BlendRows& job) {
  const KeyRowFormat& format = job.format;
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  const std::size_t tile_rows = std::max<std::size_t>(1, kTileFloats / elements);
  const RowTurn<kType, kLayout> move(job.move), start(job.start);
  const RowBlend<kType, kLayout, kStream> blend{format, move, start};
  std::vector<float> sum(tile_rows * elements);
  for (std::size_t first = 0; first < job.rows; first += tile_rows) {
    const std::size_t count = std::min(tile_rows, job.rows - first);
    SumTile(job, first, count, sum.data());
    for (std::size_t row = 0; row < count; ++row) {
      const std::size_t at = (first + row) * format.row_bytes();
      AskFor(job.base + at + kAheadBytes, format.row_bytes());
      blend.Row(job.base + at, sum.data() + row * elements, job.out + at);
    }
  }
}

template <ElementType kType, PairLayout kLayout>
void BlendOf(const BlendRows& job) {
  const KeyRowFormat& format = job.format;
  const bool is_aligned = HeadsFitVectors<kType, kLayout>(format) &&
                          reinterpret_cast<std::uintptr_t>(job.out) % (hn::Lanes(D16()) * 2) == 0;
  if (is_aligned && job.rows * format.row_bytes() >= kStreamBytesMin) {
    BlendTiles<kType, kLayout, true>(job);
    FenceStream();
  } else {
    BlendTiles<kType, kLayout, false>(job);
  }
}

template <ElementType kType>
void BlendOf(const BlendRows& job) {
  if (job.format.layout == PairLayout::kHalfSplit) {
    BlendOf<kType, PairLayout::kHalfSplit>(job);
  } else {
    BlendOf<kType, PairLayout::kInterleaved>(job);
  }
}

void BlendKernel(const BlendRows& job) {
  switch (job.format.type) {
    case ElementType::kFp16:
      return BlendOf<ElementType::kFp16>(job);
    case ElementType::kBf16:
      return BlendOf<ElementType::kBf16>(job);
    case ElementType::kFp32:
      return BlendOf<ElementType::kFp32>(job);
  }
}

template <ElementType kType>
HWY_INLINE void FloatsToElements(const float* from, std::byte* to, std::size_t count) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const std::size_t n = hn::Lanes(DF());
  std::size_t e = 0;
  for (; e + 2 * n <= count; e += 2 * n) {
    VF v0, v1;
    LoadFloats2<kType>(from + e, v0, v1);
    Store2<kType, false>(v0, v1, to + e * kBytes);
  }
  for (; e < count; ++e) scalar::Store<kType>(from[e], to + e * kBytes);
}

template <ElementType kType, PairLayout kLayout>
void OffsetsOf(const OffsetRows& job, ElementType offset_type, std::byte* offsets) {
  const KeyRowFormat& format = job.format;
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  const RowTurn<kType, kLayout> dense_turn(job.dense_shift), base_turn(job.base_shift);
  const DF df;
  const std::size_t n = hn::Lanes(df);
  std::vector<float> dense(elements), base(elements);
  for (std::size_t row = 0; row < job.rows; ++row) {
    const std::size_t at = row * format.row_bytes();
    TurnRow(format, dense_turn, job.dense + at, FloatSink<kType>{dense.data()});
    TurnRow(format, base_turn, job.base + at, FloatSink<kType>{base.data()});
    std::size_t e = 0;
    for (; e + n <= elements; e += n) {
      const VF difference = hn::Sub(hn::LoadU(df, &dense[e]), hn::LoadU(df, &base[e]));
      hn::StoreU(difference, df, &dense[e]);
    }
    for (; e < elements; ++e) dense[e] -= base[e];
    std::byte* const to = offsets + row * elements * ElementBytes(offset_type);
    if (offset_type == ElementType::kFp16) {
      FloatsToElements<ElementType::kFp16>(dense.data(), to, elements);
    } else if (offset_type == ElementType::kBf16) {
      FloatsToElements<ElementType::kBf16>(dense.data(), to, elements);
    } else {
      FloatsToElements<ElementType::kFp32>(dense.data(), to, elements);
    }
  }
}

template <ElementType kType>
void OffsetsOf(const OffsetRows& job, ElementType offset_type, std::byte* offsets) {
  if (job.format.layout == PairLayout::kHalfSplit) {
    OffsetsOf<kType, PairLayout::kHalfSplit>(job, offset_type, offsets);
  } else {
    OffsetsOf<kType, PairLayout::kInterleaved>(job, offset_type, offsets);
  }
}

void OffsetsKernel(const OffsetRows& job, ElementType offset_type, std::byte* offsets) {
  switch (job.format.type) {
    case ElementType::kFp16:
      return OffsetsOf<ElementType::kFp16>(job, offset_type, offsets);
    case ElementType::kBf16:
      return OffsetsOf<ElementType::kBf16>(job, offset_type, offsets);
    case ElementType::kFp32:
      return OffsetsOf<ElementType::kFp32>(job, offset_type, offsets);
  }
}

template <ElementType kType>
void MeanOf(const std::byte* offsets, std::size_t elements, float share, float* mean) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const DF df;
  const std::size_t n = hn::Lanes(df);
  const VF shares = hn::Set(df, share);
  std::size_t e = 0;
  for (; e + 2 * n <= elements; e += 2 * n) {
    VF o0, o1, m0, m1;
    Load2<kType>(offsets + e * kBytes, o0, o1);
    LoadFloats2<kType>(mean + e, m0, m1);
    ToFloats2<kType>(QuietNan(hn::MulAdd(hn::Sub(o0, m0), shares, m0)),
                     QuietNan(hn::MulAdd(hn::Sub(o1, m1), shares, m1)), mean + e);
  }
  for (; e < elements; ++e) {
    const float offset = scalar::Load<kType>(offsets + e * kBytes);
    scalar::Store<ElementType::kFp32>(std::fma(offset - mean[e], share, mean[e]),
                                      reinterpret_cast<std::byte*>(mean + e));
  }
}

void MeanKernel(ElementType type, const std::byte* offsets, std::size_t elements, float share,
                float* mean) {
  switch (type) {
    case ElementType::kFp16:
      return MeanOf<ElementType::kFp16>(offsets, elements, share, mean);
    case ElementType::kBf16:
      return MeanOf<ElementType::kBf16>(offsets, elements, share, mean);
    case ElementType::kFp32:
      return MeanOf<ElementType::kFp32>(offsets, elements, share, mean);
  }
}

#else  // HWY_NATIVE_FMA

void BlendKernel(const BlendRows& job) { BlendReference(job); }
void OffsetsKernel(const OffsetRows& job, ElementType offset_type, std::byte* offsets) {
  MeasureOffsetsReference(job, offset_type, offsets);
}
void MeanKernel(ElementType type, const std::byte* offsets, std::size_t elements, float share,
                float* mean) {
  AddToMeanReference(type, offsets, elements, share, mean);
}

#endif  // HWY_NATIVE_FMA

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {
namespace {

// A format whose rows turn by `table`, if there is one.
void CheckTurn(const KeyRowFormat& format, const RotationTable* table) {
  if (table != nullptr) CheckFormat(format, *table);
}

}  // namespace

HWY_EXPORT(BlendKernel);
HWY_EXPORT(OffsetsKernel);
HWY_EXPORT(MeanKernel);

void Blend(const BlendRows& rows) {
  CheckTurn(rows.format, rows.move);
  CheckTurn(rows.format, rows.start);
  KVC_ASSERT(!rows.offsets.empty() && (rows.move == nullptr) == (rows.start == nullptr));
  HWY_DYNAMIC_DISPATCH(BlendKernel)(rows);
}

void MeasureOffsets(const OffsetRows& rows, ElementType offset_type, std::byte* offsets) {
  CheckTurn(rows.format, rows.dense_shift);
  CheckTurn(rows.format, rows.base_shift);
  HWY_DYNAMIC_DISPATCH(OffsetsKernel)(rows, offset_type, offsets);
}

void AddToMean(ElementType offset_type, const std::byte* offsets, std::size_t elements, float share,
               float* mean) {
  HWY_DYNAMIC_DISPATCH(MeanKernel)(offset_type, offsets, elements, share, mean);
}

}  // namespace kvcommons
#endif  // HWY_ONCE
