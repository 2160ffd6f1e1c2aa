// Internal to kernels/: what CompleteRows() and MeasureResiduals() refuse.

#pragma once

#include "base/assert.h"
#include "kernels/complete.h"

namespace kvcommons {

inline void CheckChunkRows(const RotationTable& table, const RowRotations& rotations,
                           const ChunkRows& rows) {
  const KeyRowFormat& format = rows.format;
  KVC_ASSERT(format.rotary_dim % 2 == 0 && format.rotary_dim <= kRotaryDimMax);
  KVC_ASSERT(format.rotary_dim <= format.head_dim);
  KVC_ASSERT(format.rotary_offset <= format.head_dim - format.rotary_dim);
  KVC_ASSERT(table.cos().size() == format.rotary_dim / 2);
  KVC_ASSERT(rotations.pair_count() == format.rotary_dim / 2);
  for (std::size_t i = 0; i < rows.row_count; ++i) {
    KVC_ASSERT(rows.rows[i] < rotations.row_count());
  }
}

}  // namespace kvcommons
