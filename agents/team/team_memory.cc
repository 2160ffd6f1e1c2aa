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

constexpr bool IsMean(SlotCorrection correction) {
  return correction == SlotCorrection::kMean || correction == SlotCorrection::kTrustedMean;
}

template <typename Means>
std::uint64_t BytesOf(const Means& means) {
  std::uint64_t bytes = 0;
  for (const auto& [key, mean] : means) bytes += mean.bytes();
  return bytes;
}

bool AreFinite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

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

const MeanOffsets* TeamMemory::MeanOf(const TeamTemplate& shape, std::size_t slot,
                                      bool of_text) const {
  const auto& means = of_text ? text_means_ : means_;
  const auto found = means.find({shape.reader, shape.slots[slot]});
  return found == means.end() ? nullptr : &found->second;
}

TeamMemory::Anchors TeamMemory::AnchorsFor(const TeamTemplate& shape, std::size_t slot,
                                           const TeamContent& content, bool published) const {
  const SlotKey key = KeyOf(shape.slots[slot]);
  Anchors found;
  bool is_repeat = false;
  for (const std::size_t i : ledger_.Eligible(key, content.base.rows, shape.reader)) {
    const ContentKey& anchor = (*ledger_.Find(key))[i].content;
    found.push_back(&anchors_.at({key, anchor}));
    if (anchor != content.key) continue;
    is_repeat = true;
    if (!published) return {found.back()};
  }
  if (found.size() < kMinAnchors && !is_repeat) found.clear();
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
  state.anchors = AnchorsFor(shape, slot, content).size();
  if (!ask_gate) return state;
  const SlotKey key = KeyOf(shape.slots[slot]);
  const std::vector<std::size_t> eligible = ledger_.Eligible(key, tokens, shape.reader);
  const auto* const pool = ledger_.Find(key);
  state.gate = DecideByCounts(pool == nullptr ? 0 : pool->size(), eligible.size(), tokens);
  if (!state.gate) {
    std::vector<double> distances;
    for (const std::size_t i : eligible) {
      const TeamRows& other = anchors_.at({key, (*pool)[i].content}).local;
      double squared = 0;
      for (std::size_t plane = 1; plane < planes_.plane_count(); plane += 2) {
        squared += SquaredDistance(
            format_.type, content.base.block.data() + planes_.PlaneOffset(plane, tokens),
            other.block.data() + planes_.PlaneOffset(plane, other.rows), tokens * row_elements());
      }
      distances.push_back(std::sqrt(squared));
    }
    const ShareDecision decision = DecideByDistances(distances, options_.gate);
    state.gate = decision.reason;
    state.entropy_bits = decision.entropy_bits;
    for (const std::size_t i : decision.counted) {
      state.counted.push_back((*pool)[eligible[i]].content);
    }
  }
  state.gate_ms = MsSince(clock, start_ns);
  return state;
}

void TeamMemory::CountUses(const TeamTemplate& shape, std::size_t slot, const SlotState& state) {
  const SlotKey key = KeyOf(shape.slots[slot]);
  for (const ContentKey& content : state.counted) ledger_.CountUse({key, content});
}

std::vector<float> TeamMemory::Offsets(const TeamRows& dense, const TeamRows& base) const {
  KVC_ASSERT(dense.rows == base.rows);
  const RotationTable back(profile_.omega, -std::int64_t{dense.origin});
  const RotationTable base_back(profile_.omega, -std::int64_t{base.origin});
  std::vector<float> offsets(planes_.plane_count() * dense.rows * row_elements());
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    const std::size_t at = planes_.PlaneOffset(plane, dense.rows);
    MeasureOffsets(
        {.format = format_,
         .dense_shift = IsKey(plane) ? &back : nullptr,
         .base_shift = IsKey(plane) ? &base_back : nullptr,
         .dense = dense.block.data() + at,
         .base = base.block.data() + at,
         .rows = dense.rows},
        ElementType::kFp32,
        reinterpret_cast<std::byte*>(offsets.data() + plane * dense.rows * row_elements()));
  }
  return offsets;
}

TeamRows TeamMemory::RowsAt(const TeamRows& base, Position origin) const {
  return {base.rows, origin, Corrected(base, 0, origin - base.origin, 0, {}).block};
}

