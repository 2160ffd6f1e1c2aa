// The vector code of MeasureResiduals(): few rows, one after the other.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/residual.cc"
// For the reasons in rotate.cc.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/complete.h"
#include "kernels/completion_check.h"
#include "kernels/scalar_completion.h"
#include "kernels/vector_elements-inl.h"

#ifndef KVCOMMONS_KERNELS_RESIDUAL_JOB
#define KVCOMMONS_KERNELS_RESIDUAL_JOB
namespace kvcommons {

struct ResidualJob {
  const RotationTable& table;
  const RowRotations& rotations;
  const ChunkRows& rows;
  float* residuals;
};

}  // namespace kvcommons
#endif

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {

#if HWY_NATIVE_FMA

// 2N elements in Load2()'s order, stored in their own.
template <ElementType kType>
HWY_INLINE void StoreFloats2(VF v0, VF v1, float* to) {
  const DF df;
  if constexpr (kType == ElementType::kBf16) {
    hn::StoreInterleaved2(QuietNan(v0), QuietNan(v1), df, to);
  } else {
    hn::StoreU(QuietNan(v0), df, to);
    hn::StoreU(QuietNan(v1), df, to + hn::Lanes(df));
  }
}

template <ElementType kType>
void ResidualElements(const std::byte* cell, const std::byte* stored, float* residuals,
                      std::size_t count) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const std::size_t n = hn::Lanes(DF());
  std::size_t e = 0;
  for (; e + 2 * n <= count; e += 2 * n) {
    VF v0, v1, s0, s1;
    Load2<kType>(cell + e * kBytes, v0, v1);
    Load2<kType>(stored + e * kBytes, s0, s1);
    StoreFloats2<kType>(hn::Sub(v0, s0), hn::Sub(v1, s1), residuals + e);
  }
  for (; e < count; ++e) {
    scalar::ResidualElement<kType>(cell + e * kBytes, stored + e * kBytes, residuals + e);
  }
}

HWY_INLINE void RotateBack(VF& a, VF& b, VF c, VF s) {
  const VF first = a;
  a = hn::MulAdd(b, s, hn::Mul(first, c));
  b = hn::NegMulAdd(first, s, hn::Mul(b, c));
}

// The bits of RotateBack() of interleaved pairs, whose sines alternate in sign.
HWY_INLINE VF RotatePairsBack(VF v, VF c, VF s) {
  return hn::NegMulAdd(hn::Shuffle2301(v), s, hn::Mul(v, c));
}

// The rotary elements of one head.
template <ElementType kType, PairLayout kLayout>
HWY_INLINE void ResidualHead(const RotationTable& table, const float* cos, const float* sin,
                             const std::byte* cell, const std::byte* stored, float* residuals) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const DF df;
  const std::size_t n = hn::Lanes(df);
  const std::size_t pair_count = table.cos().size();
  const float* move_cos = table.cos().data();
  const float* move_sin = table.sin().data();
  const auto scalar_pair = [&](std::size_t pair, std::size_t a, std::size_t b) {
    scalar::ResidualPair<kType>(cell, stored, residuals, a, b, {cos[pair], sin[pair]},
                                {move_cos[pair], move_sin[pair]});
  };
  std::size_t pair = 0;
  if constexpr (kLayout == PairLayout::kHalfSplit) {
    for (; pair + 2 * n <= pair_count; pair += 2 * n) {
      const std::size_t second = pair + pair_count;
      VF a0, a1, b0, b1, s0, s1, c0, c1;
      Load2<kType>(cell + pair * kBytes, a0, a1);
      Load2<kType>(cell + second * kBytes, b0, b1);
      LoadFloats2<kType>(move_cos + pair, c0, c1);
      LoadFloats2<kType>(move_sin + pair, s0, s1);
      RotateBack(a0, b0, c0, s0);
      RotateBack(a1, b1, c1, s1);
      Load2<kType>(stored + pair * kBytes, s0, s1);
      a0 = hn::Sub(a0, s0);
      a1 = hn::Sub(a1, s1);
      Load2<kType>(stored + second * kBytes, s0, s1);
      b0 = hn::Sub(b0, s0);
      b1 = hn::Sub(b1, s1);
      LoadFloats2<kType>(cos + pair, c0, c1);
      LoadFloats2<kType>(sin + pair, s0, s1);
      RotateBack(a0, b0, c0, s0);
      RotateBack(a1, b1, c1, s1);
      StoreFloats2<kType>(a0, a1, residuals + pair);
      StoreFloats2<kType>(b0, b1, residuals + second);
    }
    for (; pair < pair_count; ++pair) scalar_pair(pair, pair, pair + pair_count);
  } else {
    [[maybe_unused]] const PairsToElements spread;
    for (; pair + n <= pair_count; pair += n) {
      const std::size_t at = 2 * pair;
      VF v0, v1, s0, s1;
      Load2<kType>(cell + at * kBytes, v0, v1);
      Load2<kType>(stored + at * kBytes, s0, s1);
      if constexpr (kType == ElementType::kBf16) {
        RotateBack(v0, v1, hn::LoadU(df, move_cos + pair), hn::LoadU(df, move_sin + pair));
        v0 = hn::Sub(v0, s0);
        v1 = hn::Sub(v1, s1);
        RotateBack(v0, v1, hn::LoadU(df, cos + pair), hn::LoadU(df, sin + pair));
      } else {
        VF cos0, cos1, sin0, sin1;
        spread.Cosines(move_cos + pair, cos0, cos1);
        spread.Sines(move_sin + pair, sin0, sin1);
        v0 = hn::Sub(RotatePairsBack(v0, cos0, sin0), s0);
        v1 = hn::Sub(RotatePairsBack(v1, cos1, sin1), s1);
        spread.Cosines(cos + pair, cos0, cos1);
        spread.Sines(sin + pair, sin0, sin1);
        v0 = RotatePairsBack(v0, cos0, sin0);
        v1 = RotatePairsBack(v1, cos1, sin1);
      }
      StoreFloats2<kType>(v0, v1, residuals + at);
    }
    for (; pair < pair_count; ++pair) scalar_pair(pair, 2 * pair, 2 * pair + 1);
  }
}

