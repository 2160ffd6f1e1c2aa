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

// Elements of a row are stored as fp32.
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