CorrectedRows TeamMemory::Corrected(const TeamRows& base, Position begin, Position shift,
                                    std::uint32_t corrected, const Weighted& weighted) const {
  CorrectedRows out;
  out.block.resize(planes_.BlockBytes(base.rows));
  out.corrected = weighted.offsets.empty() ? 0 : corrected;
  const RotationTable move(profile_.omega, shift), start(profile_.omega, begin);
  const bool by_element = !weighted.plane_weights.empty();
  const bool by_plane = !weighted.row_weights.empty();
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    const std::size_t at = planes_.PlaneOffset(plane, base.rows);
    const std::byte* const from = base.block.data() + at;
    std::byte* const to = out.block.data() + at;
    const std::uint32_t rows = IsFirstLayer(plane) ? 0 : out.corrected;
    if (rows > 0) {
      std::vector<const std::byte*> offsets;
      for (const float* one : weighted.offsets[plane]) offsets.push_back(Bytes(one));
      Blend({.format = format_,
             .move = IsKey(plane) ? &move : nullptr,
             .start = IsKey(plane) ? &start : nullptr,
             .base = from,
             .out = to,
             .rows = rows,
             .offset_type = ElementType::kFp32,
             .offsets = offsets,
             .weights = by_element     ? weighted.plane_weights[plane].data()
                        : by_plane     ? weighted.row_weights[plane].data()
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

void TeamMemory::PointAt(const Anchors& anchors, const ReaderKey& reader, bool of_text,
                         std::size_t rows, bool published, Weighted* weighted) const {
  KeyRowFormat in_floats = format_;
  in_floats.type = ElementType::kFp32;
  weighted->offsets.resize(planes_.plane_count());
  for (const AnchorRows* anchor : anchors) {
    const auto& offsets = (of_text ? anchor->text_offsets : anchor->offsets).at(reader);
    const std::size_t plane_rows = of_text ? rows : anchor->local.rows;
    const float* from = offsets.data();
    if (published) {
      const RotationTable there(profile_.omega,
                                (of_text ? anchor->text_stood : anchor->stood).at(reader));
      std::vector<float>& turned = weighted->turned.emplace_back(offsets);
      for (std::size_t plane = 0; plane < planes_.plane_count(); plane += 2) {
        const std::size_t at = plane * plane_rows * row_elements();
        RotateRows(in_floats, there, Bytes(offsets.data() + at),
                   reinterpret_cast<std::byte*>(turned.data() + at), plane_rows,
                   in_floats.row_bytes());
      }
      from = turned.data();
    }
    for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
      weighted->offsets[plane].push_back(from + plane * plane_rows * row_elements());
    }
  }
}

TeamMemory::Weighted TeamMemory::WeighRows(const TeamContent& content, const TeamTemplate& shape,
                                           const Anchors& anchors,
                                           std::optional<Position> published_at) const {
  const std::uint32_t tokens = content.base.rows;
  const TeamRows own = RowsAt(content.base, published_at.value_or(0));
  std::vector<double> key_sums(anchors.size() * tokens), value_sums(key_sums.size());
  for (std::size_t i = 0; i < anchors.size(); ++i) {
    const TeamRows other =
        RowsAt(anchors[i]->local, published_at ? anchors[i]->stood_last : Position{0});
    for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
      AddRowDistances(format_.type, own.block.data() + planes_.PlaneOffset(plane, tokens),
                      other.block.data() + planes_.PlaneOffset(plane, other.rows), tokens,
                      row_elements(), &(IsKey(plane) ? key_sums : value_sums)[i * tokens]);
    }
  }
  Weighted weighted;
  PointAt(anchors, shape.reader, false, tokens, published_at.has_value(), &weighted);
  const std::size_t all = profile_.layer_count * row_elements();
  weighted.key_weights = RowWeights(key_sums, anchors.size(), all);
  weighted.value_weights = RowWeights(value_sums, anchors.size(), all);
  return weighted;
}

TeamMemory::Weighted TeamMemory::WeighText(const TeamContent& content, const TeamTemplate& shape,
                                           std::size_t slot, const Anchors& anchors,
                                           std::optional<Position> published_at) const {
  const std::uint32_t tokens = content.base.rows;
  const TeamRows own = RowsAt(content.base, published_at.value_or(0));
  Weighted weighted;
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    std::vector<double> sums(anchors.size() * row_elements());
    for (std::size_t i = 0; i < anchors.size(); ++i) {
      const AnchorRows& anchor = *anchors[i];
      const TeamRows& other = anchor.local;
      const std::uint32_t first = other.rows - tokens;  // its last rows
      const RotationTable shift(profile_.omega,
                                published_at ? anchor.stood_last : -std::int64_t{first});
      AddElementDistances(
          format_, IsKey(plane) ? &shift : nullptr,
          own.block.data() + planes_.PlaneOffset(plane, tokens),
          other.block.data() + planes_.PlaneOffset(plane, other.rows) + first * format_.row_bytes(),
          tokens, &sums[i * row_elements()]);
    }
    weighted.plane_weights.push_back(ElementWeights(sums, anchors.size()));
  }
  PointAt(anchors, shape.reader, true, text_.at(shape.reader)[slot].rows, published_at.has_value(),
          &weighted);
  return weighted;
}

TeamMemory::Weighted TeamMemory::WeighMean(const MeanOffsets& mean, std::uint32_t rows,
                                           bool trusted) const {
  Weighted weighted;
  for (std::size_t plane = 0; plane < planes_.plane_count(); ++plane) {
    weighted.offsets.push_back({mean.plane(plane).data()});
    if (!trusted) continue;
    std::vector<float>& weights = weighted.row_weights.emplace_back();
    for (std::uint32_t row = 0; row < rows; ++row) weights.push_back(mean.Trust(plane, row));
  }
  weighted.key_weights.assign(rows, 1.0F);
  weighted.value_weights = weighted.key_weights;
  return weighted;
}

CorrectedRows TeamMemory::SlotRows(const TeamTemplate& shape, std::size_t slot,
                                   const TeamContent& content, const SlotPlacement& placed,
                                   SlotCorrection correction) const {
  Weighted weighted;
  std::uint32_t corrected = content.base.rows;
  const bool published = correction == SlotCorrection::kPublishedAnchors;
  if (IsMean(correction)) {
    corrected = StateOf(shape, slot, content, false).mean_rows;
    if (corrected > 0) {
      weighted =
          WeighMean(*MeanOf(shape, slot), corrected, correction == SlotCorrection::kTrustedMean);
    }
  } else if (correction != SlotCorrection::kNone && content.base.rows > 0) {
    const Anchors anchors = AnchorsFor(shape, slot, content, published);
    const auto at = published ? std::optional(placed.content_begin) : std::nullopt;
    if (!anchors.empty()) weighted = WeighRows(content, shape, anchors, at);
  }
  // Profile R adds offsets as they were measured, wherever the content stands now.
  return Corrected(content.base, published ? 0 : placed.content_begin, placed.content_shift,
                   corrected, weighted);
}

CorrectedRows TeamMemory::TextRows(const TeamTemplate& shape, std::size_t slot,
                                   const TeamContent& content, const SlotPlacement& placed,
                                   SlotCorrection correction) const {
  const TeamRows& base = text_.at(shape.reader)[slot];
  Weighted weighted;
  const bool published = correction == SlotCorrection::kPublishedAnchors;
  if (IsMean(correction)) {
    const MeanOffsets* const mean = MeanOf(shape, slot, true);
    if (mean != nullptr && mean->CoveredRows(options_.least_deposits) == base.rows) {
      weighted = WeighMean(*mean, base.rows, correction == SlotCorrection::kTrustedMean);
    }
  } else if (correction != SlotCorrection::kNone) {
    const Anchors anchors = AnchorsFor(shape, slot, content, published);
    const auto at = published ? std::optional(placed.content_begin) : std::nullopt;
    if (!anchors.empty()) weighted = WeighText(content, shape, slot, anchors, at);
  }
  return Corrected(base, published ? 0 : placed.segment_begin, placed.segment_shift, base.rows,
                   weighted);
}

Status TeamMemory::Deposit(const TeamTemplate& shape, std::size_t slot,
                           const SharedContent& content, const TeamRows& dense,
                           const TeamRows& dense_text) {
  const AnchorKey key{KeyOf(shape.slots[slot]), content->key};
  const auto held = anchors_.find({key.slot, key.content});
  // Another reader's deposit may have come with rows that were made elsewhere: offsets of one
  // anchor are all from the same.
  const SharedContent& base = held == anchors_.end() ? content : held->second.content;
  std::vector<float> offsets = Offsets(dense, base->base);
  std::vector<float> text_offsets = Offsets(dense_text, text_.at(shape.reader)[slot]);
  if (!AreFinite(offsets) || !AreFinite(text_offsets)) {
    return InvalidArgument("agent '" + shape.agent + "': rows of slot '" + shape.slots[slot] +
                           "' are no numbers; nothing is learned from them");
  }
  if (learned_.emplace(shape.reader, shape.slots[slot], content->key).second) {
    const std::vector<std::uint32_t> per_plane(planes_.plane_count(),
                                               static_cast<std::uint32_t>(row_elements()));
    const std::pair of_slot(shape.reader, shape.slots[slot]);
    means_.try_emplace(of_slot, per_plane).first->second.Add(offsets, dense.rows);
    text_means_.try_emplace(of_slot, per_plane).first->second.Add(text_offsets, dense_text.rows);
  }
  const auto outcome =
      ledger_.Put({.key = key,
                   .tokens = dense.rows,
                   .reader = shape.reader,
                   .base_bytes = 2 * content->base.block.size(),
                   .offset_bytes = (offsets.size() + text_offsets.size()) * sizeof(float)});
  if (!outcome) return outcome.error();
  for (const AnchorKey& gone : outcome->evicted) anchors_.erase({gone.slot, gone.content});
  if (outcome->change == AnchorLedger::Change::kNone) return Status();
  AnchorRows& anchor = anchors_[{key.slot, key.content}];
  if (outcome->change == AnchorLedger::Change::kInserted) {
    anchor.content = content;
    anchor.local = RowsAt(content->base, 0);
  }
  anchor.stood_last = dense.origin;
  anchor.stood[shape.reader] = dense.origin;
  anchor.text_stood[shape.reader] = dense_text.origin;
  anchor.offsets[shape.reader] = std::move(offsets);
  anchor.text_offsets[shape.reader] = std::move(text_offsets);
  return Status();
}

std::uint64_t TeamMemory::mean_bytes() const { return BytesOf(means_); }
std::uint64_t TeamMemory::text_mean_bytes() const { return BytesOf(text_means_); }

}  // namespace kvcommons
