// S3-FIFO: three queues that keep one-time blocks from pushing out those that are read again.
//
// New blocks enter `small` (a tenth of the bytes). What is read at least twice there moves on to
// `main`; the rest leaves, and its hash stays for a while in `ghost`: coming back from there means
// `main` at once. `main` gives every block as many more rounds as it had hits, three at most. (Yang
// et al., SOSP 2023.) Thread safety: none; the caller synchronises.

#pragma once

#include <deque>
#include <unordered_map>

#include "store/eviction.h"

namespace kvcommons {

class S3Fifo final : public EvictionPolicy {
 public:
  void Insert(EvictionNode& node) override;
  void Touch(EvictionNode& node) override;
  void Remove(EvictionNode& node) override;
  EvictionNode* Evict(const MayEvict& may_evict) override;
  void ForEach(const std::function<void(EvictionNode&)>& visit) const override;
  std::size_t size() const override { return small_.count + main_.count; }

 private:
  enum Queue : std::uint8_t { kNone = 0, kSmall = 1, kMain = 2 };
  struct List {
    EvictionNode* newest = nullptr;
    EvictionNode* oldest = nullptr;
    std::size_t count = 0;
    std::uint64_t bytes = 0;
  };

  List& ListOf(const EvictionNode& node) { return node.queue == kSmall ? small_ : main_; }
  void Push(List& list, Queue queue, EvictionNode& node);
  void Unlink(EvictionNode& node);
  EvictionNode* EvictFromSmall(const MayEvict& may_evict);
  EvictionNode* EvictFromMain(const MayEvict& may_evict);
  void RememberGhost(std::uint64_t hash);

  List small_;
  List main_;
  // Oldest first, with a count per hash, since one hash may be remembered more than once.
  std::deque<std::uint64_t> ghosts_;
  std::unordered_map<std::uint64_t, std::uint32_t> ghost_counts_;
};

}  // namespace kvcommons
