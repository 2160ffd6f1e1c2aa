#include "daemon/team_plan.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "daemon/team_blend.h"

namespace kvcommons {
namespace {

class Maker {
 public:
  Maker(Store& store, const Clock& clock, std::shared_ptr<const OpenedModel> model,
        const Team& team, TeamPlanRequest request)
      : store_(store),
        clock_(clock),
        model_(std::move(model)),
        team_(team),
        request_(std::move(request)) {}

  Result<TeamPlan> Make() {
    KVC_FAIL_IF_ERROR(LayOutContents());
    // The longest exact chain first: what is held is not approximated, and asks for nothing.
    KVC_FAIL_IF_ERROR(PlanExact());
    exact_rows_ = result_.prepared.plan.exact_rows;
    const bool can_move = model_->move_refusal.empty();
    if (request_.exact || !can_move) {
      result_.reason = request_.exact ? team_reason::kAskedExact : team_reason::kCannotMove;
      for (const Part& part : parts_) InfoOf(part).reason = result_.reason;
      return std::move(result_);
    }
    for (int tries = 1; Judge(); ++tries) {
      if (result_.prepared.plan.computed_rows <= 1 || !OffersAny()) {
        result_.reason = team_reason::kHeld;
        return std::move(result_);
      }
      auto made = Reuse();
      if (made || made.error().code() != Code::kNotFound) return made;
      KVC_FAIL_IF_ERROR(PlanExact());
      if (tries < kMaxTries) continue;
      NoteComputed(team_reason::kFewDeposits);
      break;
    }
    return std::move(result_);
  }

 private:
  static constexpr int kMaxTries = 4;

  // Of the prompt: a slot's content, or the text behind it.
  struct Part {
    std::size_t slot = 0;
    bool is_text = false;
    TeamContentRef content;
    Position begin = 0;
    bool is_bare = false;  // text behind nothing but text: its own rows are exact
    BaseRows base = {};
    MeanPtr mean = nullptr;
    std::vector<AnchorPtr> anchors = {};
  };

  bool OffersAny() {
    return std::any_of(parts_.begin(), parts_.end(), [this](const Part& part) {
      return InfoOf(part).reason == team_reason::kCorrected;
    });
  }
  // What could be corrected is not, in this plan.
  void NoteComputed(std::string_view reason) {
    for (const Part& part : parts_) {
      if (InfoOf(part).reason == team_reason::kCorrected) InfoOf(part).reason = reason;
    }
  }

  std::size_t count() const { return request_.contents.size(); }
  TeamSlotPlan& InfoOf(const Part& part) {
    return part.is_text ? result_.texts[part.slot] : result_.slots[part.slot];
  }
  bool by_mean() const {
    return request_.correction == TeamCorrection::kMean ||
           request_.correction == TeamCorrection::kTrustedMean;
  }

  Status LayOutContents() {
    std::vector<SlotContent> lengths;
    for (const TeamContentRef& content : request_.contents) {
      lengths.push_back({static_cast<std::uint32_t>(content.tokens.size()), 0});
    }
    auto layout = LayOut(request_.shape->shape, lengths);
    if (!layout) return layout.error();
    result_.layout = std::move(*layout);
    result_.slots.resize(count());
    if (request_.correct_text) result_.texts.resize(count());
    std::size_t tokens_before = 0;
    for (std::size_t i = 0; i < count(); ++i) {
      const SlotPlacement& placed = result_.layout.slots[i];
      parts_.push_back({i, false, request_.contents[i], placed.content_begin});
      tokens_before += request_.contents[i].tokens.size();
      if (!request_.correct_text) continue;
      parts_.push_back({i, true, team_.TextBehind(*request_.shape, i), placed.segment_begin});
      parts_.back().is_bare = tokens_before == 0;
    }
    return Status();
  }

