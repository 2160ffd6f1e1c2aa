// A chunk of a composed prompt: where its canonical rows lie, and what a layer hook does with them.
//
// Stored rows are only read (I3): corrections are made from them and written into an engine's own
// cells. The kernels (kernels/complete.h) turn a key by its row's place in its block; the block's
// place in the chunk is turned here, so residuals and gains of all blocks add up.
//
// Source: specs: selective recompute §1.2, §I. Thread safety: an engine's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "agents/rag/canonical.h"
#include "kernels/complete.h"

namespace kvcommons {

// Consecutive rows of a chunk as they lie in one stored block.
struct ChunkPart {
  const std::byte* planes = nullptr;  // keys rotated for their place in the chunk
  std::uint32_t block_tokens = 0;     // rows of the block, all of them the chunk's
  // As kernels/loadings_layout.h has it. Null: none.
  const float* loadings = nullptr;
};

// A chunk's canonical rows, wherever they lie.
struct ComposeChunk {
  Position begin = 0;            // of the prompt
  std::vector<ChunkPart> parts;  // in order
  std::uint32_t rank = 0;        // of the loadings; 0: none

  std::size_t rows() const;
};
ComposeChunk ViewOf(const CanonicalChunk& chunk, Position begin);

// U of one layer: [row][rank], of all rows of a chunk.
struct RowLoadings {
  std::uint32_t rank = 0;
  std::span<const float> keys, values;
};

// One layer of a chunk. Its rows are counted from 0 on and ascend; keys are un-rotated.
class ChunkInLayer {
 public:
  // All must outlive it. REQUIRES: every row of the chunk is held, and `rotations` has as many rows
  // as the longest part.
  ChunkInLayer(const LayerView& view, const ModelProfile& profile, const RowRotations& rotations,
               const ComposeChunk& chunk);

  // What the engine holds minus what is stored: [row][keys beside values].
  std::vector<float> Measure(std::span<const std::size_t> rows) const;

  // Writes the stored rows plus U g. `gain` g: [rank][keys beside values].
  void Correct(std::span<const std::size_t> rows, const RowLoadings& loadings,
               std::vector<float> gain) const;

 private:
  // Calls `visit(first row of the part, ChunkRows)` for every part that has some of `rows`.
  template <typename Visit>
  void ForParts(std::span<const std::size_t> rows, Visit visit) const;
  // Turns the keys of `count` rows of keys beside values by `delta` positions.
  void TurnKeys(Position delta, std::size_t count, float* rows) const;

  const LayerView& view_;
  const ModelProfile& profile_;
  const RowRotations& rotations_;
  const ComposeChunk& chunk_;
  RotationTable to_prompt_;
};

}  // namespace kvcommons
