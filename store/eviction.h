// EvictionPolicy: in which order blocks leave memory. One policy is one file with its own test.
//
// A policy orders; it never decides whether a block may leave: the caller says so, block by block,
// when it asks for a victim. So pinned blocks stay in the order and are passed over. Thread safety:
// none; the caller synchronises.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace kvcommons {

// What a policy keeps with a block; intrusive, so that nothing is allocated on a hit.
struct EvictionNode {
  EvictionNode* newer = nullptr;
  EvictionNode* older = nullptr;
  std::uint64_t hash = 0;   // of the key; set before Insert()
  std::uint64_t bytes = 0;  // set before Insert()
  std::uint8_t queue = 0;   // the policy's; 0: in none
  std::uint8_t hits = 0;
};

class EvictionPolicy {
 public:
  using MayEvict = std::function<bool(EvictionNode&)>;

  virtual ~EvictionPolicy() = default;

  // REQUIRES: in no policy. The node must outlive its stay.
  virtual void Insert(EvictionNode& node) = 0;
  virtual void Touch(EvictionNode& node) = 0;
  // Takes it out for another reason than room.
  virtual void Remove(EvictionNode& node) = 0;
  // Takes out and returns the next block to leave among those for which `may_evict` answers true.
  // Null: there is none.
  virtual EvictionNode* Evict(const MayEvict& may_evict) = 0;
  // Visits every node, oldest first; `visit` must not change the policy.
  virtual void ForEach(const std::function<void(EvictionNode&)>& visit) const = 0;
  virtual std::size_t size() const = 0;
};

}  // namespace kvcommons
