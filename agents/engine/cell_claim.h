// Makes llama.cpp take cells for given positions without computing anything: a sequence-state blob
// whose row bytes are never written, because the caller writes the rows into the cache itself.
//
// The blob lies in anonymous memory of which only the headers are touched; the rest reads as the
// kernel's one page of zeros, so a claim costs one write pass over the claimed cells.
//
// The format is llama.cpp's own (LLAMA_STATE_SEQ_VERSION 3, one stream), and nobody's promise:
// Engine::Open tries it on every context.
//
// Thread safety: none.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "agents/engine/cache_memory.h"
#include "base/status.h"

struct llama_context;

namespace kvcommons {

class CellClaim {
 public:
  CellClaim() = default;
  ~CellClaim();
  CellClaim(const CellClaim&) = delete;
  CellClaim& operator=(const CellClaim&) = delete;

  // Reserves address space for a claim of all cells of `memory`.
  Status Reserve(const CacheMemory& memory);

  // Sequence 0 of an empty cache then holds `positions` in cells 0, 1, ..., with zeros as rows.
  Status Claim(llama_context* context, std::span<const Position> positions);

 private:
  std::size_t BlobBytes(std::size_t cells) const;

  std::byte* blob_ = nullptr;
  std::size_t reserved_bytes_ = 0;
  std::size_t layer_count_ = 0;
  std::size_t cell_count_ = 0;
  std::size_t row_elements_ = 0;
  ElementType type_ = ElementType::kFp16;
  bool value_transposed_ = false;
};

}  // namespace kvcommons
