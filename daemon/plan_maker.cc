#include "daemon/plan_maker.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/assert.h"

namespace kvcommons {

PlanMaker::PlanMaker(Store& store, const Clock& clock, std::shared_ptr<const OpenedModel> model,
                     PromptRequest request, ChainMemo* memo, std::vector<CanonicalChunk> chunks)
    : store_(store), clock_(clock), chunks_(std::move(chunks)) {
  result_.model = std::move(model);
  result_.request = std::move(request);
  result_.chain = CutChain(*result_.model, result_.request, memo);
  FindParent();
}

void PlanMaker::FindParent() {
  const PromptRequest& request = result_.request;
  const OpenedModel& model = *result_.model;
  if (!request.document.empty()) {
    result_.document = model.hasher.KeyOfDocument(request.document);
  }
  if (request.policy == Policy::kOff || request.policy == Policy::kExact) return;
  if (!model.move_refusal.empty()) {
    result_.notes += "exact mode: " + model.move_refusal + "\n";
    result_.request.policy = Policy::kExact;
    return;
  }
  if (request.document.empty() || request.policy != Policy::kEdit) return;
  parent_ = store_.GetDocument(model.tenant.domain, result_.document);
  if (parent_ && parent_->fingerprint != model.fingerprint) parent_.reset();
  if (!parent_) result_.notes += "no stored revision of the document\n";
}

Position PlanMaker::MatchChain() {
  std::vector<BlockKey> keys;
  keys.reserve(result_.chain.full.size());
  for (const ChainBlock& block : result_.chain.full) {
    if (missing_.contains(block.key)) break;
    keys.push_back(block.key);
  }
  const DomainId& domain = result_.model->tenant.domain;
  matched_blocks_ = store_.MatchPrefix(domain, keys);
  const Position exact = matched_blocks_ == 0 ? 0 : result_.chain.full[matched_blocks_ - 1].end;
  for (const ChainBlock& block : result_.chain.short_last) {
    if (block.begin == exact && !missing_.contains(block.key) &&
        store_.Contains(domain, block.key)) {
      return block.end;
    }
  }
  return exact;
}

void PlanMaker::OfferParentRows() {
  parent_rows_.clear();
  if (!parent_) return;
  for (const DocumentSegment& segment : parent_->segments) {
    if (missing_.contains(segment.block) ||
        !store_.Contains(result_.model->tenant.domain, segment.block)) {
      continue;
    }
    ParentSegment rows;
    rows.begin = segment.begin;
    rows.end = segment.end;
    rows.origin = segment.origin;
    rows.staleness = {segment.generation, segment.edited_tokens_left, segment.min_distance_tokens};
    parent_rows_.push_back(rows);
  }
}

bool PlanMaker::IsThere(const CanonicalVariant& variant) const {
  const auto is_missing = [this](const BlockKey& key) { return missing_.contains(key); };
  if (std::any_of(variant.keys.begin(), variant.keys.end(), is_missing)) return false;
  return store_.MatchPrefix(result_.model->tenant.domain, variant.keys) == variant.keys.size();
}

void PlanMaker::ChooseVariants() {
  if (result_.request.policy != Policy::kCompose) return;
  chosen_.assign(chunks_.size(), nullptr);
  chunk_offers_.clear();
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    const auto& variants = chunks_[i].variants;
    const auto found =
        std::find_if(variants.begin(), variants.end(),
                     [this](const CanonicalVariant& variant) { return IsThere(variant); });
    if (found != variants.end()) chosen_[i] = &*found;
    chunk_offers_.push_back({chunks_[i].range.begin, chunks_[i].range.end,
                             chosen_[i] == nullptr ? RootKind::kEmpty : chosen_[i]->root.kind});
  }
}

Result<bool> PlanMaker::Make(bool may_block) {
  const PromptRequest& request = result_.request;
  if (!may_block && parent_ && parent_->tokens.size() + request.tokens.size() > kMaxLoopTokens) {
    return false;
  }
  PlanInput input;
  input.tokens = request.tokens;
  input.policy = request.policy;
  input.edit = request.edit;
  input.compose = request.compose;
  input.slots = request.slots;
  input.costs = request.costs;
  for (int tries = 1;; ++tries) {
    if (tries > kMaxTries) {
      result_.notes += "blocks keep vanishing: everything is computed\n";
      input.policy = Policy::kOff;
    }
    input.exact_tokens = input.policy == Policy::kOff ? 0 : MatchChain();
    OfferParentRows();
    ChooseVariants();
    input.chunks = chunk_offers_;
    input.parent_tokens = std::span<const TokenId>();
    if (parent_) input.parent_tokens = parent_->tokens;
    input.parent_segments = parent_rows_;
    auto plan = MakePlan(input);
    if (!plan) {
      if (!parent_) return Fail(plan.error());
      // A stored revision that the planner refuses must not keep its document from being served.
      result_.notes += "the stored revision is not used: " + plan.error().message() + "\n";
      parent_.reset();
      continue;
    }
    std::vector<LeasedSpan> spans = Cut(*plan);
    const PinOutcome outcome = PinAll(spans, may_block);
    if (outcome == PinOutcome::kOnDisk) return false;
    if (outcome == PinOutcome::kMissing) continue;
    Finish(std::move(*plan), std::move(spans));
    return true;
  }
}