  // What is known of every part; true: all slots can be reused, and what text cannot be corrected
  // need not be learned.
  bool Judge() {
    bool all = true;
    for (Part& part : parts_) {
      const TeamContentRef& content = part.content;
      TeamSlotPlan& slot = InfoOf(part) = {};
      part.mean = nullptr;
      part.anchors.clear();
      const auto tokens = static_cast<std::uint32_t>(content.tokens.size());
      if (tokens == 0) {
        slot.reason = team_reason::kEmpty;
        continue;
      }
      const MeanKey key = team_.KeyOfMean(*request_.shape, part.slot, content.kind);
      if (!part.is_bare) part.mean = team_.pool().Find(key);
      if (part.mean != nullptr) {
        slot.deposits = part.mean->deposits;
        slot.covered_rows = std::min(part.mean->CoveredRows(request_.least_deposits), tokens);
      }
      slot.reason = team_reason::kCorrected;
      part.base = PinBase(store_, *model_, team_, content);
      if (by_mean() && !part.is_bare) JudgeMean(key, part);
      // The prompt's last row is computed in any case, and never counted as held.
      const Position end = part.begin + static_cast<Position>(tokens);
      const bool is_held =
          end <= exact_rows_ ||
          (end == static_cast<Position>(request_.prompt.tokens.size()) && end == exact_rows_ + 1);
      if (part.base.blocks.empty()) {
        // Where there is no room to learn it, own rows would come to nothing.
        if (slot.reason != team_reason::kPoolBound) slot.reason = team_reason::kMissingBase;
        slot.is_wanted = false;
      } else if (request_.correction == TeamCorrection::kAnchors && !is_held) {
        JudgeAnchors(part);
      }
      // It may be learned from all the same, where the rest is computed.
      if (is_held) slot.reason = team_reason::kHeld;
      if (slot.reason == team_reason::kCorrected || is_held) continue;
      // Text that nothing can be learned of is computed, and the rest reused all the same.
      if (part.is_text && !slot.is_wanted) continue;
      if (all) result_.reason = slot.reason;
      all = false;
    }
    return all;
  }

  void JudgeMean(const MeanKey& key, const Part& part) {
    TeamSlotPlan& slot = InfoOf(part);
    const auto tokens = static_cast<std::uint32_t>(part.content.tokens.size());
    if (slot.covered_rows >= tokens) return;
    slot.reason =
        slot.deposits < request_.least_deposits ? team_reason::kFewDeposits : team_reason::kFewLong;
    slot.is_wanted = true;
    if (tokens > MeanSnapshot::kMaxRows) slot.is_wanted = false;
    if (part.is_text) {
      // The last token is computed in any case.
      const bool is_last = part.begin + static_cast<Position>(tokens) ==
                           static_cast<Position>(request_.prompt.tokens.size());
      if (is_last && tokens == 1) slot.is_wanted = false;
      // Contents are not made to leave for it: they are what reuse needs.
      const TeamPool::Totals totals = team_.pool().GetTotals();
      const bool has_room = part.mean != nullptr ||
                            totals.bytes + model_->planes.BlockBytes(tokens) <= totals.limit_bytes;
      if (has_room) return;
    } else if (!team_.pool().HasNoRoom(key, tokens, model_->planes.BlockBytes(tokens))) {
      return;
    }
    slot.reason = team_reason::kPoolBound;
    slot.is_wanted = false;
  }

  // Counts first, then the gate; a content that comes again is corrected by its own anchor alone.
  void JudgeAnchors(Part& part) {
    const TeamContentRef& content = part.content;
    TeamSlotPlan& slot = InfoOf(part);
    const auto tokens = static_cast<std::uint32_t>(content.tokens.size());
    const SlotKey key = team_.KeyOfSlot(*request_.shape, part.slot, content.kind);
    auto found = team_.pool().anchors().Find(key, tokens, request_.shape->version);
    const auto own = std::find_if(found.rows.begin(), found.rows.end(), [&](const AnchorPtr& rows) {
      return rows->content == content.content;
    });
    if (own != found.rows.end()) {
      part.anchors = {*own};
      slot.deposits = 1;
      return;
    }
    slot.is_wanted = true;
    slot.deposits = static_cast<std::uint32_t>(found.rows.size());
    if (DecideByCounts(found.anchors, found.rows.size(), tokens)) {
      slot.reason = found.anchors < kMinAnchors ? team_reason::kFewDeposits : team_reason::kFewLong;
      if (!team_.pool().anchors().HasNoRoom(key, tokens)) return;
      slot.reason = team_reason::kPoolBound;
      slot.is_wanted = false;
      return;
    }
    const std::int64_t start_ns = clock_.NowNs();
    const auto pins = PinAnchors(store_, team_.pool(), *model_, found.rows, tokens, nullptr);
    if (!pins) {
      slot.reason = team_reason::kFewDeposits;
      return;
    }
    const ShareDecision decision =
        DecideByDistances(GateDistances(*model_, part.base, *pins), {.gamma = request_.gamma});
    result_.gate_us += static_cast<double>(clock_.NowNs() - start_ns) / 1e3;
    slot.entropy_bits = decision.entropy_bits;
    if (decision.reason != ShareReason::kNear) {
      slot.reason = team_reason::kSpread;
      return;
    }
    slot.is_wanted = false;
    for (const std::size_t counted : decision.counted) {
      team_.pool().anchors().CountUse(key, found.rows[counted]->content);
    }
    part.anchors = std::move(found.rows);
  }

