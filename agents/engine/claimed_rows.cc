#include "agents/engine/claimed_rows.h"

#include <algorithm>
#include <string>
#include <utility>

namespace kvcommons {

ClaimedRows::ClaimedRows(CacheMemory cache, const ModelProfile& profile,
                         std::span<const PlaceSpan> spans,
                         std::span<const std::int32_t> cell_of_position)
    : cache_(std::move(cache)), format_(profile.key_row()) {
  const std::size_t row_bytes = cache_.row_bytes();
  std::vector<Stretch> stretches;
  for (const PlaceSpan& span : spans) {
    tables_.emplace_back(profile.omega, span.delta);
    const auto cells = cell_of_position.subspan(static_cast<std::size_t>(span.begin), span.count);
    ForCellStretches(cells, [&](std::uint32_t cell, std::uint32_t first, std::uint32_t count) {
      stretches.push_back({span.begin + static_cast<Position>(first), count, cell,
                           span.block + (span.first_row + std::size_t{first}) * row_bytes,
                           row_bytes * span.block_tokens, tables_.size() - 1});
    });
  }
  const MutexLock lock(mutex_);
  stretches_ = std::move(stretches);
}

void ClaimedRows::Write(std::uint32_t begin_layer, std::uint32_t end_layer) {
  const MutexLock lock(mutex_);
  // Whoever locks in a loop gets the lock again before those who wait for it.
  while (leaving_out_ > 0) turn_.Wait(mutex_);
  for (const Stretch& stretch : stretches_) {
    // Keys, values, keys, ...: as they lie in the block, which is what its memory reads fastest.
    for (std::uint32_t layer = begin_layer; layer < end_layer; ++layer) {
      const std::byte* keys = stretch.keys + 2 * std::size_t{layer} * stretch.plane_bytes;
      cache_.WriteKeys(layer, stretch.cell, stretch.count, keys, format_, tables_[stretch.table]);
      cache_.WriteValues(layer, stretch.cell, stretch.count, keys + stretch.plane_bytes);
    }
  }
}

Status ClaimedRows::PlaceLayer(std::uint32_t layer) {
  if (layer >= cache_.layers.size()) {
    return InvalidArgument("layer is " + std::to_string(layer) + "; the limit is 0 to " +
                           std::to_string(cache_.layers.size() - 1));
  }
  Write(layer, layer + 1);
  return Status();
}

void ClaimedRows::LeaveOut(std::span<const TokenRun> runs) {
  ++leaving_out_;
  {
    const MutexLock lock(mutex_);
    --leaving_out_;
    const std::size_t row_bytes = cache_.row_bytes();
    std::vector<Stretch> left;
    std::size_t first_run = 0;
    for (const Stretch& stretch : stretches_) {
      const Position end = stretch.begin + static_cast<Position>(stretch.count);
      const auto keep = [&](Position from, Position to) {
        if (from >= to) return;
        const auto skipped = static_cast<std::uint32_t>(from - stretch.begin);
        Stretch part = stretch;
        part.begin = from;
        part.count = static_cast<std::uint32_t>(to - from);
        part.cell += skipped;
        part.keys += skipped * row_bytes;
        left.push_back(part);
      };
      while (first_run < runs.size() && runs[first_run].end <= stretch.begin) ++first_run;
      Position next = stretch.begin;
      for (std::size_t i = first_run; i < runs.size() && runs[i].begin < end; ++i) {
        keep(next, std::min(runs[i].begin, end));
        next = std::max(next, runs[i].end);
      }
      keep(next, end);
    }
    stretches_ = std::move(left);
  }
  turn_.NotifyAll();
}

}  // namespace kvcommons
