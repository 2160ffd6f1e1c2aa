#include "agents/team/team_memory.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "agents/engine/elapsed.h"
#include "align/anchors/share_gate.h"
#include "align/anchors/weights.h"
#include "base/assert.h"
#include "base/clock.h"
#include "kernels/anchor_rows.h"
#include "kernels/checksum.h"

namespace kvcommons {
namespace {

template <typename T>
const std::byte* Bytes(const T* values) {
  return reinterpret_cast<const std::byte*>(values);
}

constexpr bool IsKey(std::size_t plane) { return plane % 2 == 0; }
constexpr bool IsFirstLayer(std::size_t plane) { return plane < 2; }

}  // namespace

TeamMemory::TeamMemory(const ModelProfile& profile, TeamMemoryOptions options)
    : profile_(profile),
      planes_(profile.planes()),
      format_(profile.key_row()),
      options_(options),
      ledger_(options.anchors, options.gate.profile) {}

void TeamMemory::PutText(const TeamTemplate& shape, std::vector<TeamRows> text) {
  text_[shape.reader] = std::move(text);
}

SlotKey TeamMemory::KeyOf(const std::string& slot) const {
  const Checksum128 sum = ChecksumOf(Bytes(slot.data()), slot.size());
  SlotKey key;
  static_assert(sizeof sum == sizeof key.bytes);
  std::memcpy(key.bytes.data(), &sum, sizeof sum);
  return key;
}

const MeanOffsets* TeamMemory::MeanOf(const TeamTemplate& shape, std::size_t slot) const {
  const auto found = means_.find({shape.reader, shape.slots[slot]});
  return found == means_.end() ? nullptr : &found->second;
}

std::vector<const TeamMemory::AnchorRows*> TeamMemory::AnchorsFor(const TeamTemplate& shape,
                                                                  std::size_t slot,
                                                                  std::uint32_t tokens) const {
  std::vector<const AnchorRows*> found;
  const SlotKey key = KeyOf(shape.slots[slot]);
  for (const std::size_t i : ledger_.Eligible(key, tokens, shape.reader)) {
    found.push_back(&anchors_.at({key, (*ledger_.Find(key))[i].content}));
  }
  return found;
}

SlotState TeamMemory::StateOf(const TeamTemplate& shape, std::size_t slot,
                              const TeamContent& content, bool ask_gate) const {
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  SlotState state;
  const std::uint32_t tokens = content.base.rows;
  if (const MeanOffsets* const mean = MeanOf(shape, slot)) {
    const std::size_t covered = mean->CoveredRows(options_.least_deposits);
    state.mean_rows = static_cast<std::uint32_t>(std::min<std::size_t>(covered, tokens));
  }
  const auto anchors = AnchorsFor(shape, slot, tokens);
  state.eligible = anchors.size();
  if (!ask_gate) return state;
  const auto* const pool = ledger_.Find(KeyOf(shape.slots[slot]));
  state.gate = DecideByCounts(pool == nullptr ? 0 : pool->size(), anchors.size(), tokens);
  if (!state.gate) {
    std::vector<double> distances;
    const std::size_t elements = std::size_t{format_.head_count} * format_.head_dim;
    for (const AnchorRows* anchor : anchors) {
      const TeamRows& other = anchor->content->base;
      double squared = 0;
      for (std::size_t plane = 1; plane < planes_.plane_count(); plane += 2) {
        squared += SquaredDistance(
            format_.type, content.base.block.data() + planes_.PlaneOffset(plane, tokens),
            other.block.data() + planes_.PlaneOffset(plane, other.rows), tokens * elements);
      }
      distances.push_back(std::sqrt(squared));
    }
    const ShareDecision decision = DecideByDistances(distances, options_.gate);
    state.gate = decision.reason;
    state.entropy_bits = decision.entropy_bits;
  }
  state.gate_ms = MsSince(clock, start_ns);
  return state;
}

std::vector<float> TeamMemory::Offsets(const TeamRows& dense, const TeamRows& base) const {
  KVC_ASSERT(dense.rows == base.rows);
  const RotationTable back(profile_.omega, -std::int64_t{dense.origin});
  const RotationTable base_back(profile_.omega, -std::int64_t{base.origin});
  const std::size_t elements = std::size_t{format_.head_count} * format_.head_dim;
  std::vector<float> offsets(planes_.plane_count() * dense.rows * elements);
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    const std::size_t at = planes_.PlaneOffset(plane, dense.rows);
    MeasureOffsets({.format = format_,
                    .dense_shift = IsKey(plane) ? &back : nullptr,
                    .base_shift = IsKey(plane) ? &base_back : nullptr,
                    .dense = dense.block.data() + at,
                    .base = base.block.data() + at,
                    .rows = dense.rows},
                   ElementType::kFp32,
                   reinterpret_cast<std::byte*>(offsets.data() + plane * dense.rows * elements));
  }
  return offsets;
}