  Status PlanExact() {
    PromptRequest prompt = request_.prompt;
    prompt.policy = Policy::kExact;
    return Plan(std::move(prompt));
  }
  Result<TeamPlan> Exact() {
    KVC_FAIL_IF_ERROR(PlanExact());
    return std::move(result_);
  }

  Status Plan(PromptRequest prompt) {
    PlanMaker maker(store_, clock_, model_, std::move(prompt));
    const auto made = maker.Make(true);
    if (!made) return made.error();
    result_.prepared = maker.Take();
    return Status();
  }

  // kNotFound: what corrects was lost meanwhile, and is forgotten; judge again.
  Result<TeamPlan> Reuse() {
    PromptRequest prompt = request_.prompt;
    prompt.policy = Policy::kTeam;
    // Nothing behind the first slot will be exact: the chain ends there, so that what stands before
    // it is held whole, a short last block included.
    prompt.store_tokens =
        std::min(prompt.store_tokens, static_cast<Position>(request_.shape->shape.head_tokens));
    part_of_offer_.clear();
    for (const Part& part : parts_) {
      if (InfoOf(part).reason != team_reason::kCorrected) continue;
      part_of_offer_.push_back(&part);
      const auto tokens = static_cast<Position>(part.content.tokens.size());
      prompt.slots.push_back(
          {part.begin, part.begin + tokens, part.is_text ? 0 : request_.first_rows});
    }
    KVC_FAIL_IF_ERROR(Plan(std::move(prompt)));
    if (result_.prepared.plan.anchored_rows == 0) {
      result_.reason = team_reason::kNotWorthIt;
      NoteComputed(result_.reason);
      return Exact();
    }
    const Status blended = BlendSlots();
    if (blended.code() == Code::kExhausted) {
      result_.reason = team_reason::kNoRoom;
      NoteComputed(result_.reason);
      return Exact();
    }
    if (!blended.ok()) {
      result_.reason = team_reason::kFewDeposits;  // unless it is judged again
      return Fail(blended);
    }
    result_.reuses = true;
    result_.reason = team_reason::kCorrected;
    return std::move(result_);
  }

  // What corrects one part's rows, pinned.
  struct Corrections {
    std::vector<PinnedBlock> mean;
    AnchorPins anchors;
    SlotCorrections rows;
  };

  Result<std::unique_ptr<Corrections>> CorrectionsOf(const Part& part, std::string* used) {
    auto made = std::make_unique<Corrections>();
    const OpenedModel& model = *model_;
    const std::size_t blocks = part.base.blocks.size();
    if (part.mean != nullptr && by_mean()) {
      made->rows.trusts = request_.correction == TeamCorrection::kTrustedMean;
      for (std::size_t i = 0; i < blocks; ++i) {
        const BlockKey& key = part.mean->blocks[i];
        auto pin = store_.Pin(model.tenant.domain, key);
        if (!pin) return Fail(pin.error());
        if (!*pin) {
          team_.pool().Forget(*part.mean);
          return Fail(NotFound("the mean of slot " + std::to_string(part.slot) + " is gone"));
        }
        *used += key.view();
        made->mean.push_back(std::move(**pin));
      }
      for (const PinnedBlock& block : made->mean) made->rows.offsets.push_back({&block});
    }
    if (request_.correction == TeamCorrection::kAnchors) {
      const std::int64_t start_ns = clock_.NowNs();
      const auto& anchors = part.anchors;
      const std::uint32_t rows = part.base.rows();
      const ReaderKey& reader = request_.shape->version;
      const auto own = PinAnchors(store_, team_.pool(), model, anchors, rows, nullptr);
      if (!own) return Fail(own.error());
      auto offsets = PinAnchors(store_, team_.pool(), model, anchors, rows, &reader);
      if (!offsets) return Fail(offsets.error());
      made->anchors = std::move(*offsets);
      if (anchors.size() > 1) made->rows.weights = WeighAnchors(model, part.base, *own);
      made->rows.offsets.resize(blocks);
      for (std::size_t a = 0; a < anchors.size(); ++a) {
        for (std::size_t i = 0; i < blocks; ++i) {
          made->rows.offsets[i].push_back(&made->anchors[a][i]);
          *used += anchors[a]->offsets.at(reader)[i].view();
          *used += anchors[a]->base[i].view();
        }
      }
      result_.weights_us += static_cast<double>(clock_.NowNs() - start_ns) / 1e3;
    }
    *used += static_cast<char>(request_.correction);
    *used += part.content.content.view();
    // Rows that were computed again are equal up to rounding only.
    for (const PinnedBlock& block : part.base.blocks) {
      const Checksum128& sum = block.record().checksum;
      used->append(reinterpret_cast<const char*>(&sum), sizeof sum);
    }
    return made;
  }