std::vector<LeasedSpan> PlanMaker::Cut(const Plan& plan) const {
  std::vector<LeasedSpan> cut;
  cut.reserve(plan.spans.size() + result_.chain.full.size());
  std::size_t segment = 0;
  for (const Span& span : plan.spans) {
    if (span.source == SpanSource::kNone) {
      cut.push_back({.span = span});
      continue;
    }
    for (Position row = span.begin; row < span.end;) {
      LeasedSpan part{.span = span};
      part.span.begin = row;
      if (span.source == SpanSource::kChain) {
        const std::size_t index =
            static_cast<std::size_t>(row) / result_.model->profile.block_tokens;
        const ChainBlock* const block = index < matched_blocks_ ? &result_.chain.full[index]
                                                                : &result_.chain.short_last.front();
        part.block = block->key;
        part.first_row = static_cast<std::uint32_t>(row - block->begin);
        part.span.end = std::min(span.end, block->end);
      } else if (span.source == SpanSource::kCanonical) {
        const auto block_tokens = static_cast<Position>(result_.model->profile.block_tokens);
        const Position chunk_row = span.parent_begin + (row - span.begin);
        part.block = chosen_[span.chunk]->keys[static_cast<std::size_t>(chunk_row / block_tokens)];
        part.first_row = static_cast<std::uint32_t>(chunk_row % block_tokens);
        part.span.parent_begin = chunk_row;
        part.span.end = std::min(span.end, row + block_tokens - chunk_row % block_tokens);
      } else if (span.source == SpanSource::kSlot) {
        const auto block_tokens = static_cast<Position>(result_.model->profile.block_tokens);
        const Position content_row = span.parent_begin + (row - span.begin);
        part.first_row = static_cast<std::uint32_t>(content_row % block_tokens);
        part.span.parent_begin = content_row;
        part.span.end = std::min(span.end, row + block_tokens - content_row % block_tokens);
      } else {
        const Position parent_row = span.parent_begin + (row - span.begin);
        const auto& segments = parent_->segments;
        while (segments[segment].end <= parent_row) ++segment;
        KVC_ASSERT(segments[segment].begin <= parent_row);
        part.block = segments[segment].block;
        part.first_row = segments[segment].first_row +
                         static_cast<std::uint32_t>(parent_row - segments[segment].begin);
        part.span.parent_begin = parent_row;
        part.span.end = std::min(span.end, row + (segments[segment].end - parent_row));
      }
      row = part.span.end;
      cut.push_back(std::move(part));
    }
  }
  return cut;
}

void PlanMaker::Load(const std::vector<LeasedSpan>& spans) {
  const DomainId& domain = result_.model->tenant.domain;
  std::vector<BlockKey> cold;
  std::unordered_set<BlockKey> seen;
  for (const LeasedSpan& part : spans) {
    if (!part.is_stored() || missing_.contains(part.block) || !seen.insert(part.block).second) {
      continue;
    }
    if (auto pin = store_.PinIfInMemory(domain, part.block)) {
      loaded_.emplace(part.block, std::move(*pin));
    } else {
      cold.push_back(part.block);
    }
  }
  if (cold.empty()) return;
  const std::int64_t start_ns = clock_.NowNs();
  // Two at a time: while one block's last bytes are verified and its place in memory is found, the
  // disk reads another.
  std::vector<std::optional<PinnedBlock>> pins(cold.size());
  std::atomic<std::size_t> next{0};
  const auto load = [&] {
    for (std::size_t i = next++; i < cold.size(); i = next++) {
      auto loaded = store_.Pin(domain, cold[i]);
      // Leased blocks that leave no room are a reason to compute, as a miss is.
      if (loaded && *loaded) pins[i] = std::move(*loaded);
    }
  };
  std::thread second;
  if (cold.size() > 1) {
    try {
      second = std::thread(load);
    } catch (const std::system_error&) {
      // No thread to be had: one after the other, then.
    }
  }
  load();
  if (second.joinable()) second.join();
  for (std::size_t i = 0; i < cold.size(); ++i) {
    if (!pins[i]) continue;
    ++result_.loaded_blocks;
    result_.loaded_bytes += pins[i]->bytes().size();
    loaded_.emplace(cold[i], std::move(*pins[i]));
  }
  result_.loaded_us += static_cast<double>(clock_.NowNs() - start_ns) / 1e3;
}

