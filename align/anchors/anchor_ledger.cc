#include "align/anchors/anchor_ledger.h"

#include <algorithm>
#include <string>

#include "base/assert.h"

namespace kvcommons {
namespace {

bool Contains(const std::vector<AnchorKey>& keys, const AnchorKey& key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// Products of two counts of 64 bits.
__extension__ using Wide = unsigned __int128;

bool IsLessUsedByByte(const Anchor& a, const Anchor& b) {
  const Wide left = Wide{a.uses} * b.bytes, right = Wide{b.uses} * a.bytes;
  return left != right ? left < right : a.order < b.order;
}

}  // namespace

bool Anchor::Has(const ReaderKey& reader) const {
  return std::find(readers.begin(), readers.end(), reader) != readers.end();
}

AnchorLedger::AnchorLedger(Limits limits, AnchorProfile profile)
    : limits_(limits), profile_(profile) {
  KVC_ASSERT(limits.slot_anchors >= 1 && limits.window >= 1);
}

const std::vector<Anchor>* AnchorLedger::Find(const SlotKey& slot) const {
  const auto found = pools_.find(slot);
  return found == pools_.end() ? nullptr : &found->second;
}

const Anchor* AnchorLedger::Find(const AnchorKey& key) const {
  const Pool* const pool = Find(key.slot);
  if (pool == nullptr) return nullptr;
  const auto found = std::find_if(pool->begin(), pool->end(),
                                  [&](const Anchor& a) { return a.content == key.content; });
  return found == pool->end() ? nullptr : &*found;
}

std::vector<std::size_t> AnchorLedger::LongEnough(const SlotKey& slot, std::uint32_t tokens) const {
  std::vector<std::size_t> found;
  const Pool* const pool = Find(slot);
  for (std::size_t i = 0; pool != nullptr && i < pool->size(); ++i) {
    if ((*pool)[i].tokens >= tokens) found.push_back(i);
  }
  return found;
}

std::vector<std::size_t> AnchorLedger::Eligible(const SlotKey& slot, std::uint32_t tokens,
                                                const ReaderKey& reader) const {
  std::vector<std::size_t> found = LongEnough(slot, tokens);
  std::erase_if(found, [&](std::size_t i) { return !(*Find(slot))[i].Has(reader); });
  return found;
}

const Anchor* AnchorLedger::NextOfWindow(const Deposit& deposit, const IsPinned& is_pinned,
                                         const std::vector<AnchorKey>& leaving) const {
  const Anchor* least = nullptr;
  std::size_t seen = 0;
  for (const Anchor& anchor : *Find(deposit.key.slot)) {
    const AnchorKey key{deposit.key.slot, anchor.content};
    if (key == deposit.key || Contains(leaving, key)) continue;
    if (is_pinned != nullptr && is_pinned(key)) continue;
    if (++seen > limits_.window) break;
    if (least == nullptr || anchor.uses < least->uses) least = &anchor;
  }
  return least;
}

std::optional<AnchorKey> AnchorLedger::NextByBytes(const AnchorKey& keep, const IsPinned& is_pinned,
                                                   const std::vector<AnchorKey>& leaving) const {
  std::optional<AnchorKey> next;
  const Anchor* least = nullptr;
  for (const auto& [slot, pool] : pools_) {
    for (const Anchor& anchor : pool) {
      const AnchorKey key{slot, anchor.content};
      if (key == keep || Contains(leaving, key)) continue;
      if (is_pinned != nullptr && is_pinned(key)) continue;
      if (least != nullptr && !IsLessUsedByByte(anchor, *least)) continue;
      least = &anchor;
      next = key;
    }
  }
  return next;
}

Result<AnchorLedger::Outcome> AnchorLedger::Put(const Deposit& deposit, const IsPinned& is_pinned) {
  Outcome outcome;
  const AnchorKey& key = deposit.key;
  const Anchor* const held = Find(key);
  if (held != nullptr && held->tokens != deposit.tokens) {
    return Fail(InvalidArgument("the content has " + std::to_string(deposit.tokens) +
                                " tokens; its anchor has " + std::to_string(held->tokens)));
  }
  const bool is_there = held != nullptr && held->Has(deposit.reader);
  const bool is_published = profile_ == AnchorProfile::kPublished;
  if (is_there && !is_published) return outcome;

  const Pool* const pool = Find(key.slot);
  const std::size_t size = pool == nullptr ? 0 : pool->size();
  // The published code looks before it inserts, at every deposit, and lets one more in.
  const bool is_full =
      is_published ? size > limits_.slot_anchors : held == nullptr && size >= limits_.slot_anchors;
  if (is_full) {
    const Anchor* const next = NextOfWindow(deposit, is_pinned, outcome.evicted);
    if (next == nullptr) {
      return Fail(Exhausted("the slot has " + std::to_string(size) +
                            " anchors, all of them pinned by plans; the limit is " +
                            std::to_string(limits_.slot_anchors)));
    }
    outcome.evicted.push_back({key.slot, next->content});
  }

  std::uint64_t growth = is_there ? 0 : deposit.offset_bytes;
  if (held == nullptr) growth += deposit.base_bytes;
  if (growth > limits_.bytes) {
    return Fail(Exhausted("the anchor needs " + std::to_string(growth) +
                          " bytes; the limit of all anchors is " + std::to_string(limits_.bytes)));
  }
  std::uint64_t stay = bytes_;
  for (const AnchorKey& leaving : outcome.evicted) stay -= Find(leaving)->bytes;
  while (stay > limits_.bytes - growth) {
    const auto next = NextByBytes(key, is_pinned, outcome.evicted);
    if (!next) {
      return Fail(Exhausted("the anchor needs " + std::to_string(growth) + " bytes beside " +
                            std::to_string(stay) + " that must stay; the limit is " +
                            std::to_string(limits_.bytes)));
    }
    stay -= Find(*next)->bytes;
    outcome.evicted.push_back(*next);
  }

  for (const AnchorKey& leaving : outcome.evicted) Remove(leaving);
  if (is_there) return outcome;
  Pool& slot = pools_[key.slot];
  auto at = std::find_if(slot.begin(), slot.end(),
                         [&](const Anchor& a) { return a.content == key.content; });
  outcome.change = at == slot.end() ? Change::kInserted : Change::kExtended;
  if (at == slot.end()) {
    at = slot.insert(slot.end(), {.content = key.content,
                                  .tokens = deposit.tokens,
                                  .order = next_order_++,
                                  .uses = 0,
                                  .bytes = 0,
                                  .readers = {}});
  }
  at->readers.push_back(deposit.reader);
  at->bytes += growth;
  bytes_ += growth;
  return outcome;
}

void AnchorLedger::CountUse(const AnchorKey& key) {
  const auto pool = pools_.find(key.slot);
  if (pool == pools_.end()) return;
  for (Anchor& anchor : pool->second) {
    if (anchor.content == key.content) ++anchor.uses;
  }
}

bool AnchorLedger::Remove(const AnchorKey& key) {
  const auto pool = pools_.find(key.slot);
  const Anchor* const anchor = Find(key);
  if (anchor == nullptr) return false;
  bytes_ -= anchor->bytes;
  std::erase_if(pool->second, [&](const Anchor& a) { return a.content == key.content; });
  if (pool->second.empty()) pools_.erase(pool);
  return true;
}

}  // namespace kvcommons
