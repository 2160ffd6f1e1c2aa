// Internal to kernels/: what every function on rows of keys asserts of their format.

#pragma once

#include "base/assert.h"
#include "kernels/rotate.h"

namespace kvcommons {

inline void CheckFormat(const KeyRowFormat& format, const RotationTable& table) {
  KVC_ASSERT(format.rotary_dim % 2 == 0 && format.rotary_dim <= kRotaryDimMax);
  KVC_ASSERT(format.rotary_dim <= format.head_dim);
  KVC_ASSERT(format.rotary_offset <= format.head_dim - format.rotary_dim);
  KVC_ASSERT(table.cos().size() == format.rotary_dim / 2);
}

}  // namespace kvcommons
