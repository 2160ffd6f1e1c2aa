// Internal to kernels/: one row of KV as fp32 in its own order, turned or not. Included once per
// instruction set, inside none of its namespaces (Highway's convention).

#if defined(KVCOMMONS_KERNELS_ANCHOR_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef KVCOMMONS_KERNELS_ANCHOR_ROWS_INL_H
#undef KVCOMMONS_KERNELS_ANCHOR_ROWS_INL_H
#else
#define KVCOMMONS_KERNELS_ANCHOR_ROWS_INL_H
#endif

#include <cmath>
#include <cstddef>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/anchor_rows.h"
#include "kernels/vector_elements-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {

#if HWY_NATIVE_FMA

// Asks for the lines of [from, from + bytes).
HWY_INLINE void AskFor(const std::byte* from, std::size_t bytes) {
  constexpr std::size_t kLineBytes = 64;
  for (std::size_t line = 0; line < bytes; line += kLineBytes) hwy::Prefetch(from + line);
}

// 2N elements in Load2()'s order, to floats in their own. A NaN stays as it is: what is stored in
// the end makes it quiet.
template <ElementType kType>
HWY_INLINE void ToFloats2(VF v0, VF v1, float* to) {
  const DF df;
  if constexpr (kType == ElementType::kBf16) {
    hn::StoreInterleaved2(v0, v1, df, to);
  } else {
    hn::StoreU(v0, df, to);
    hn::StoreU(v1, df, to + hn::Lanes(df));
  }
}

// Where elements of a row go: Two() takes 2N of them from element e on, in Load2()'s order, One() a
// single one. This one stores them.
template <ElementType kType>
struct FloatSink {
  float* to;
  HWY_INLINE void Two(std::size_t e, VF v0, VF v1) const { ToFloats2<kType>(v0, v1, to + e); }
  void One(std::size_t e, float v) const { to[e] = v; }
};

// Elements [begin, end) of a row as they are.
template <ElementType kType, class Sink>
HWY_INLINE void PlainElements(const std::byte* row, std::size_t begin, std::size_t end,
                              const Sink& sink) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const std::size_t n = hn::Lanes(DF());
  std::size_t e = begin;
  for (; e + 2 * n <= end; e += 2 * n) {
    VF v0, v1;
    Load2<kType>(row + e * kBytes, v0, v1);
    sink.Two(e, v0, v1);
  }
  for (; e < end; ++e) sink.One(e, scalar::Load<kType>(row + e * kBytes));
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

// The rotary elements of one head, which begins at element `at` of the row: the arithmetic of
// RotateHead(), not rounded.
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

template <ElementType kType, PairLayout kLayout, class Sink>
HWY_INLINE void TurnRow(const KeyRowFormat& format, const RowTurn<kType, kLayout>& turn,
                        const std::byte* row, const Sink& sink) {
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  if (turn.table == nullptr) return PlainElements<kType>(row, 0, elements, sink);
  for (std::size_t head = 0; head < elements; head += format.head_dim) {
    const std::size_t begin = head + format.rotary_offset, end = begin + format.rotary_dim;
    PlainElements<kType>(row, head, begin, sink);
    TurnHead(turn, row, begin, sink);
    PlainElements<kType>(row, end, head + format.head_dim, sink);
  }
}

#endif  // HWY_NATIVE_FMA

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // the toggle
