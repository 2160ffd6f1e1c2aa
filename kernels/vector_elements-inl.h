// Internal to kernels/: vectors of fp32 out of stored elements and back, and the rotation of such
// vectors. Included once per instruction set, inside none of its namespaces (Highway's convention).
//
// What is behind HWY_NATIVE_FMA only: without it the bits would differ from the references.

#if defined(KVCOMMONS_KERNELS_VECTOR_ELEMENTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCOMMONS_KERNELS_VECTOR_ELEMENTS_INL_H
#undef KVCOMMONS_KERNELS_VECTOR_ELEMENTS_INL_H
#else
#define KVCOMMONS_KERNELS_VECTOR_ELEMENTS_INL_H
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/rotate.h"
#include "kernels/scalar_rotation.h"

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {

#if HWY_NATIVE_FMA

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;
using DU = hn::RebindToUnsigned<DF>;
using D16 = hn::ScalableTag<std::uint16_t>;

template <typename T>
HWY_INLINE T* As(std::byte* p) {
  return reinterpret_cast<T*>(p);
}
template <typename T>
HWY_INLINE const T* As(const std::byte* p) {
  return reinterpret_cast<const T*>(p);
}

template <class D, class V, typename T>
HWY_INLINE void Put(D d, V v, T* to, bool stream) {
  if (stream) {
    hn::Stream(v, d, to);
  } else {
    hn::StoreU(v, d, to);
  }
}

HWY_INLINE VF QuietNan(VF v) {
  const DF df;
  const auto nan = hn::BitCast(df, hn::Set(DU(), scalar::kQuietNan));
  return hn::IfThenElse(hn::IsNaN(v), nan, v);
}

HWY_INLINE hn::Vec<DU> RoundToBf16InUpperHalf(VF v) {
  const DU du;
  const auto bits = hn::BitCast(du, QuietNan(v));
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  // The quiet NaN has zero low bits and an even upper half, so the addition cannot make it
  // infinity.
  static_assert((scalar::kQuietNan & 0x1FFFF) == 0);
  return hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF)));
}

// Loads and stores 2N elements, N = Lanes(DF), as two vectors of fp32. The order is the type's:
// fp16 and fp32 give elements [0, N) and [N, 2N), bf16 the even ones and the odd ones, since both
// halves of a 32-bit lane become fp32 by a shift or a mask.
template <ElementType kType>
HWY_INLINE void Load2(const std::byte* from, VF& v0, VF& v1) {
  const DF df;
  const DU du;
  const std::size_t n = hn::Lanes(df);
  if constexpr (kType == ElementType::kFp32) {
    v0 = hn::LoadU(df, As<float>(from));
    v1 = hn::LoadU(df, As<float>(from) + n);
  } else if constexpr (kType == ElementType::kFp16) {
    const hn::Rebind<hwy::float16_t, DF> dh;
    v0 = hn::PromoteTo(df, hn::LoadU(dh, As<hwy::float16_t>(from)));
    v1 = hn::PromoteTo(df, hn::LoadU(dh, As<hwy::float16_t>(from) + n));
  } else {
    const auto both = hn::LoadU(du, As<std::uint32_t>(from));
    v0 = hn::BitCast(df, hn::ShiftLeft<16>(both));
    v1 = hn::BitCast(df, hn::And(both, hn::Set(du, 0xFFFF0000u)));
  }
}

template <ElementType kType, bool kStream>
HWY_INLINE void Store2(VF v0, VF v1, std::byte* to) {
  const DF df;
  const DU du;
  const std::size_t n = hn::Lanes(df);
  if constexpr (kType == ElementType::kFp32) {
    Put(df, QuietNan(v0), As<float>(to), kStream);
    Put(df, QuietNan(v1), As<float>(to) + n, kStream);
  } else if constexpr (kType == ElementType::kFp16) {
    const hn::Rebind<hwy::float16_t, DF> dh;
    const hn::RebindToUnsigned<decltype(dh)> dhu;
    const auto low = hn::BitCast(dhu, hn::DemoteTo(dh, QuietNan(v0)));
    const auto high = hn::BitCast(dhu, hn::DemoteTo(dh, QuietNan(v1)));
    Put(D16(), hn::Combine(D16(), high, low), As<std::uint16_t>(to), kStream);
  } else {
    const auto even = hn::ShiftRight<16>(RoundToBf16InUpperHalf(v0));
    const auto odd = hn::And(RoundToBf16InUpperHalf(v1), hn::Set(du, 0xFFFF0000u));
    Put(du, hn::Or(even, odd), As<std::uint32_t>(to), kStream);
  }
}

