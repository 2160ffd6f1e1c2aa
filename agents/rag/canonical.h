// Canonical KV of a chunk: what it is when it is prefilled alone, behind prefaces whose rows are
// dropped. With several prefaces it is their mean, and how far they lie apart gives the loadings
// that completion needs (align/complete).
//
// The cost of making it, a prefill of preface and chunk for every preface, is counted and belongs
// into every report beside what it saves.
//
// Source: specs: selective recompute §1.2, §I. Thread safety: an engine's.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "align/complete/loadings.h"

namespace kvcommons {

struct CanonicalChunk {
  std::vector<TokenId> tokens;
  // fp32, [layer][row][kv_head_count * head_dim]. Keys are un-rotated: each row's as at position 0.
  std::vector<float> keys, values;
  std::vector<LayerLoadings> loadings;  // a layer each; empty with one preface
  std::uint32_t prefaces = 0;
  double prepare_ms = 0;
};

// Empties the engine. kInvalidArgument: no tokens, no preface, a preface and the chunk longer than
// the context; kUnsupported: keys of this model cannot be moved.
Result<CanonicalChunk> MakeCanonical(Engine& engine, std::span<const TokenId> tokens,
                                     std::span<const std::vector<TokenId>> prefaces);

// The chunk as a block that Engine::Place() takes, keys rotated for positions 0, 1, ...: placed at
// position p with delta p. In the engine's number type.
std::vector<std::byte> BlockOf(const Engine& engine, const CanonicalChunk& chunk);

// Turns one row of keys by `delta` positions, in place; fp32, all heads of a layer.
class RowRotation {
 public:
  RowRotation(const ModelProfile& profile, Position delta);
  void Apply(std::span<float> row) const;

 private:
  KeyRowFormat format_;
  RotationTable table_;
};

}  // namespace kvcommons
