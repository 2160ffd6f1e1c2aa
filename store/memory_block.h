// MemoryBlock: one block in the arena, with what the store keeps about it.
//
// The record, extent and domain never change after publication (I2). The rest is bookkeeping that
// the store's lock protects.

#pragma once

#include <cstdint>

#include "store/arena.h"
#include "store/block_record.h"
#include "store/eviction.h"

namespace kvcommons {

struct MemoryBlock : EvictionNode {
  BlockRecord record;
  Extent extent;
  DomainSlot domain = 0;

  std::uint32_t pins = 0;
  bool dropped = false;  // not in the index, or no longer; freed with its last pin
  bool on_disk = false;  // as the index entry says
  bool queued = false;   // waits for the background writer
  bool touched = false;  // the disk tier was told of a hit during this stay in memory
};

}  // namespace kvcommons
