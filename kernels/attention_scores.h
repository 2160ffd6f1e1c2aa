// Scores of one query head against cached keys: dot products, for looking at attention where an
// engine does not show it (flash attention never forms the weights).
//
// fp32 arithmetic; the order of additions is the instruction set's, so results agree between
// machines to rounding only. Thread safety: pure.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/element_type.h"

namespace kvcommons {

// scores[i] = scale * <query, key of cells[i]>; a key is `query.size()` elements of `type` at
// keys + cells[i] * stride_bytes. A negative cell gets -infinity.
// REQUIRES: cells.size() == scores.size(); type is kFp16 or kFp32.
void AttentionScores(ElementType type, std::span<const float> query, const std::byte* keys,
                     std::size_t stride_bytes, std::span<const std::int32_t> cells, float scale,
                     std::span<float> scores);

}  // namespace kvcommons
