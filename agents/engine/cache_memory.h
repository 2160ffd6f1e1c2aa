// The memory of a llama.cpp KV cache, and rows into and out of it.
//
// K of a layer is [cell][row]; V is the same with flash attention and transposed, [element][cell],
// without. A row in the store is [kv_head][head_dim], which is what a cell's row is.
//
// Thread safety: const functions only read; writes to disjoint cells may run at the same time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "align/model_profile.h"
#include "kernels/rotate.h"

namespace kvcommons {

struct CacheMemory {
  struct Layer {
    std::byte* key = nullptr;
    std::byte* value = nullptr;
  };
  std::vector<Layer> layers;
  bool value_transposed = false;
  std::uint32_t cell_count = 0;
  std::uint32_t row_elements = 0;
  ElementType type = ElementType::kFp16;

  std::size_t element_bytes() const { return ElementBytes(type); }
  std::size_t row_bytes() const { return row_elements * element_bytes(); }

  // `count` rows that lie one after another at `rows` go to the cells from `cell` on; keys are
  // rotated.
  void WriteKeys(std::uint32_t layer, std::uint32_t cell, std::uint32_t count,
                 const std::byte* rows, const KeyRowFormat& format,
                 const RotationTable& table) const;
  void WriteValues(std::uint32_t layer, std::uint32_t cell, std::uint32_t count,
                   const std::byte* rows) const;

  // The way back: `count` rows from the cells from `cell` on.
  void ReadKeys(std::uint32_t layer, std::uint32_t cell, std::uint32_t count,
                std::byte* rows) const;
  void ReadValues(std::uint32_t layer, std::uint32_t cell, std::uint32_t count,
                  std::byte* rows) const;
};

// Rows between the cache's type and fp32.
void LoadRow(ElementType type, const std::byte* source, std::size_t stride_bytes,
             std::span<float> row);
void StoreRow(ElementType type, std::span<const float> row, std::byte* destination,
              std::size_t stride_bytes);

// Calls `visit(cell, first, count)` for every maximal stretch of `cells` whose cells follow one
// another: cells[first .. first + count) are cell, cell + 1, ...
template <typename Visit>
void ForCellStretches(std::span<const std::int32_t> cells, Visit visit) {
  std::size_t first = 0;
  while (first < cells.size()) {
    std::size_t end = first + 1;
    while (end < cells.size() && cells[end] == cells[end - 1] + 1) ++end;
    visit(static_cast<std::uint32_t>(cells[first]), static_cast<std::uint32_t>(first),
          static_cast<std::uint32_t>(end - first));
    first = end;
  }
}

}  // namespace kvcommons