  // Fills in the rows of the plan's parts. kExhausted: no room; kNotFound: blocks of what corrects
  // are gone.
  Status BlendSlots() {
    const OpenedModel& model = *model_;
    std::map<const Part*, std::unique_ptr<Corrections>> corrections;
    std::map<const Part*, std::unique_ptr<SlotWriter>> writers;
    std::map<std::pair<const Part*, std::size_t>, std::uint32_t> item_of;  // by part and block
    std::vector<Store::PutItem> items;
    std::string used;  // what the rows are made of
    for (LeasedSpan& part : result_.prepared.spans) {
      if (part.span.source != SpanSource::kSlot) continue;
      const Part& from = *part_of_offer_[part.span.chunk];
      if (!writers.contains(&from)) {
        auto made = CorrectionsOf(from, &used);
        if (!made) return made.error();
        const Corrections& held = *(corrections[&from] = std::move(*made));
        writers[&from] = std::make_unique<SlotWriter>(model, from.base, held.rows, from.begin);
      }
      const auto index = static_cast<std::size_t>(part.span.parent_begin) /
                         std::size_t{model.profile.block_tokens};
      const auto [at, is_new] =
          item_of.try_emplace({&from, index}, static_cast<std::uint32_t>(items.size()));
      part.pin = at->second;
      if (!is_new) continue;
      Store::PutItem item;
      BlockRecord& record = item.record;
      record.tokens = from.base.blocks[index].record().tokens;
      record.key = from.base.blocks[index].record().key;  // nobody finds it under any
      record.content_key = model.hasher.ContentKeyOf(record.tokens);
      record.fingerprint = model.fingerprint;
      record.domain = model.tenant.domain;
      record.storage_class = StorageClass::kTeam;
      record.origin = from.begin + static_cast<Position>(index * model.profile.block_tokens);
      record.planes = model.planes;
      record.producer_uid = model.tenant.uid;
      item.fill = [writer = writers[&from].get(), index](std::byte* to) {
        writer->WriteBlock(index, to);
      };
      items.push_back(std::move(item));
    }
    const std::int64_t start_ns = clock_.NowNs();
    auto pins = store_.PutTransient(model.tenant.domain, items);
    if (!pins) return pins.error();
    result_.blend_us = static_cast<double>(clock_.NowNs() - start_ns) / 1e3;
    const auto first = static_cast<std::uint32_t>(result_.prepared.pins.size());
    for (LeasedSpan& part : result_.prepared.spans) {
      if (part.span.source == SpanSource::kSlot) part.pin += first;
    }
    for (PinnedBlock& pin : *pins) result_.prepared.pins.push_back(std::move(pin));
    for (const Part* part : part_of_offer_) {
      if (!writers.contains(part)) {
        InfoOf(*part).reason = team_reason::kNotWorthIt;  // this one's rows are computed
      } else if (by_mean() && part->mean != nullptr) {
        team_.pool().CountUse(part->mean->key);
      }
    }
    // Which rows are computed decides what the others come to in the model.
    for (const LeasedSpan& part : result_.prepared.spans) {
      const Position span[3] = {part.span.begin, part.span.end,
                                static_cast<Position>(part.span.kind)};
      used.append(reinterpret_cast<const char*>(span), sizeof span);
    }
    const auto digest = model.hasher.IdOf<ContentKey>("epoch   ", used);
    std::memcpy(&result_.epoch, digest.bytes.data(), sizeof result_.epoch);
    return Status();
  }

  Store& store_;
  const Clock& clock_;
  const std::shared_ptr<const OpenedModel> model_;
  const Team& team_;
  TeamPlanRequest request_;
  TeamPlan result_;
  std::vector<Part> parts_;  // ascending
  Position exact_rows_ = 0;  // of the chain that is held
  std::vector<const Part*> part_of_offer_;
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

BaseRows PinBase(Store& store, const OpenedModel& model, const Team& team,
                 const TeamContentRef& content) {
  BaseRows base;
  std::size_t begin = 0;
  for (const BlockKey& key : team.BaseBlocks(content)) {
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

Result<TeamPlan> MakeTeamPlan(Store& store, const Clock& clock,
                              std::shared_ptr<const OpenedModel> model, const Team& team,
                              TeamPlanRequest request) {
  return Maker(store, clock, std::move(model), team, std::move(request)).Make();
}

}  // namespace kvcommons