std::optional<PinnedBlock> PlanMaker::PinOne(const BlockKey& key) {
  if (auto node = loaded_.extract(key); !node.empty()) return std::move(node.mapped());
  return store_.PinIfInMemory(result_.model->tenant.domain, key);
}

PlanMaker::PinOutcome PlanMaker::PinAll(std::vector<LeasedSpan>& spans, bool may_block) {
  const OpenedModel& model = *result_.model;
  PinOutcome outcome = PinOutcome::kPinned;
  held_.reserve(held_.size() + spans.size());
  if (may_block) Load(spans);
  for (LeasedSpan& part : spans) {
    if (!part.is_stored() || missing_.contains(part.block)) continue;
    // A chain has each of its blocks once; segments of a document may share one, and a chunk may
    // come twice.
    const bool may_share = part.span.source != SpanSource::kChain;
    const auto found = may_share ? held_index_.find(part.block) : held_index_.end();
    if (found != held_index_.end()) {
      part.pin = found->second;
    } else {
      std::optional<PinnedBlock> pin = PinOne(part.block);
      if (!pin && !may_block) return PinOutcome::kOnDisk;
      if (!pin) {
        missing_.insert(part.block);
        outcome = PinOutcome::kMissing;
        continue;
      }
      part.pin = static_cast<std::uint32_t>(held_.size());
      held_.push_back(Held{std::move(*pin)});
      if (may_share) held_index_.emplace(part.block, part.pin);
    }
    // What a revision says of a block and what the block says of itself must agree (I12).
    const BlockRecord& record = held_[part.pin].pin.record();
    const Position rows = part.span.end - part.span.begin;
    const Position origin = record.origin + static_cast<Position>(part.first_row);
    if (record.fingerprint != model.fingerprint || part.span.begin - origin != part.span.delta ||
        part.first_row + static_cast<std::size_t>(rows) > record.tokens.size() ||
        (part.span.source == SpanSource::kCanonical) !=
            (record.storage_class == StorageClass::kCanonical)) {
      missing_.insert(part.block);
      outcome = PinOutcome::kMissing;
    }
  }
  return outcome;
}

void PlanMaker::NameVariants(const Plan& plan) {
  const DomainId& domain = result_.model->tenant.domain;
  for (CanonicalChunk& chunk : chunks_) {
    for (const CanonicalVariant& variant : chunk.variants) {
      if (IsThere(variant)) break;
      // What is there but found no room is not lost.
      if (store_.MatchPrefix(domain, variant.keys) == variant.keys.size()) continue;
      result_.lost_variants.emplace_back(chunk.content, variant.root);
    }
  }
  std::vector<std::vector<CanonicalVariant>> used(chunks_.size());
  for (const Span& span : plan.spans) {
    if (span.source != SpanSource::kCanonical) continue;
    used[span.chunk] = {CanonicalVariant{chosen_[span.chunk]->root, {}}};
  }
  for (std::size_t i = 0; i < chunks_.size(); ++i) chunks_[i].variants = std::move(used[i]);
  std::map<std::uint32_t, std::size_t> unread;  // blocks, by the version of their loadings
  for (const PinnedBlock& pin : result_.pins) {
    const std::uint32_t version = pin.record().loadings_version;
    if (version != 0 && version != kLoadingsVersion) ++unread[version];
  }
  for (const auto& [version, blocks] : unread) {
    result_.notes += "loadings of version " + std::to_string(version) + " of " +
                     std::to_string(blocks) + " blocks are not used; this daemon reads " +
                     std::to_string(kLoadingsVersion) + "\n";
  }
  result_.chunks = std::move(chunks_);
}

void PlanMaker::Finish(Plan plan, std::vector<LeasedSpan> spans) {
  result_.pins.reserve(held_.size());
  for (LeasedSpan& part : spans) {
    if (!part.is_stored()) continue;
    if (part.span.source == SpanSource::kParent) result_.parent_revision = parent_->revision;
    Held& held = held_[part.pin];
    if (held.index == LeasedSpan::kNoBlock) {
      held.index = static_cast<std::uint32_t>(result_.pins.size());
      result_.pins.push_back(std::move(held.pin));
    }
    part.pin = held.index;
  }
  NameVariants(plan);
  loaded_.clear();
  held_.clear();  // What an earlier try pinned and this plan does not use.
  const DomainId& domain = result_.model->tenant.domain;
  result_.pieces = WantedPieces(
      {.spans = plan.spans,
       .exact_end = plan.exact_end,
       .store_tokens = result_.request.store_tokens,
       .block_tokens = static_cast<Position>(result_.model->profile.block_tokens),
       .has_document = !result_.request.document.empty()},
      result_.chain, [&](const BlockKey& key) { return store_.Contains(domain, key); });
  result_.plan = std::move(plan);
  result_.spans = std::move(spans);
}

}  // namespace kvcommons