std::vector<std::byte> TeamMemory::Corrected(const TeamRows& base, Position begin,
                                             std::uint32_t corrected,
                                             const Weighted& weighted) const {
  std::vector<std::byte> out(planes_.BlockBytes(base.rows));
  const RotationTable move(profile_.omega, std::int64_t{begin} - base.origin);
  const RotationTable start(profile_.omega, begin);
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    const std::size_t at = planes_.PlaneOffset(plane, base.rows);
    const std::byte* const from = base.block.data() + at;
    std::byte* const to = out.data() + at;
    const std::uint32_t rows = IsFirstLayer(plane) || weighted.offsets.empty() ? 0 : corrected;
    if (rows > 0) {
      std::vector<const std::byte*> offsets;
      for (const float* one : weighted.offsets[plane]) offsets.push_back(Bytes(one));
      const bool by_element = !weighted.plane_weights.empty();
      Blend({.format = format_,
             .move = IsKey(plane) ? &move : nullptr,
             .start = IsKey(plane) ? &start : nullptr,
             .base = from,
             .out = to,
             .rows = rows,
             .offset_type = ElementType::kFp32,
             .offsets = offsets,
             .weights = by_element     ? weighted.plane_weights[plane].data()
                        : IsKey(plane) ? weighted.key_weights.data()
                                       : weighted.value_weights.data(),
             .weights_by_element = by_element});
    }
    const std::size_t done = rows * format_.row_bytes();
    if (IsKey(plane)) {
      RotateRows(format_, move, from + done, to + done, base.rows - rows, format_.row_bytes());
    } else {
      CopyBytes(from + done, to + done, (base.rows - rows) * format_.row_bytes());
    }
  }
  return out;
}

std::vector<std::byte> TeamMemory::LocalKeys(const TeamContent& content, std::size_t plane,
                                             std::uint32_t first, std::uint32_t rows) const {
  std::vector<std::byte> keys(rows * format_.row_bytes());
  const RotationTable back(profile_.omega, -std::int64_t{content.base.origin});
  RotateRows(format_, back,
             content.base.block.data() + planes_.PlaneOffset(plane, content.base.rows) +
                 first * format_.row_bytes(),
             keys.data(), rows, format_.row_bytes());
  return keys;
}

TeamMemory::Weighted TeamMemory::WeighRows(const TeamContent& content, const TeamTemplate& shape,
                                           const std::vector<const AnchorRows*>& anchors) const {
  Weighted weighted;
  const std::uint32_t tokens = content.base.rows;
  const std::size_t elements = std::size_t{format_.head_count} * format_.head_dim;
  std::vector<double> key_sums(anchors.size() * tokens), value_sums(key_sums.size());
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    const std::vector<std::byte> own =
        IsKey(plane) ? LocalKeys(content, plane, 0, tokens) : std::vector<std::byte>();
    for (std::size_t i = 0; i < anchors.size(); ++i) {
      const TeamContent& other = *anchors[i]->content;
      if (IsKey(plane)) {
        AddRowDistances(format_.type, own.data(), LocalKeys(other, plane, 0, tokens).data(), tokens,
                        elements, &key_sums[i * tokens]);
      } else {
        AddRowDistances(format_.type,
                        content.base.block.data() + planes_.PlaneOffset(plane, tokens),
                        other.base.block.data() + planes_.PlaneOffset(plane, other.base.rows),
                        tokens, elements, &value_sums[i * tokens]);
      }
    }
  }
  weighted.offsets.resize(planes_.plane_count());
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    for (const AnchorRows* anchor : anchors) {
      weighted.offsets[plane].push_back(anchor->offsets.at(shape.reader).data() +
                                        plane * anchor->content->base.rows * elements);
    }
  }
  const std::size_t all = profile_.layer_count * elements;
  weighted.key_weights = RowWeights(key_sums, anchors.size(), all);
  weighted.value_weights = RowWeights(value_sums, anchors.size(), all);
  return weighted;
}

