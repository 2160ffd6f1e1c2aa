#include "daemon/team_plan.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <utility>

#include "kernels/anchor_rows.h"

namespace kvcommons {
namespace {

constexpr bool IsKey(std::size_t plane) { return plane % 2 == 0; }
constexpr bool IsFirstLayer(std::size_t plane) { return plane < 2; }

// A block's rows as they land in the prompt: turned by `move`, and by the mean in place where there
// is one. Layer 0 depends on the token alone and is never corrected (D5).
struct BlockBlend {
  const ModelProfile& profile;
  const PlaneLayout& planes;
  const RotationTable& move;   // from where the base was computed
  const RotationTable& start;  // of the local frame
  const PinnedBlock& base;
  const PinnedBlock* mean;  // of as many rows at least; null: none

  void Write(std::byte* to) const {
    const KeyRowFormat format = profile.key_row();
    const std::size_t rows = base.record().tokens.size();
    const std::vector<float> ones(rows, 1.0F);
    for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
      const std::size_t at = planes.PlaneOffset(plane, rows);
      const std::byte* const from = base.bytes().data() + at;
      if (mean != nullptr && !IsFirstLayer(plane)) {
        const BlockRecord& record = mean->record();
        const std::byte* const offsets =
            mean->bytes().data() + record.planes.PlaneOffset(plane, record.tokens.size());
        Blend({.format = format,
               .move = IsKey(plane) ? &move : nullptr,
               .start = IsKey(plane) ? &start : nullptr,
               .base = from,
               .out = to + at,
               .rows = rows,
               .offset_type = OffsetTypeOf(profile.element_type),
               .offsets = {&offsets, 1},
               .weights = ones.data()});
      } else if (IsKey(plane)) {
        RotateRows(format, move, from, to + at, rows, format.row_bytes());
      } else {
        CopyBytes(from, to + at, rows * planes.row_bytes[plane]);
      }
    }
  }
};

class Maker {
 public:
  Maker(Store& store, const Clock& clock, const Team& team, TeamPlanRequest request)
      : store_(store), clock_(clock), team_(team), request_(std::move(request)) {}

  Result<TeamPlan> Make() {
    KVC_FAIL_IF_ERROR(LayOutContents());
    const bool can_move = team_.model().move_refusal.empty();
    if (request_.exact) {
      result_.reason = team_reason::kAskedExact;
    } else if (!can_move) {
      result_.reason = team_reason::kCannotMove;
    } else {
      for (int tries = 0; tries < kMaxTries && Judge(); ++tries) {
        auto made = Reuse();
        if (made || made.error().code() != Code::kNotFound) return made;
      }
    }
    return Exact();
  }

 private:
  static constexpr int kMaxTries = 4;

  std::size_t count() const { return request_.contents.size(); }

  Status LayOutContents() {
    std::vector<SlotContent> lengths;
    for (const TeamContentRef& content : request_.contents) {
      lengths.push_back({static_cast<std::uint32_t>(content.tokens.size()), 0});
    }
    auto layout = LayOut(request_.shape->shape, lengths);
    if (!layout) return layout.error();
    result_.layout = std::move(*layout);
    result_.slots.resize(count());
    return Status();
  }

  // What is known of every slot; true: all can be reused.
  bool Judge() {
    bool all = true;
    result_.slots.assign(count(), {});
    bases_.clear();
    bases_.resize(count());
    means_.assign(count(), nullptr);
    for (std::size_t i = 0; i < count(); ++i) {
      const TeamContentRef& content = request_.contents[i];
      TeamSlotPlan& slot = result_.slots[i];
      const auto tokens = static_cast<std::uint32_t>(content.tokens.size());
      if (tokens == 0) {
        slot.reason = team_reason::kEmpty;
        continue;
      }
      means_[i] = team_.pool().Find(team_.KeyOfMean(*request_.shape, i, content.is_answer));
      if (means_[i] != nullptr) {
        slot.deposits = means_[i]->deposits;
        slot.covered_rows = std::min(means_[i]->CoveredRows(request_.least_deposits), tokens);
      }
      slot.reason = team_reason::kCorrected;
      if (request_.corrects && slot.covered_rows < tokens) {
        slot.reason = slot.deposits < request_.least_deposits ? team_reason::kFewDeposits
                                                              : team_reason::kFewLong;
        slot.is_wanted = true;
      }
      bases_[i] = PinBase(store_, team_, content);
      if (bases_[i].blocks.empty()) {
        slot.reason = team_reason::kMissingBase;
        slot.is_wanted = false;
      }
      if (slot.reason == team_reason::kCorrected) continue;
      if (all) result_.reason = slot.reason;
      all = false;
    }
    return all;
  }

