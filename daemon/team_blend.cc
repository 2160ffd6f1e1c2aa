#include "daemon/team_blend.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "align/anchors/weights.h"
#include "kernels/anchor_rows.h"

namespace kvcommons {
namespace {

constexpr bool IsKey(std::size_t plane) { return plane % 2 == 0; }
constexpr bool IsFirstLayer(std::size_t plane) { return plane < 2; }

const std::byte* PlaneOf(const PinnedBlock& block, std::size_t plane) {
  const BlockRecord& record = block.record();
  return block.bytes().data() + record.planes.PlaneOffset(plane, record.tokens.size());
}

}  // namespace

std::uint32_t BaseRows::rows() const {
  std::size_t rows = 0;
  for (const PinnedBlock& block : blocks) rows += block.record().tokens.size();
  return static_cast<std::uint32_t>(rows);
}

Result<AnchorPins> PinAnchors(Store& store, TeamPool& pool, const OpenedModel& model,
                              const std::vector<AnchorPtr>& anchors, std::uint32_t rows,
                              const ReaderKey* reader) {
  const std::size_t block_tokens = model.profile.block_tokens;
  const std::size_t blocks = (rows + block_tokens - 1) / block_tokens;
  AnchorPins pins;
  for (const AnchorPtr& anchor : anchors) {
    const std::vector<BlockKey>& keys =
        reader == nullptr ? anchor->base : anchor->offsets.at(*reader);
    std::vector<PinnedBlock>& held = pins.emplace_back();
    for (std::size_t i = 0; i < blocks; ++i) {
      auto pin = store.Pin(model.tenant.domain, keys[i]);
      if (!pin) return Fail(pin.error());
      if (!*pin) {
        pool.ForgetAnchor(*anchor);
        return Fail(NotFound("block " + std::to_string(i) + " of an anchor is gone"));
      }
      held.push_back(std::move(**pin));
    }
  }
  return pins;
}

std::vector<double> GateDistances(const OpenedModel& model, const BaseRows& base,
                                  const AnchorPins& anchors) {
  const KeyRowFormat format = model.profile.key_row();
  std::vector<double> distances;
  for (const auto& anchor : anchors) {
    double squared = 0;
    for (std::size_t plane = 1; plane < model.planes.plane_count(); plane += 2) {
      for (std::size_t i = 0; i < base.blocks.size(); ++i) {
        const std::size_t rows = base.blocks[i].record().tokens.size();
        squared +=
            SquaredDistance(format.type, PlaneOf(base.blocks[i], plane), PlaneOf(anchor[i], plane),
                            rows * format.head_count * format.head_dim);
      }
    }
    distances.push_back(std::sqrt(squared));
  }
  return distances;
}

AnchorWeights WeighAnchors(const OpenedModel& model, const BaseRows& base,
                           const AnchorPins& anchors) {
  const KeyRowFormat format = model.profile.key_row();
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  const std::size_t all_rows = base.rows();
  const RotationTable back(model.profile.omega, -std::int64_t{base.origin});
  std::vector<double> key_sums(anchors.size() * all_rows), value_sums(key_sums.size());
  std::vector<std::byte> local;
  std::size_t first = 0;
  for (std::size_t i = 0; i < base.blocks.size(); ++i) {
    const std::size_t rows = base.blocks[i].record().tokens.size();
    local.resize(rows * format.row_bytes());
    for (std::size_t plane = 0; plane < model.planes.plane_count(); ++plane) {
      const std::byte* own = PlaneOf(base.blocks[i], plane);
      if (IsKey(plane)) {
        RotateRows(format, back, own, local.data(), rows, format.row_bytes());
        own = local.data();
      }
      std::vector<double>& sums = IsKey(plane) ? key_sums : value_sums;
      for (std::size_t a = 0; a < anchors.size(); ++a) {
        AddRowDistances(format.type, own, PlaneOf(anchors[a][i], plane), rows, elements,
                        &sums[a * all_rows + first]);
      }
    }
    first += rows;
  }
  const std::size_t layers = model.profile.layer_count;
  return {RowWeights(key_sums, anchors.size(), layers * elements),
          RowWeights(value_sums, anchors.size(), layers * elements)};
}

SlotWriter::SlotWriter(const OpenedModel& model, const BaseRows& base,
                       const SlotCorrections& corrections, Position begin)
    : model_(model),
      base_(base),
      corrections_(corrections),
      move_(model.profile.omega, begin - base.origin),
      start_(model.profile.omega, begin) {}

void SlotWriter::WriteBlock(std::size_t index, std::byte* to) const {
  const KeyRowFormat format = model_.profile.key_row();
  const PinnedBlock& block = base_.blocks[index];
  const std::size_t rows = block.record().tokens.size();
  const bool corrects = !corrections_.offsets.empty();
  const std::size_t anchors = corrects ? corrections_.offsets[index].size() : 0;
  // Of this block's rows alone: [anchor][row].
  std::vector<float> key_weights(anchors * rows, 1.0F), value_weights(key_weights);
  if (const std::size_t all = base_.rows(); corrects && !corrections_.weights.keys.empty()) {
    const std::size_t first = index * model_.profile.block_tokens;
    for (std::size_t a = 0; a < anchors; ++a) {
      std::copy_n(&corrections_.weights.keys[a * all + first], rows, &key_weights[a * rows]);
      std::copy_n(&corrections_.weights.values[a * all + first], rows, &value_weights[a * rows]);
    }
  }
  const ElementType offset_type = OffsetTypeOf(model_.profile.element_type);
  const bool trusts = corrects && corrections_.trusts &&
                      KeepsTrust(corrections_.offsets[index][0]->record().planes, offset_type);
  std::vector<float> trusted(trusts ? rows : 0);
  std::vector<const std::byte*> offsets(anchors);
  for (std::size_t plane = 0; plane < model_.planes.plane_count(); ++plane) {
    const std::byte* const from = PlaneOf(block, plane);
    std::byte* const out = to + model_.planes.PlaneOffset(plane, rows);
    if (corrects && !IsFirstLayer(plane)) {
      for (std::size_t a = 0; a < anchors; ++a) {
        offsets[a] = PlaneOf(*corrections_.offsets[index][a], plane);
      }
      if (trusts) {
        const PinnedBlock& mean = *corrections_.offsets[index][0];
        const std::size_t row_bytes = mean.record().planes.row_bytes[1];
        for (std::size_t row = 0; row < rows; ++row) {
          OffsetsToFloats(offset_type,
                          PlaneOf(mean, 1) + row * row_bytes + plane * ElementBytes(offset_type), 1,
                          &trusted[row]);
        }
      }
      Blend({.format = format,
             .move = IsKey(plane) ? &move_ : nullptr,
             .start = IsKey(plane) ? &start_ : nullptr,
             .base = from,
             .out = out,
             .rows = rows,
             .offset_type = offset_type,
             .offsets = offsets,
             .weights = (trusts         ? trusted
                         : IsKey(plane) ? key_weights
                                        : value_weights)
                            .data()});
    } else if (IsKey(plane)) {
      RotateRows(format, move_, from, out, rows, format.row_bytes());
    } else {
      CopyBytes(from, out, rows * model_.planes.row_bytes[plane]);
    }
  }
}

}  // namespace kvcommons
