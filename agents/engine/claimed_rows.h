// The rows of a claim on their way into the cells that were claimed for them, some layers at a
// time.
//
// Guarantee: a row that was left out is written no more. So rows may be written while a pass
// computes others of the same claim: the cells of those that it computes are free from then on,
// and it takes them for whatever it likes.
//
// Which cell a row has is known from the beginning, not looked up: the engine's own table changes
// during a pass. REQUIRES: the blocks of the spans and the cache's memory outlive the writing.
//
// Thread safety: all methods may be called at the same time. Nobody is told that a layer was
// written before a pass reads it: that is StreamingPlace's.

#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "agents/engine/cache_memory.h"
#include "agents/engine/llama_engine.h"
#include "base/mutex.h"

namespace kvcommons {

class ClaimedRows final : public LayerPlacer {
 public:
  // REQUIRES: spans are ascending and disjoint, and all their positions have a cell.
  ClaimedRows(CacheMemory cache, const ModelProfile& profile, std::span<const PlaceSpan> spans,
              std::span<const std::int32_t> cell_of_position);

  // All rows that were not left out, of the layers [begin_layer, end_layer).
  void Write(std::uint32_t begin_layer, std::uint32_t end_layer) EXCLUDES(mutex_);
  Status PlaceLayer(std::uint32_t layer) override EXCLUDES(mutex_);

  // Leaves out the positions of `runs`, ascending and disjoint. Waits for a Write() under way, and
  // comes before the next one.
  void LeaveOut(std::span<const TokenRun> runs) EXCLUDES(mutex_);

 private:
  // Rows that lie one after another in a block and in the cache.
  struct Stretch {
    Position begin = 0;
    std::uint32_t count = 0;
    std::uint32_t cell = 0;
    const std::byte* keys = nullptr;  // in layer 0
    std::size_t plane_bytes = 0;      // from keys to values, and on to the next layer's keys
    std::size_t table = 0;
  };

  const CacheMemory cache_;
  const KeyRowFormat format_;
  std::vector<RotationTable> tables_;  // a span each
  std::atomic<int> leaving_out_{0};    // calls that wait for their turn
  Mutex mutex_;
  CondVar turn_;
  std::vector<Stretch> stretches_ GUARDED_BY(mutex_);  // by position
};

}  // namespace kvcommons
