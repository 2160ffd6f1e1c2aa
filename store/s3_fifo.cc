#include "store/s3_fifo.h"

#include <algorithm>

#include "base/assert.h"

namespace kvcommons {
namespace {

constexpr std::uint8_t kMaxHits = 3;
constexpr std::uint8_t kHitsToMain = 2;
constexpr std::uint64_t kSmallShare = 10;  // small holds a tenth
constexpr std::size_t kMinGhosts = 16;

}  // namespace

void S3Fifo::Push(List& list, Queue queue, EvictionNode& node) {
  node.queue = queue;
  node.newer = nullptr;
  node.older = list.newest;
  if (list.newest != nullptr) list.newest->newer = &node;
  list.newest = &node;
  if (list.oldest == nullptr) list.oldest = &node;
  ++list.count;
  list.bytes += node.bytes;
}

void S3Fifo::Unlink(EvictionNode& node) {
  KVC_ASSERT(node.queue != kNone);
  List& list = ListOf(node);
  (node.newer != nullptr ? node.newer->older : list.newest) = node.older;
  (node.older != nullptr ? node.older->newer : list.oldest) = node.newer;
  --list.count;
  list.bytes -= node.bytes;
  node.newer = node.older = nullptr;
  node.queue = kNone;
}

void S3Fifo::Insert(EvictionNode& node) {
  KVC_ASSERT(node.queue == kNone);
  node.hits = 0;
  if (ghost_counts_.count(node.hash) > 0) {
    Push(main_, kMain, node);
  } else {
    Push(small_, kSmall, node);
  }
}

void S3Fifo::Touch(EvictionNode& node) {
  node.hits = std::min<std::uint8_t>(static_cast<std::uint8_t>(node.hits + 1), kMaxHits);
}

void S3Fifo::Remove(EvictionNode& node) { Unlink(node); }

EvictionNode* S3Fifo::Evict(const MayEvict& may_evict) {
  const bool small_is_over =
      main_.count == 0 || kSmallShare * small_.bytes >= small_.bytes + main_.bytes;
  if (small_is_over) {
    if (EvictionNode* const node = EvictFromSmall(may_evict)) return node;
    return EvictFromMain(may_evict);
  }
  if (EvictionNode* const node = EvictFromMain(may_evict)) return node;
  return EvictFromSmall(may_evict);
}

EvictionNode* S3Fifo::EvictFromSmall(const MayEvict& may_evict) {
  for (EvictionNode* node = small_.oldest; node != nullptr;) {
    EvictionNode* const next = node->newer;
    if (node->hits >= kHitsToMain) {
      Unlink(*node);
      node->hits = 0;
      Push(main_, kMain, *node);
    } else if (may_evict(*node)) {
      Unlink(*node);
      RememberGhost(node->hash);
      return node;
    }
    node = next;
  }
  return nullptr;
}

EvictionNode* S3Fifo::EvictFromMain(const MayEvict& may_evict) {
  // A block that had hits goes to the young end and is met again in a later round; after kMaxHits
  // rounds nothing has hits left.
  for (int round = 0; round <= kMaxHits; ++round) {
    EvictionNode* node = main_.oldest;
    for (std::size_t left = main_.count; left > 0; --left) {
      EvictionNode* const next = node->newer;
      if (may_evict(*node)) {
        const std::uint8_t hits = node->hits;
        Unlink(*node);
        if (hits == 0) return node;
        node->hits = static_cast<std::uint8_t>(hits - 1);
        Push(main_, kMain, *node);
      }
      node = next;
    }
  }
  return nullptr;
}

void S3Fifo::RememberGhost(std::uint64_t hash) {
  ghosts_.push_back(hash);
  ++ghost_counts_[hash];
  while (ghosts_.size() > std::max(kMinGhosts, size())) {
    const auto oldest = ghost_counts_.find(ghosts_.front());
    if (--oldest->second == 0) ghost_counts_.erase(oldest);
    ghosts_.pop_front();
  }
}

void S3Fifo::ForEach(const std::function<void(EvictionNode&)>& visit) const {
  for (const List* list : {&main_, &small_}) {
    for (EvictionNode* node = list->oldest; node != nullptr; node = node->newer) visit(*node);
  }
}

}  // namespace kvcommons
