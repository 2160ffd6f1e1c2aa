#include "agents/engine/cache_memory.h"

#include <ggml.h>

#include <algorithm>
#include <cstring>

#include "agents/engine/llama_engine.h"
#include "base/assert.h"

namespace kvcommons {
namespace {

// Transposes in tiles: a row of V is one column of the cache, so that either the reads or the
// writes jump by a whole column; a tile keeps both in cache.
template <typename Element>
void Transpose(const Element* source, std::size_t source_stride, Element* destination,
               std::size_t destination_stride, std::size_t rows, std::size_t columns) {
  constexpr std::size_t kTile = 32;
  for (std::size_t r0 = 0; r0 < rows; r0 += kTile) {
    const std::size_t r1 = std::min(rows, r0 + kTile);
    for (std::size_t c0 = 0; c0 < columns; c0 += kTile) {
      const std::size_t c1 = std::min(columns, c0 + kTile);
      for (std::size_t c = c0; c < c1; ++c) {
        for (std::size_t r = r0; r < r1; ++r) {
          destination[c * destination_stride + r] = source[r * source_stride + c];
        }
      }
    }
  }
}

void TransposeBytes(std::size_t element_bytes, const std::byte* source, std::size_t source_stride,
                    std::byte* destination, std::size_t destination_stride, std::size_t rows,
                    std::size_t columns) {
  if (element_bytes == 2) {
    Transpose(reinterpret_cast<const std::uint16_t*>(source), source_stride,
              reinterpret_cast<std::uint16_t*>(destination), destination_stride, rows, columns);
  } else {
    Transpose(reinterpret_cast<const std::uint32_t*>(source), source_stride,
              reinterpret_cast<std::uint32_t*>(destination), destination_stride, rows, columns);
  }
}

}  // namespace

void CacheMemory::WriteKeys(std::uint32_t layer, std::uint32_t cell, std::uint32_t count,
                            const std::byte* rows, const KeyRowFormat& format,
                            const RotationTable& table) const {
  std::byte* destination = layers[layer].key + cell * row_bytes();
  if (table.is_identity()) {
    CopyBytes(rows, destination, count * row_bytes());
  } else {
    RotateRows(format, table, rows, destination, count, row_bytes());
  }
}

void CacheMemory::WriteValues(std::uint32_t layer, std::uint32_t cell, std::uint32_t count,
                              const std::byte* rows) const {
  if (!value_transposed) {
    CopyBytes(rows, layers[layer].value + cell * row_bytes(), count * row_bytes());
    return;
  }
  TransposeBytes(element_bytes(), rows, row_elements, layers[layer].value + cell * element_bytes(),
                 cell_count, count, row_elements);
}

void CacheMemory::ReadKeys(std::uint32_t layer, std::uint32_t cell, std::uint32_t count,
                           std::byte* rows) const {
  CopyBytes(layers[layer].key + cell * row_bytes(), rows, count * row_bytes());
}

void CacheMemory::ReadValues(std::uint32_t layer, std::uint32_t cell, std::uint32_t count,
                             std::byte* rows) const {
  if (!value_transposed) {
    CopyBytes(layers[layer].value + cell * row_bytes(), rows, count * row_bytes());
    return;
  }
  TransposeBytes(element_bytes(), layers[layer].value + cell * element_bytes(), cell_count, rows,
                 row_elements, row_elements, count);
}

void LoadRow(ElementType type, const std::byte* source, std::size_t stride_bytes,
             std::span<float> row) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    const std::byte* element = source + i * stride_bytes;
    if (type == ElementType::kFp32) {
      std::memcpy(&row[i], element, sizeof(float));
    } else {
      ggml_fp16_t half = 0;
      std::memcpy(&half, element, sizeof half);
      row[i] = ggml_fp16_to_fp32(half);
    }
  }
}

void StoreRow(ElementType type, std::span<const float> row, std::byte* destination,
              std::size_t stride_bytes) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    std::byte* element = destination + i * stride_bytes;
    if (type == ElementType::kFp32) {
      std::memcpy(element, &row[i], sizeof(float));
    } else {
      const ggml_fp16_t half = ggml_fp32_to_fp16(row[i]);
      std::memcpy(element, &half, sizeof half);
    }
  }
}

void LayerView::ReadKey(std::uint32_t cell, std::span<float> row) const {
  KVC_ASSERT(cell < cell_count && row.size() == row_elements);
  LoadRow(type, key + cell * row_elements * ElementBytes(type), ElementBytes(type), row);
}

void LayerView::WriteKey(std::uint32_t cell, std::span<const float> row) const {
  KVC_ASSERT(cell < cell_count && row.size() == row_elements);
  StoreRow(type, row, key + cell * row_elements * ElementBytes(type), ElementBytes(type));
}

void LayerView::ReadValue(std::uint32_t cell, std::span<float> row) const {
  KVC_ASSERT(cell < cell_count && row.size() == row_elements);
  const std::size_t element = ElementBytes(type);
  LoadRow(type, value + cell * (value_transposed ? 1 : row_elements) * element,
          value_transposed ? cell_count * element : element, row);
}

void LayerView::WriteValue(std::uint32_t cell, std::span<const float> row) const {
  KVC_ASSERT(cell < cell_count && row.size() == row_elements);
  const std::size_t element = ElementBytes(type);
  StoreRow(type, row, value + cell * (value_transposed ? 1 : row_elements) * element,
           value_transposed ? cell_count * element : element);
}

}  // namespace kvcommons
