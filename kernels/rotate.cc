// The vector code of RotateRows(): one pass that loads, rotates and stores.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rotate.cc"
// Without a fused multiply-add the bits would differ from the reference, so those instruction sets
// get the reference itself. Scalable vectors (SVE) cannot be members or arrays; NEON serves there.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#include "kernels/rotate.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/assert.h"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/scalar_rotation.h"
#include "kernels/stream_copy.h"

#ifndef KVCOMMONS_KERNELS_ROTATE_JOB
#define KVCOMMONS_KERNELS_ROTATE_JOB
namespace kvcommons {

// What the public functions pass to the code of one instruction set.
struct RotateJob {
  const KeyRowFormat& format;
  const RotationTable& table;
  const std::byte* source;
  std::byte* destination;
  std::size_t row_count;
  std::size_t destination_stride_bytes;
  const std::uint32_t* cells;  // Null: rows go to consecutive strides.
};

}  // namespace kvcommons
#endif

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

// cos and sin in the order and number in which RotateHead() meets them.
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

// The rotary elements of one head.
template <ElementType kType, PairLayout kLayout, bool kStream>
HWY_INLINE void RotateHead(const std::byte* HWY_RESTRICT from, std::byte* HWY_RESTRICT to,
                           const Tables& tables, const RotationTable& table) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const DF df;
  const std::size_t n = hn::Lanes(df);
  const std::size_t pair_count = table.cos().size();
  std::size_t pair = 0;
  if constexpr (kLayout == PairLayout::kHalfSplit) {
    for (; pair + 2 * n <= pair_count; pair += 2 * n) {
      const std::size_t a = pair * kBytes;
      const std::size_t b = (pair + pair_count) * kBytes;
      VF a0, a1, b0, b1;
      Load2<kType>(from + a, a0, a1);
      Load2<kType>(from + b, b0, b1);
      RotateVectors(a0, b0, hn::Load(df, tables.c + pair), hn::Load(df, tables.s + pair));
      RotateVectors(a1, b1, hn::Load(df, tables.c + pair + n), hn::Load(df, tables.s + pair + n));
      Store2<kType, kStream>(a0, a1, to + a);
      Store2<kType, kStream>(b0, b1, to + b);
    }
    for (; pair < pair_count; ++pair) {
      scalar::RotatePair<kType>(from, to, pair * kBytes, (pair + pair_count) * kBytes,
                                table.cos()[pair], table.sin()[pair]);
    }
  } else {
    for (; pair + n <= pair_count; pair += n) {
      const std::size_t at = 2 * pair * kBytes;
      VF v0, v1;
      Load2<kType>(from + at, v0, v1);
      if constexpr (kType == ElementType::kBf16) {
        RotateVectors(v0, v1, hn::Load(df, tables.c + pair), hn::Load(df, tables.s + pair));
      } else {
        // a·c + b·(−s) and b·c + a·s: negation is exact, so the bits are those of RotateVectors().
        const float* c = tables.c + 2 * pair;
        const float* s = tables.s + 2 * pair;
        v0 = hn::MulAdd(hn::Shuffle2301(v0), hn::Load(df, s), hn::Mul(v0, hn::Load(df, c)));
        v1 = hn::MulAdd(hn::Shuffle2301(v1), hn::Load(df, s + n), hn::Mul(v1, hn::Load(df, c + n)));
      }
      Store2<kType, kStream>(v0, v1, to + at);
    }
    for (; pair < pair_count; ++pair) {
      scalar::RotatePair<kType>(from, to, 2 * pair * kBytes, (2 * pair + 1) * kBytes,
                                table.cos()[pair], table.sin()[pair]);
    }
  }
}

template <ElementType kType, PairLayout kLayout, bool kStream>
void RotateRun(const RotateJob& job, const Tables& tables, const std::byte* source,
               std::byte* destination, std::size_t row_count, std::size_t stride_bytes) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const KeyRowFormat& format = job.format;
  const std::size_t head_count = format.head_count;
  const std::size_t head_bytes = format.head_dim * kBytes;
  const std::size_t row_bytes = format.row_bytes();
  const std::size_t begin = format.rotary_offset * kBytes;
  const std::size_t end = begin + format.rotary_dim * kBytes;
  const auto rotate_row = [&](std::size_t row) HWY_ATTR {
    const std::byte* from = source + row * row_bytes;
    std::byte* to = destination + row * stride_bytes;
    for (std::size_t head = 0; head < head_count; ++head, from += head_bytes, to += head_bytes) {
      if (begin != 0) std::memcpy(to, from, begin);
      RotateHead<kType, kLayout, kStream>(from + begin, to + begin, tables, job.table);
      if (end != head_bytes) std::memcpy(to + end, from + end, head_bytes - end);
    }
  };
  constexpr std::size_t kLineBytes = 64;
  for (std::size_t row = 0; row < row_count; ++row) {
    const std::byte* ahead = source + row * row_bytes + kAheadBytes;
    for (std::size_t line = 0; line < row_bytes; line += kLineBytes) hwy::Prefetch(ahead + line);
    rotate_row(row);
  }
}