// Whether every stretch of a head (what does not turn, what does, either half of split pairs)
// begins at a multiple of 2N elements' bytes: where rows do, too, vectors may be streamed, which
// faults anywhere else.
template <ElementType kType, PairLayout kLayout>
bool HeadsFitVectors(const KeyRowFormat& format) {
  const std::size_t turned =
      kLayout == PairLayout::kHalfSplit ? format.rotary_dim / 2 : format.rotary_dim;
  return (format.head_dim | format.rotary_offset | turned) * ElementBytes(kType) %
             (hn::Lanes(D16()) * 2) ==
         0;
}

// cos and sin in the order and number in which TurnHead() meets them.
struct Tables {
  HWY_ALIGN float c[kRotaryDimMax];
  HWY_ALIGN float s[kRotaryDimMax];
};

template <ElementType kType, PairLayout kLayout>
void FillTables(const RotationTable& table, Tables& out) {
  const std::size_t n = hn::Lanes(DF());
  const std::size_t pair_count = table.cos().size();
  const float* cosine = table.cos().data();
  const float* sine = table.sin().data();
  if constexpr (kLayout == PairLayout::kInterleaved && kType != ElementType::kBf16) {
    for (std::size_t pair = 0; pair < pair_count; ++pair) {
      out.c[2 * pair] = out.c[2 * pair + 1] = cosine[pair];
      out.s[2 * pair] = -sine[pair];
      out.s[2 * pair + 1] = sine[pair];
    }
  } else if constexpr (kLayout == PairLayout::kHalfSplit && kType == ElementType::kBf16) {
    for (std::size_t group = 0; group + 2 * n <= pair_count; group += 2 * n) {
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t odd = 0; odd < 2; ++odd) {
          out.c[group + odd * n + i] = cosine[group + 2 * i + odd];
          out.s[group + odd * n + i] = sine[group + 2 * i + odd];
        }
      }
    }
  } else {
    std::copy_n(cosine, pair_count, out.c);
    std::copy_n(sine, pair_count, out.s);
  }
}

HWY_INLINE void RotateVectors(VF& a, VF& b, VF c, VF s) {
  const VF first = a;
  a = hn::NegMulAdd(b, s, hn::Mul(first, c));
  b = hn::MulAdd(first, s, hn::Mul(b, c));
}

// A table in the order in which rows of one type meet it; none where nothing turns.
template <ElementType kType, PairLayout kLayout>
struct RowTurn {
  explicit RowTurn(const RotationTable* turned_by) : table(turned_by) {
    if (table != nullptr) FillTables<kType, kLayout>(*table, tables);
  }
  // Two vectors in Load2()'s order that hold whole pairs from `pair` on: the pairs' first and
  // second elements, or (interleaved, but bf16) elements side by side.
  HWY_INLINE void Halves(std::size_t pair, VF& a0, VF& a1, VF& b0, VF& b1) const {
    const DF df;
    const std::size_t n = hn::Lanes(df);
    RotateVectors(a0, b0, hn::Load(df, tables.c + pair), hn::Load(df, tables.s + pair));
    RotateVectors(a1, b1, hn::Load(df, tables.c + pair + n), hn::Load(df, tables.s + pair + n));
  }
  HWY_INLINE void Neighbours(std::size_t pair, VF& v0, VF& v1) const {
    const DF df;
    const std::size_t n = hn::Lanes(df);
    if constexpr (kType == ElementType::kBf16) {
      RotateVectors(v0, v1, hn::Load(df, tables.c + pair), hn::Load(df, tables.s + pair));
    } else {
      const float* c = tables.c + 2 * pair;
      const float* s = tables.s + 2 * pair;
      v0 = hn::MulAdd(hn::Shuffle2301(v0), hn::Load(df, s), hn::Mul(v0, hn::Load(df, c)));
      v1 = hn::MulAdd(hn::Shuffle2301(v1), hn::Load(df, s + n), hn::Mul(v1, hn::Load(df, c + n)));
    }
  }
  void One(std::size_t pair, float& a, float& b) const {
    const float cosine = table->cos()[pair], sine = table->sin()[pair];
    const float first = a;
    a = std::fma(-b, sine, first * cosine);
    b = std::fma(first, sine, b * cosine);
  }

  const RotationTable* table;
  Tables tables;
};

