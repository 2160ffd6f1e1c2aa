#include "daemon/team_deposit.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "kernels/anchor_rows.h"

namespace kvcommons {
namespace {

constexpr bool IsKey(std::size_t plane) { return plane % 2 == 0; }

// Exact rows [begin, begin + count) of a prompt, pinned.
class ExactRows {
 public:
  // False: some are gone.
  bool Pin(Store& store, const DomainId& domain, const PromptChain& chain, Position begin,
           Position end) {
    const auto take = [&](const ChainBlock& block) {
      if (block.end <= at_end(begin) || block.begin >= end || block.begin > at_end(begin)) {
        return true;
      }
      auto pin = store.Pin(domain, block.key);
      if (!pin || !*pin) return false;
      blocks_.push_back({block.begin, std::move(**pin)});
      return true;
    };
    for (const ChainBlock& block : chain.full) {
      if (!take(block)) break;
    }
    for (const ChainBlock& block : chain.short_last) take(block);
    return at_end(begin) >= end;
  }

  struct Run {
    const PinnedBlock* block;
    std::size_t first_row, rows;
  };
  // The longest run within one block from `row` on, at most to `end`. REQUIRES: Pin() had them.
  Run RunAt(Position row, Position end) const {
    const auto at = std::find_if(blocks_.begin(), blocks_.end(), [row](const Held& held) {
      return row < held.begin + static_cast<Position>(held.pin.record().tokens.size());
    });
    const auto stop = at->begin + static_cast<Position>(at->pin.record().tokens.size());
    return {&at->pin, static_cast<std::size_t>(row - at->begin),
            static_cast<std::size_t>(std::min(end, stop) - row)};
  }

 private:
  struct Held {
    Position begin;
    PinnedBlock pin;
  };
  // What is held reaches to here.
  Position at_end(Position begin) const {
    if (blocks_.empty()) return begin;
    return blocks_.back().begin + static_cast<Position>(blocks_.back().pin.record().tokens.size());
  }