template <ElementType kType, PairLayout kLayout>
void ResidualJobOf(const ResidualJob& job) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const ChunkRows& rows = job.rows;
  const KeyRowFormat& format = rows.format;
  const std::size_t elements = rows.row_elements();
  const std::size_t rest = format.rotary_offset + format.rotary_dim;
  for (std::size_t i = 0; i < rows.row_count; ++i) {
    const std::size_t row = rows.rows[i];
    const float* cos = job.rotations.cos().data() + row * job.rotations.pair_count();
    const float* sin = job.rotations.sin().data() + row * job.rotations.pair_count();
    const std::byte* cell = rows.keys + rows.cells[i] * rows.key_stride_bytes;
    const std::byte* stored = rows.stored_keys + row * format.row_bytes();
    float* residuals = job.residuals + 2 * i * elements;
    ResidualElements<kType>(rows.values + rows.cells[i] * rows.value_stride_bytes,
                            rows.stored_values + row * format.row_bytes(), residuals + elements,
                            elements);
    for (std::size_t head = 0; head < format.head_count; ++head) {
      ResidualElements<kType>(cell, stored, residuals, format.rotary_offset);
      const std::size_t turned = format.rotary_offset * kBytes;
      ResidualHead<kType, kLayout>(job.table, cos, sin, cell + turned, stored + turned,
                                   residuals + format.rotary_offset);
      ResidualElements<kType>(cell + rest * kBytes, stored + rest * kBytes, residuals + rest,
                              format.head_dim - rest);
      cell += format.head_dim * kBytes;
      stored += format.head_dim * kBytes;
      residuals += format.head_dim;
    }
  }
}

template <ElementType kType>
void ResidualJobOf(const ResidualJob& job) {
  if (job.rows.format.layout == PairLayout::kHalfSplit) {
    ResidualJobOf<kType, PairLayout::kHalfSplit>(job);
  } else {
    ResidualJobOf<kType, PairLayout::kInterleaved>(job);
  }
}

void ResidualKernel(const ResidualJob& job) {
  switch (job.rows.format.type) {
    case ElementType::kFp16:
      return ResidualJobOf<ElementType::kFp16>(job);
    case ElementType::kBf16:
      return ResidualJobOf<ElementType::kBf16>(job);
    case ElementType::kFp32:
      return ResidualJobOf<ElementType::kFp32>(job);
  }
}

#else  // HWY_NATIVE_FMA

void ResidualKernel(const ResidualJob& job) {
  MeasureResidualsReference(job.table, job.rotations, job.rows, job.residuals);
}

#endif  // HWY_NATIVE_FMA

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {

HWY_EXPORT(ResidualKernel);

void MeasureResiduals(const RotationTable& table, const RowRotations& rotations,
                      const ChunkRows& rows, float* residuals) {
  CheckChunkRows(table, rotations, rows);
  if (rows.value_element_stride_bytes != ElementBytes(rows.format.type)) {
    return MeasureResidualsReference(table, rotations, rows, residuals);
  }
  HWY_DYNAMIC_DISPATCH(ResidualKernel)({table, rotations, rows, residuals});
}

}  // namespace kvcommons
#endif  // HWY_ONCE
