// How many rows to add to a pass so that libllama's CPU flash attention takes its fast way.
//
// That code computes attention in tiles of 64 rows, and a batch of fewer rows one row after the
// other, some 13 times as long a row: 63 rows behind 2,100 cost 1.7 s in all, 64 cost 0.25 s
// (two threads, SmolLM2-135M; docs/benchmarks.md). Rows that belong to nobody fill such a batch up
// where their own cost is less than that. Nothing that they compute is kept.
//
// Pure, and a function of shapes and of the numeric class: equal passes add equal rows on every
// machine of a class, since the two ways round differently. Source: ggml-cpu/ops.cpp of the pinned
// version, GGML_FA_TILE_Q.

#pragma once

#include <cstdint>

namespace kvcommons {

inline constexpr std::uint32_t kFlashTileRows = 64;

// What of a model decides: work per row without attention, and per row and row of context.
struct PaddingModel {
  std::uint64_t parameters = 0;
  std::uint64_t attention_elements = 0;  // layers × query heads × head dimension
  bool has_amx = false;                  // matrix products in tiles: a row's other work is cheap
};

// Rows to add to a pass of `rows` rows that attend to about `context` rows, in ubatches of at most
// `ubatch` rows; 0 to kFlashTileRows - 1.
std::uint32_t PaddingRows(const PaddingModel& model, std::uint64_t rows, std::uint64_t context,
                          std::uint32_t ubatch);

}  // namespace kvcommons