  Result<TeamPlan> Exact() {
    PromptRequest prompt = request_.prompt;
    prompt.policy = Policy::kExact;
    KVC_FAIL_IF_ERROR(Plan(std::move(prompt)));
    return std::move(result_);
  }

  Status Plan(PromptRequest prompt) {
    PlanMaker maker(store_, clock_, team_.shared_model(), std::move(prompt));
    const auto made = maker.Make(true);
    if (!made) return made.error();
    result_.prepared = maker.Take();
    return Status();
  }

  // kNotFound: a mean was lost meanwhile, and is forgotten; judge again.
  Result<TeamPlan> Reuse() {
    slot_of_offer_.clear();
    PromptRequest prompt = request_.prompt;
    prompt.policy = Policy::kTeam;
    // Nothing behind the first slot will be exact: the chain ends there, so that what stands before
    // it is held whole, a short last block included.
    prompt.store_tokens =
        std::min(prompt.store_tokens, static_cast<Position>(request_.shape->shape.head_tokens));
    for (std::size_t i = 0; i < count(); ++i) {
      const Position begin = result_.layout.slots[i].content_begin;
      const auto tokens = static_cast<Position>(request_.contents[i].tokens.size());
      if (tokens == 0) continue;
      slot_of_offer_.push_back(i);
      prompt.slots.push_back({begin, begin + tokens, request_.first_rows});
    }
    KVC_FAIL_IF_ERROR(Plan(std::move(prompt)));
    const align_plan& plan = result_.prepared.plan;
    if (plan.anchored_rows == 0) {
      // Nothing is approximate: what was computed all the same may as well be learned from.
      const bool is_held = plan.computed_rows <= 1;
      result_.reason = is_held ? team_reason::kHeld : team_reason::kNotWorthIt;
      return std::move(result_);
    }
    const std::int64_t start_ns = clock_.NowNs();
    const Status blended = BlendSlots();
    if (blended.code() == Code::kExhausted) {
      result_.reason = team_reason::kNoRoom;
      return Exact();
    }
    if (!blended.ok()) {
      result_.reason = team_reason::kFewDeposits;  // unless it is judged again
      return Fail(blended);
    }
    result_.blend_us = static_cast<double>(clock_.NowNs() - start_ns) / 1e3;
    result_.reuses = true;
    result_.reason = team_reason::kCorrected;
    return std::move(result_);
  }

  // Fills in the rows of the plan's slots. kExhausted: no room; kNotFound: a mean's blocks are
  // gone.
  Status BlendSlots() {
    const OpenedModel& model = team_.model();
    std::vector<std::unique_ptr<RotationTable>> tables;
    std::vector<PinnedBlock> means;  // while blending
    means.reserve(result_.prepared.spans.size());
    std::vector<Store::PutItem> items;
    std::map<std::pair<std::size_t, std::size_t>, std::uint32_t> item_of;  // by slot and block
    std::string used;  // what the rows are made of
    for (LeasedSpan& part : result_.prepared.spans) {
      if (part.span.source != SpanSource::kSlot) continue;
      const std::size_t slot = slot_of_offer_[part.span.chunk];
      const auto index = static_cast<std::size_t>(part.span.parent_begin) /
                         std::size_t{model.profile.block_tokens};
      const auto [at, is_new] =
          item_of.try_emplace({slot, index}, static_cast<std::uint32_t>(items.size()));
      part.pin = at->second;
      if (!is_new) continue;
      const TeamContentRef& content = request_.contents[slot];
      const BaseRows& base = bases_[slot];
      const Position begin = result_.layout.slots[slot].content_begin;
      tables.push_back(std::make_unique<RotationTable>(model.profile.omega, begin - base.origin));
      tables.push_back(std::make_unique<RotationTable>(model.profile.omega, begin));
      const PinnedBlock* mean = nullptr;
      if (request_.corrects) {
        auto pin = store_.Pin(model.tenant.domain, means_[slot]->blocks[index]);
        if (!pin) return pin.error();
        if (!*pin) {
          team_.pool().Forget(*means_[slot]);
          return NotFound("the mean of slot " + std::to_string(slot) + " is gone");
        }
        means.push_back(std::move(**pin));
        mean = &means.back();
        used += means_[slot]->blocks[index].view();
      }
      used += content.content.view();
      Store::PutItem item;
      BlockRecord& record = item.record;
      record.tokens = base.blocks[index].record().tokens;
      record.key = base.blocks[index].record().key;  // nobody finds it under any
      record.content_key = model.hasher.ContentKeyOf(record.tokens);
      record.fingerprint = model.fingerprint;
      record.domain = model.tenant.domain;
      record.storage_class = StorageClass::kTeam;
      record.origin = begin + static_cast<Position>(index * model.profile.block_tokens);
      record.planes = model.planes;
      record.producer_uid = model.tenant.uid;
      item.fill = [blend = BlockBlend{model.profile, model.planes, *tables[tables.size() - 2],
                                      *tables.back(), base.blocks[index], mean}](std::byte* to) {
        blend.Write(to);
      };
      items.push_back(std::move(item));
    }
    auto pins = store_.PutTransient(model.tenant.domain, items);
    if (!pins) return pins.error();
    const auto first = static_cast<std::uint32_t>(result_.prepared.pins.size());
    for (LeasedSpan& part : result_.prepared.spans) {
      if (part.span.source == SpanSource::kSlot) part.pin += first;
    }
    for (PinnedBlock& pin : *pins) result_.prepared.pins.push_back(std::move(pin));
    for (std::size_t i = 0; i < count() && request_.corrects; ++i) {
      if (means_[i] != nullptr) team_.pool().CountUse(means_[i]->key);
    }
    const auto digest = model.hasher.IdOf<ContentKey>("epoch   ", used);
    std::memcpy(&result_.epoch, digest.bytes.data(), sizeof result_.epoch);
    return Status();
  }

