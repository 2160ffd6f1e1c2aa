// Dot products over fp16 or fp32 keys, one vector of sums at a time.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention_scores.cc"
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#include "kernels/attention_scores.h"

#include <limits>

#include "base/assert.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/scalar_rotation.h"

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <ElementType kType>
HWY_INLINE hn::Vec<hn::ScalableTag<float>> LoadKey(const std::byte* key, std::size_t element) {
  const hn::ScalableTag<float> df;
  if constexpr (kType == ElementType::kFp32) {
    return hn::LoadU(df, reinterpret_cast<const float*>(key) + element);
  } else {
    const hn::Rebind<hwy::float16_t, decltype(df)> dh;
    return hn::PromoteTo(df, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(key) + element));
  }
}

template <ElementType kType>
HWY_INLINE float KeyElement(const std::byte* key, std::size_t element) {
  if constexpr (kType == ElementType::kFp32) {
    return reinterpret_cast<const float*>(key)[element];
  } else {
    return scalar::Fp16ToFloat(reinterpret_cast<const std::uint16_t*>(key)[element]);
  }
}

template <ElementType kType>
void ScoresOf(std::span<const float> query, const std::byte* keys, std::size_t stride_bytes,
              std::span<const std::int32_t> cells, float scale, std::span<float> scores) {
  const hn::ScalableTag<float> df;
  const std::size_t n = hn::Lanes(df);
  const std::size_t whole = query.size() / n * n;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (cells[i] < 0) {
      scores[i] = -std::numeric_limits<float>::infinity();
      continue;
    }
    const std::byte* key = keys + static_cast<std::size_t>(cells[i]) * stride_bytes;
    auto sums = hn::Zero(df);
    for (std::size_t e = 0; e < whole; e += n) {
      sums = hn::MulAdd(hn::LoadU(df, query.data() + e), LoadKey<kType>(key, e), sums);
    }
    float sum = hn::GetLane(hn::SumOfLanes(df, sums));
    for (std::size_t e = whole; e < query.size(); ++e) sum += query[e] * KeyElement<kType>(key, e);
    scores[i] = scale * sum;
  }
}

void AttentionScoresKernel(ElementType type, std::span<const float> query, const std::byte* keys,
                           std::size_t stride_bytes, std::span<const std::int32_t> cells,
                           float scale, std::span<float> scores) {
  if (type == ElementType::kFp32) {
    ScoresOf<ElementType::kFp32>(query, keys, stride_bytes, cells, scale, scores);
  } else {
    ScoresOf<ElementType::kFp16>(query, keys, stride_bytes, cells, scale, scores);
  }
}

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {

HWY_EXPORT(AttentionScoresKernel);

void AttentionScores(ElementType type, std::span<const float> query, const std::byte* keys,
                     std::size_t stride_bytes, std::span<const std::int32_t> cells, float scale,
                     std::span<float> scores) {
  KVC_ASSERT(cells.size() == scores.size());
  KVC_ASSERT(type == ElementType::kFp16 || type == ElementType::kFp32);
  HWY_DYNAMIC_DISPATCH(AttentionScoresKernel)
  (type, query, keys, stride_bytes, cells, scale, scores);
}

}  // namespace kvcommons
#endif  // HWY_ONCE
