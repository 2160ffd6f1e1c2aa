// llama.cpp's sequence-state blob, both ways: makes llama.cpp take cells for given positions
// without computing anything, and tells what cells hold.
//
// Where the caller writes rows into the cache itself, the blob's row bytes are never written; where
// that is not possible they are the way in. The blob lies in anonymous memory of which only the
// headers are touched; the rest reads as the kernel's one page of zeros, so a claim costs one write
// pass over the claimed cells.
//
// The format is llama.cpp's own (LLAMA_STATE_SEQ_VERSION 3, one stream), and nobody's promise:
// Engine::Open tries it on every context.
//
// Thread safety: none.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

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

  // Begins a blob for `positions`: its rows as a cache of positions.size() cells, to be written
  // until Finish(). Rows that nobody writes are zeros.
  CacheMemory Begin(std::span<const Position> positions);
  // Sequence 0 of an empty cache then holds those positions in cells 0, 1, ...
  Status Finish(llama_context* context);
  // Both, for rows that are written elsewhere.
  Status Claim(llama_context* context, std::span<const Position> positions);

  // What sequence 0 holds: `state` keeps the bytes, `rows` is a cache of positions.size() cells in
  // them, for reading. kUnsupported where the blob is not of the form that Begin() writes.
  struct Held {
    std::vector<std::uint8_t> state;
    std::vector<Position> positions;
    CacheMemory rows;
  };
  Result<Held> Read(llama_context* context) const;

 private:
  // Planes that begin at `at`, with or without writing their headers.
  CacheMemory View(std::byte* at, std::size_t cells, bool writes_headers) const;
  std::size_t BlobBytes(std::size_t cells) const;

  std::byte* blob_ = nullptr;
  std::size_t reserved_bytes_ = 0;
  std::size_t layer_count_ = 0;
  std::size_t cell_count_ = 0;
  std::size_t row_elements_ = 0;
  ElementType type_ = ElementType::kFp16;
  bool value_transposed_ = false;
  std::size_t begun_cells_ = 0;
};

}  // namespace kvcommons