// The rotary elements of one head, which begins at element `at` of the row, as fp32 into the sink:
// Two() takes 2N of them from element e on, in Load2()'s order, One() a single one.
template <ElementType kType, PairLayout kLayout, class Sink>
HWY_INLINE void TurnHead(const RowTurn<kType, kLayout>& turn, const std::byte* row, std::size_t at,
                         const Sink& sink) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const std::size_t n = hn::Lanes(DF());
  const std::size_t pair_count = turn.table->cos().size();
  const auto scalar_pair = [&](std::size_t pair, std::size_t a, std::size_t b) {
    float first = scalar::Load<kType>(row + a * kBytes);
    float second = scalar::Load<kType>(row + b * kBytes);
    turn.One(pair, first, second);
    sink.One(a, first);
    sink.One(b, second);
  };
  std::size_t pair = 0;
  if constexpr (kLayout == PairLayout::kHalfSplit) {
    for (; pair + 2 * n <= pair_count; pair += 2 * n) {
      const std::size_t a = at + pair, b = a + pair_count;
      VF a0, a1, b0, b1;
      Load2<kType>(row + a * kBytes, a0, a1);
      Load2<kType>(row + b * kBytes, b0, b1);
      turn.Halves(pair, a0, a1, b0, b1);
      sink.Two(a, a0, a1);
      sink.Two(b, b0, b1);
    }
    for (; pair < pair_count; ++pair) scalar_pair(pair, at + pair, at + pair + pair_count);
  } else {
    for (; pair + n <= pair_count; pair += n) {
      VF v0, v1;
      Load2<kType>(row + (at + 2 * pair) * kBytes, v0, v1);
      turn.Neighbours(pair, v0, v1);
      sink.Two(at + 2 * pair, v0, v1);
    }
    for (; pair < pair_count; ++pair) scalar_pair(pair, at + 2 * pair, at + 2 * pair + 1);
  }
}

// 2N floats from their own order to that in which Load2() gives elements.
template <ElementType kType>
HWY_INLINE void Reorder2(VF low, VF high, VF& v0, VF& v1) {
  if constexpr (kType == ElementType::kBf16) {
    v0 = hn::ConcatEven(DF(), high, low);
    v1 = hn::ConcatOdd(DF(), high, low);
  } else {
    v0 = low;
    v1 = high;
  }
}

template <ElementType kType>
HWY_INLINE void LoadFloats2(const float* from, VF& v0, VF& v1) {
  const DF df;
  Reorder2<kType>(hn::LoadU(df, from), hn::LoadU(df, from + hn::Lanes(df)), v0, v1);
}

// cos and sin of N interleaved pairs, each for both of its elements, the first one's sine negated:
// what FillTables() makes, out of registers. Not for bf16, which meets pairs one by one.
struct PairsToElements {
  HWY_INLINE PairsToElements() {
    const DF df;
    HWY_ALIGN std::int32_t low[HWY_MAX_BYTES / sizeof(float)];
    HWY_ALIGN std::int32_t high[HWY_MAX_BYTES / sizeof(float)];
    HWY_ALIGN std::uint32_t sign[HWY_MAX_BYTES / sizeof(float)];
    const std::size_t n = hn::Lanes(df);
    for (std::size_t i = 0; i < n; ++i) {
      low[i] = static_cast<std::int32_t>(i / 2);
      high[i] = static_cast<std::int32_t>((n + i) / 2);
      sign[i] = i % 2 == 0 ? 0x80000000u : 0;
    }
    low_ = hn::Load(hn::RebindToSigned<DF>(), low);
    high_ = hn::Load(hn::RebindToSigned<DF>(), high);
    sign_ = hn::BitCast(df, hn::Load(DU(), sign));
  }
  HWY_INLINE void Cosines(const float* from, VF& v0, VF& v1) const {
    const DF df;
    const VF pairs = hn::LoadU(df, from);
    v0 = hn::TableLookupLanes(pairs, hn::IndicesFromVec(df, low_));
    v1 = hn::TableLookupLanes(pairs, hn::IndicesFromVec(df, high_));
  }
  HWY_INLINE void Sines(const float* from, VF& v0, VF& v1) const {
    Cosines(from, v0, v1);
    v0 = hn::Xor(v0, sign_);
    v1 = hn::Xor(v1, sign_);
  }

 private:
  hn::Vec<hn::RebindToSigned<DF>> low_;
  hn::Vec<hn::RebindToSigned<DF>> high_;
  VF sign_;
};

#endif  // HWY_NATIVE_FMA

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // the toggle