  std::vector<Held> blocks_;
};

std::string_view OutcomeOf(const Status& status) {
  if (status.code() == Code::kInvalidArgument) return "not_finite";
  if (status.code() == Code::kUnsupported) return "too_long";
  return status.code() == Code::kExhausted ? "pool_bound" : "failed";
}

TeamDeposit DepositPart(Store& store, const TeamCallRecord& call,
                        const TeamCallRecord::Wanted& wanted) {
  const auto [slot, of_text] = wanted;
  TeamDeposit deposit{slot, of_text, "learned", ""};
  const Team& team = *call.team;
  const OpenedModel& model = *call.model;
  const TeamContentRef content = of_text ? team.TextBehind(*call.shape, slot) : call.contents[slot];
  const SlotPlacement& placed = call.layout.slots[slot];
  const Position begin = of_text ? placed.segment_begin : placed.content_begin;
  const auto rows = static_cast<std::uint32_t>(content.tokens.size());
  ExactRows exact;
  if (!exact.Pin(store, model.tenant.domain, call.chain, begin,
                 begin + static_cast<Position>(rows))) {
    deposit.outcome = "rows_gone";
    deposit.message = "the store lacks exact rows of the prompt; commit the plan first";
    return deposit;
  }
  const BaseRows base = PinBase(store, model, team, content);
  if (base.blocks.empty()) {
    deposit.outcome = "missing_base";
    deposit.message = of_text ? "the store lacks the text's own rows; put the segment again"
                              : "the store lacks the content's own rows; put it again";
    return deposit;
  }
  const RotationTable back(model.profile.omega, -std::int64_t{begin});
  const RotationTable base_back(model.profile.omega, -std::int64_t{base.origin});
  const KeyRowFormat format = model.profile.key_row();
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  TeamLesson lesson;
  lesson.model = call.model;
  lesson.key = team.KeyOfMean(*call.shape, slot, content.kind);
  lesson.team = team.name();
  lesson.agent = call.shape->agent;
  lesson.slot = call.shape->shape.slots[slot].name;
  // A text is always the same: what differs is what it stands behind.
  const auto before = std::span(call.contents).first(slot + 1);
  lesson.of = of_text ? MeanOf::kPrompt : content.is_answer ? MeanOf::kAnswers : MeanOf::kTexts;
  lesson.content = of_text ? team.KeyOfContext(before) : content.content;
  lesson.of_corrected = !of_text && IsOfCorrectedRows(content);
  lesson.rows = rows;
  lesson.offsets = [&](std::uint32_t index, std::uint32_t count) -> Result<std::vector<float>> {
    const PinnedBlock& own = base.blocks[index];
    const auto first = static_cast<Position>(index * model.profile.block_tokens);
    std::vector<float> offsets(model.planes.plane_count() * count * elements);
    for (Position row = 0; row < static_cast<Position>(count);) {
      const auto run =
          exact.RunAt(begin + first + row, begin + first + static_cast<Position>(count));
      const std::size_t dense_rows = run.block->record().tokens.size();
      for (std::size_t plane = 0; plane < model.planes.plane_count(); ++plane) {
        const std::size_t row_bytes = model.planes.row_bytes[plane];
        MeasureOffsets(
            {.format = format,
             .dense_shift = IsKey(plane) ? &back : nullptr,
             .base_shift = IsKey(plane) ? &base_back : nullptr,
             .dense = run.block->bytes().data() + model.planes.PlaneOffset(plane, dense_rows) +
                      run.first_row * row_bytes,
             .base = own.bytes().data() +
                     model.planes.PlaneOffset(plane, own.record().tokens.size()) +
                     static_cast<std::size_t>(row) * row_bytes,
             .rows = run.rows},
            ElementType::kFp32,
            reinterpret_cast<std::byte*>(
                &offsets[(plane * count + static_cast<std::size_t>(row)) * elements]));
      }
      row += static_cast<Position>(run.rows);
    }
    return offsets;
  };
  const auto learned = team.pool().Learn(lesson);
  if (!learned) {
    deposit.outcome = OutcomeOf(learned.error());
    deposit.message = learned.error().message();
    return deposit;
  }
  if (*learned == TeamPool::Learned::kKnown) deposit.outcome = "known";
  if (!call.keeps_anchors || of_text) return deposit;

  AnchorLesson anchor;
  anchor.model = call.model;
  anchor.slot = team.KeyOfSlot(*call.shape, slot, content.kind);
  anchor.content = content.content;
  anchor.reader = call.shape->version;
  anchor.tokens = content.tokens;
  anchor.base = [&](std::uint32_t index, std::uint32_t count, std::byte* to) {
    for (std::size_t plane = 0; plane < model.planes.plane_count(); ++plane) {
      const std::size_t at = model.planes.PlaneOffset(plane, count);
      const std::byte* const from = base.blocks[index].bytes().data() + at;
      if (IsKey(plane)) {
        RotateRows(format, base_back, from, to + at, count, format.row_bytes());
      } else {
        CopyBytes(from, to + at, count * format.row_bytes());
      }
    }
  };
  const ElementType type = OffsetTypeOf(model.profile.element_type);
  anchor.offsets = [&](std::uint32_t index, std::uint32_t count, std::byte* to) {
    const auto values = lesson.offsets(index, count);
    // The mean took them as they are; a share of 1 rounds them to their type.
    MixIntoMean(type, nullptr, values->data(), values->size(), 1.0F, to);
  };
  const auto kept = team.pool().LearnAnchor(anchor);
  if (!kept) {
    deposit.outcome = OutcomeOf(kept.error());
    deposit.message = kept.error().message();
  } else if (*kept) {
    deposit.outcome = "learned";
  }
  return deposit;
}

}  // namespace

ContentKey TeamCallRecord::KeyOfAnswer(const TokenList& answer) const {
  std::string message;
  const auto add = [&message](const void* data, std::uint64_t bytes) {
    message.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    message.append(static_cast<const char*>(data), bytes);
  };
  add(prompt.data(), prompt.size() * sizeof(TokenId));
  add(answer.data(), answer.size() * sizeof(TokenId));
  add(&epoch, sizeof epoch);
  return team->KeyOfAnswer(message, epoch != 0);
}

std::vector<TeamDeposit> Deposit(Store& store, const TeamCallRecord& call) {
  std::vector<TeamDeposit> deposits;
  for (const auto& wanted : call.wanted) deposits.push_back(DepositPart(store, call, wanted));
  return deposits;
}

}  // namespace kvcommons