  using align_plan = kvcommons::Plan;

  Store& store_;
  const Clock& clock_;
  const Team& team_;
  TeamPlanRequest request_;
  TeamPlan result_;
  std::vector<BaseRows> bases_;
  std::vector<MeanPtr> means_;
  std::vector<std::size_t> slot_of_offer_;  // empty contents offer nothing
};

}  // namespace

Result<TokenList> FillTemplate(const AgentTemplate& shape,
                               const std::vector<TeamContentRef>& contents,
                               std::uint32_t context_tokens) {
  if (contents.size() != shape.shape.slots.size()) {
    return Fail(InvalidArgument("contents has " + std::to_string(contents.size()) +
                                " entries; the template of agent '" + shape.agent + "' has " +
                                std::to_string(shape.shape.slots.size()) + " slots"));
  }
  TokenList prompt = shape.segments.front();
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const TokenList& tokens = contents[i].tokens;
    prompt.insert(prompt.end(), tokens.begin(), tokens.end());
    const TokenList& segment = shape.segments[i + 1];
    prompt.insert(prompt.end(), segment.begin(), segment.end());
    if (prompt.size() > context_tokens) {
      return Fail(InvalidArgument("the prompt of agent '" + shape.agent + "' has " +
                                  std::to_string(prompt.size()) + " tokens behind slot " +
                                  std::to_string(i) + "; the limit is " +
                                  std::to_string(context_tokens) + " (contextTokens)"));
    }
  }
  return prompt;
}

BaseRows PinBase(Store& store, const Team& team, const TeamContentRef& content) {
  BaseRows base;
  const OpenedModel& model = team.model();
  std::size_t begin = 0;
  for (const BlockKey& key : team.BaseBlocks(content.content, content.tokens.size())) {
    auto pin = store.Pin(model.tenant.domain, key);
    if (!pin || !*pin) return {};
    const BlockRecord& record = (*pin)->record();
    const auto from = content.tokens.begin() + static_cast<std::ptrdiff_t>(begin);
    // What the request says of a content and what its rows are of must agree (I12).
    const auto origin = record.origin - static_cast<Position>(begin);
    if (record.storage_class != StorageClass::kTeam || record.fingerprint != model.fingerprint ||
        record.tokens.size() > content.tokens.size() - begin || origin < 0 ||
        (begin > 0 && origin != base.origin) ||
        !std::equal(record.tokens.begin(), record.tokens.end(), from)) {
      return {};
    }
    base.origin = origin;
    begin += record.tokens.size();
    base.blocks.push_back(std::move(**pin));
  }
  if (begin != content.tokens.size()) return {};
  return base;
}

Result<TeamPlan> MakeTeamPlan(Store& store, const Clock& clock, const Team& team,
                              TeamPlanRequest request) {
  return Maker(store, clock, team, std::move(request)).Make();
}

}  // namespace kvcommons