template <ElementType kType, PairLayout kLayout>
void RotateJobOf(const RotateJob& job) {
  Tables tables;
  FillTables<kType, kLayout>(job.table, tables);
  const std::size_t row_bytes = job.format.row_bytes();
  constexpr std::size_t kBytes = ElementBytes(kType);
  const std::size_t vector_bytes = hn::Lanes(D16()) * 2;
  const std::size_t half_bytes =
      kLayout == PairLayout::kHalfSplit ? job.format.rotary_dim / 2 * kBytes : 0;
  const bool can_stream =
      (reinterpret_cast<std::uintptr_t>(job.destination) | job.destination_stride_bytes |
       job.format.head_dim * kBytes | job.format.rotary_offset * kBytes | half_bytes) %
          vector_bytes ==
      0;
  const auto run = [&](std::size_t first, std::size_t count, std::size_t stride, std::byte* to)
                       HWY_ATTR {
                         const std::byte* from = job.source + first * row_bytes;
                         if (can_stream && count * row_bytes >= kStreamBytesMin) {
                           RotateRun<kType, kLayout, true>(job, tables, from, to, count, stride);
                         } else {
                           RotateRun<kType, kLayout, false>(job, tables, from, to, count, stride);
                         }
                       };
  if (job.cells == nullptr) {
    run(0, job.row_count, job.destination_stride_bytes, job.destination);
  } else {
    for (std::size_t first = 0, next; first < job.row_count; first = next) {
      next = first + 1;
      while (next < job.row_count && job.cells[next] == job.cells[next - 1] + 1) ++next;
      run(first, next - first, row_bytes, job.destination + job.cells[first] * row_bytes);
    }
  }
  if (can_stream) FenceStream();
}

template <ElementType kType>
void RotateJobOf(const RotateJob& job) {
  if (job.format.layout == PairLayout::kHalfSplit) {
    RotateJobOf<kType, PairLayout::kHalfSplit>(job);
  } else {
    RotateJobOf<kType, PairLayout::kInterleaved>(job);
  }
}

void RotateKernel(const RotateJob& job) {
  switch (job.format.type) {
    case ElementType::kFp16:
      return RotateJobOf<ElementType::kFp16>(job);
    case ElementType::kBf16:
      return RotateJobOf<ElementType::kBf16>(job);
    case ElementType::kFp32:
      return RotateJobOf<ElementType::kFp32>(job);
  }
}

#else  // HWY_NATIVE_FMA

void RotateKernel(const RotateJob& job) {
  if (job.cells == nullptr) {
    RotateRowsReference(job.format, job.table, job.source, job.destination, job.row_count,
                        job.destination_stride_bytes);
    return;
  }
  const std::size_t row_bytes = job.format.row_bytes();
  for (std::size_t row = 0; row < job.row_count; ++row) {
    RotateRowsReference(job.format, job.table, job.source + row * row_bytes,
                        job.destination + job.cells[row] * row_bytes, 1, row_bytes);
  }
}

#endif  // HWY_NATIVE_FMA

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {
namespace {

void CheckFormat(const KeyRowFormat& format, const RotationTable& table) {
  KVC_ASSERT(format.rotary_dim % 2 == 0 && format.rotary_dim <= kRotaryDimMax);
  KVC_ASSERT(format.rotary_dim <= format.head_dim);
  KVC_ASSERT(format.rotary_offset <= format.head_dim - format.rotary_dim);
  KVC_ASSERT(table.cos().size() == format.rotary_dim / 2);
}

}  // namespace

HWY_EXPORT(RotateKernel);

void RotateRows(const KeyRowFormat& format, const RotationTable& table, const std::byte* source,
                std::byte* destination, std::size_t row_count,
                std::size_t destination_stride_bytes) {
  CheckFormat(format, table);
  const std::size_t row_bytes = format.row_bytes();
  if (!table.is_identity()) {
    HWY_DYNAMIC_DISPATCH(RotateKernel)
    ({format, table, source, destination, row_count, destination_stride_bytes, nullptr});
  } else if (destination_stride_bytes == row_bytes) {
    CopyBytes(source, destination, row_count * row_bytes);
  } else {
    for (std::size_t row = 0; row < row_count; ++row) {
      CopyBytes(source + row * row_bytes, destination + row * destination_stride_bytes, row_bytes);
    }
  }
}

void RotateRowsScatter(const KeyRowFormat& format, const RotationTable& table,
                       const std::byte* source, std::byte* destination,
                       std::span<const std::uint32_t> cells) {
  CheckFormat(format, table);
  const std::size_t row_bytes = format.row_bytes();
  if (!table.is_identity()) {
    HWY_DYNAMIC_DISPATCH(RotateKernel)
    ({format, table, source, destination, cells.size(), row_bytes, cells.data()});
    return;
  }
  for (std::size_t first = 0, next; first < cells.size(); first = next) {
    next = first + 1;
    while (next < cells.size() && cells[next] == cells[next - 1] + 1) ++next;
    CopyBytes(source + first * row_bytes, destination + cells[first] * row_bytes,
              (next - first) * row_bytes);
  }
}

std::vector<const char*> RotateTargets() {
  std::vector<const char*> names;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    names.push_back(hwy::TargetName(target));
  }
  return names;
}

void ForceRotateTarget(const char* name) {
  hwy::SetSupportedTargetsForTest(0);
  if (*name == '\0') return;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (std::strcmp(hwy::TargetName(target), name) == 0) {
      hwy::SetSupportedTargetsForTest(target);
      return;
    }
  }
  KVC_ASSERT(false && "a name from RotateTargets()");
}

}  // namespace kvcommons
#endif  // HWY_ONCE
