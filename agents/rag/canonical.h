// Canonical KV of a chunk: what it is when it is prefilled alone, behind prefaces whose rows are
// dropped. With several prefaces it is their mean, and how far they lie apart gives the loadings
// that completion needs (align/complete).
//
// The cost of making it, a prefill of the chunk for every preface, is counted and belongs into
// every report beside what it saves. Prefaces themselves are prefilled once and kept.
//
// Source: specs: selective recompute §1.2, §I. Thread safety: an engine's.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "agents/engine/llama_engine.h"

namespace kvcommons {

struct CanonicalChunk {
  std::vector<TokenId> tokens;
  // One block of all rows, in the store's layout and the engine's number type; keys rotated for the
  // positions 0, 1, ...
  std::vector<std::byte> planes;
  // Of all rows, as kernels/loadings_layout.h has it. Empty with one preface, and for more than
  // kMaxLoadingsRows rows.
  std::vector<float> loadings;
  std::uint32_t rank = 0;  // 0: no loadings
  std::uint32_t prefaces = 0;
  double prepare_ms = 0;  // without the prefaces themselves
};

class CanonicalMaker {
 public:
  // Prefills the prefaces and keeps their rows, but for those that `like` has already; empties the
  // engine. kInvalidArgument: none, more
  // than kMaxPrefaces, an empty or a too long one; kUnsupported: keys of this model cannot be
  // moved.
  static Result<CanonicalMaker> Create(Engine& engine,
                                       std::span<const std::vector<TokenId>> prefaces,
                                       const CanonicalMaker* like = nullptr);

  // Empties the engine. kInvalidArgument: no tokens, or more than the context has left behind the
  // longest preface.
  Result<CanonicalChunk> Make(std::span<const TokenId> tokens);

  double preface_ms() const { return preface_ms_; }
  std::uint32_t preface_count() const { return static_cast<std::uint32_t>(prefaces_.size()); }
  std::uint32_t prefilled() const { return prefilled_; }  // prefaces that were not known

 private:
  struct Preface {
    std::vector<TokenId> tokens;
    std::vector<std::byte> block;
  };

  explicit CanonicalMaker(Engine& engine) : engine_(&engine) {}

  Engine* engine_;
  std::vector<std::shared_ptr<const Preface>> prefaces_;
  double preface_ms_ = 0;
  std::uint32_t prefilled_ = 0;
};

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
