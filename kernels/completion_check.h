// Internal to kernels/: what CompleteRows() and MeasureResiduals() refuse.

#pragma once

#include "base/assert.h"
#include "kernels/complete.h"
#include "kernels/row_check.h"

namespace kvcommons {

inline void CheckChunkRows(const RotationTable& table, const RowRotations& rotations,
                           const ChunkRows& rows) {
  CheckFormat(rows.format, table);
  KVC_ASSERT(rotations.pair_count() == rows.format.rotary_dim / 2);
  for (std::size_t i = 0; i < rows.row_count; ++i) {
    KVC_ASSERT(rows.rows[i] < rotations.row_count());
  }
}

}  // namespace kvcommons