TeamMemory::Weighted TeamMemory::WeighText(const TeamContent& content, const TeamTemplate& shape,
                                           std::size_t slot,
                                           const std::vector<const AnchorRows*>& anchors) const {
  Weighted weighted;
  const std::uint32_t tokens = content.base.rows;
  const std::size_t elements = std::size_t{format_.head_count} * format_.head_dim;
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    std::vector<double> sums(anchors.size() * elements);
    for (std::size_t i = 0; i < anchors.size(); ++i) {
      const TeamContent& other = *anchors[i]->content;
      const std::uint32_t first = other.base.rows - tokens;  // its last rows
      if (IsKey(plane)) {
        const RotationTable shift(profile_.omega, -std::int64_t{first});
        AddElementDistances(format_, &shift, LocalKeys(content, plane, 0, tokens).data(),
                            LocalKeys(other, plane, first, tokens).data(), tokens,
                            &sums[i * elements]);
      } else {
        AddElementDistances(format_, nullptr,
                            content.base.block.data() + planes_.PlaneOffset(plane, tokens),
                            other.base.block.data() + planes_.PlaneOffset(plane, other.base.rows) +
                                first * format_.row_bytes(),
                            tokens, &sums[i * elements]);
      }
    }
    weighted.plane_weights.push_back(ElementWeights(sums, anchors.size()));
  }
  const std::size_t rows = text_.at(shape.reader)[slot].rows;
  weighted.offsets.resize(planes_.plane_count());
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    for (const AnchorRows* anchor : anchors) {
      weighted.offsets[plane].push_back(anchor->text_offsets.at(shape.reader).data() +
                                        plane * rows * elements);
    }
  }
  return weighted;
}

std::vector<std::byte> TeamMemory::SlotRows(const TeamTemplate& shape, std::size_t slot,
                                            const TeamContent& content, Position begin,
                                            SlotCorrection correction) const {
  Weighted weighted;
  std::uint32_t corrected = content.base.rows;
  if (correction == SlotCorrection::kMean) {
    corrected = StateOf(shape, slot, content, false).mean_rows;
    if (corrected > 0) {
      const MeanOffsets* const mean = MeanOf(shape, slot);
      for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
        weighted.offsets.push_back({mean->plane(plane).data()});
      }
      weighted.key_weights.assign(corrected, 1.0F);
      weighted.value_weights = weighted.key_weights;
    }
  }
  if (correction == SlotCorrection::kAnchors && content.base.rows > 0) {
    const auto anchors = AnchorsFor(shape, slot, content.base.rows);
    if (!anchors.empty()) weighted = WeighRows(content, shape, anchors);
  }
  return Corrected(content.base, begin, corrected, weighted);
}

std::vector<std::byte> TeamMemory::TextRows(const TeamTemplate& shape, std::size_t slot,
                                            const TeamContent& content, Position begin,
                                            SlotCorrection correction) const {
  const TeamRows& base = text_.at(shape.reader)[slot];
  Weighted weighted;
  if (correction == SlotCorrection::kAnchors) {
    const auto anchors = AnchorsFor(shape, slot, content.base.rows);
    if (!anchors.empty()) weighted = WeighText(content, shape, slot, anchors);
  }
  return Corrected(base, begin, base.rows, weighted);
}

Status TeamMemory::Deposit(const TeamTemplate& shape, std::size_t slot,
                           const SharedContent& content, const TeamRows& dense,
                           const TeamRows* dense_text) {
  std::vector<float> offsets = Offsets(dense, content->base);
  std::vector<float> text_offsets;
  if (dense_text != nullptr) text_offsets = Offsets(*dense_text, text_.at(shape.reader)[slot]);
  const auto elements = static_cast<std::uint32_t>(format_.head_count * format_.head_dim);
  const std::vector<std::uint32_t> per_plane(planes_.plane_count(), elements);
  const auto mean =
      means_.try_emplace({shape.reader, shape.slots[slot]}, MeanOffsets(per_plane)).first;
  mean->second.Add(offsets, dense.rows);

  const AnchorKey key{KeyOf(shape.slots[slot]), content->key};
  const auto outcome =
      ledger_.Put({.key = key,
                   .tokens = dense.rows,
                   .reader = shape.reader,
                   .base_bytes = content->base.block.size(),
                   .offset_bytes = (offsets.size() + text_offsets.size()) * sizeof(float)});
  if (!outcome) return outcome.error();
  for (const AnchorKey& gone : outcome->evicted) anchors_.erase({gone.slot, gone.content});
  if (outcome->change == AnchorLedger::Change::kNone) return Status();
  AnchorRows& anchor = anchors_[{key.slot, key.content}];
  anchor.content = content;
  anchor.offsets[shape.reader] = std::move(offsets);
  anchor.text_offsets[shape.reader] = std::move(text_offsets);
  return Status();
}

std::uint64_t TeamMemory::mean_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [key, mean] : means_) bytes += mean.bytes();
  return bytes;
}

}  // namespace kvcommons
