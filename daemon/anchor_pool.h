// AnchorPool: contents of a tenant's teams that are kept one by one, with the offsets that each
// reader measured on them: what KVCOMM's profile C blends by nearness.
//
// An anchor is a content's own rows in the local frame, so that no anchor is turned when it is
// used, and the offsets of every reader that computed a prompt with it. Which stay decides
// AnchorLedger. Guarantees as TeamPool's: bounded bytes, whole or absent after a kill (an anchor is
// what its notes name), nothing of another tenant. Thread safety: every method may be called from
// any thread; Load and Learn block on the disk and are not to be called by two threads at once.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "align/anchors/anchor_ledger.h"
#include "base/mutex.h"
#include "base/status.h"
#include "daemon/prompt.h"
#include "store/store.h"

namespace kvcommons {

struct AnchorRows {
  SlotKey slot;
  ContentKey content;
  std::uint32_t tokens = 0;
  std::uint64_t order = 0;
  std::vector<BlockKey> base;                          // local, of the model's type
  std::map<ReaderKey, std::vector<BlockKey>> offsets;  // of OffsetTypeOf the model's type
};
using AnchorPtr = std::shared_ptr<const AnchorRows>;

// Rows of block `index` of a content, `rows` of them, written to their place in the store.
using BlockFill =
    std::function<void(std::uint32_t index, std::uint32_t rows, std::byte* destination)>;

struct AnchorLesson {
  std::shared_ptr<const OpenedModel> model;
  SlotKey slot;
  ContentKey content;
  ReaderKey reader;
  std::vector<TokenId> tokens;
  BlockFill base;     // local
  BlockFill offsets;  // in their type
};

class AnchorPool {
 public:
  static constexpr std::size_t kSlotAnchors = 20;  // V of the paper
  static constexpr std::size_t kMaxRefused = 4096;
  static constexpr std::uint32_t kRefusedCalls = 16;

  AnchorPool(Store& store, const DomainId& domain) : store_(store), domain_(domain) {}
  ~AnchorPool() = default;
  AnchorPool(const AnchorPool&) = delete;
  AnchorPool& operator=(const AnchorPool&) = delete;

  // What an earlier daemon left; what is not whole is removed.
  void Load(std::uint64_t limit_bytes) EXCLUDES(mutex_);

  struct Found {
    std::size_t anchors = 0;      // of the slot
    std::vector<AnchorPtr> rows;  // as long as asked for, that the reader measured; oldest first
  };
  Found Find(const SlotKey& slot, std::uint32_t tokens, const ReaderKey& reader) const
      EXCLUDES(mutex_);
  void CountUse(const SlotKey& slot, const ContentKey& content) EXCLUDES(mutex_);
  // An anchor of so many tokens was refused for the bound. Every kRefusedCalls calls it may be
  // tried again: how much room means leave changes.
  bool HasNoRoom(const SlotKey& slot, std::uint32_t tokens) EXCLUDES(mutex_);
  // False: the reader's offsets were there. kExhausted: over `limit_bytes`, or the store has no
  // room; nothing changed.
  // `intent` notes keys that a kill may leave without a record; none: they are all named or gone.
  using Intent = std::function<Status(const std::vector<BlockKey>&)>;
  Result<bool> Learn(const AnchorLesson& lesson, std::uint64_t limit_bytes, const Intent& intent)
      EXCLUDES(mutex_);
  // Of all of its blocks.
  void AddKeys(std::set<BlockKey>* keys) const EXCLUDES(mutex_);
  // Its blocks are gone.
  void Forget(const AnchorRows& rows) EXCLUDES(mutex_);

  struct Row {
    AnchorPtr rows;
    std::uint64_t bytes = 0, uses = 0;
  };
  // By slot, the oldest first.
  std::vector<Row> List() const EXCLUDES(mutex_);
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t count() const EXCLUDES(mutex_);

 private:
  using Key = std::pair<SlotKey, ContentKey>;

  std::vector<Store::PutItem> ItemsOf(const AnchorLesson& lesson, const BlockFill& fill,
                                      std::vector<BlockKey>* keys) const;
  void Take(const std::vector<AnchorKey>& evicted, std::vector<AnchorPtr>* gone) REQUIRES(mutex_);
  Status Write(const AnchorRows& rows, const ReaderKey& reader, bool with_base);
  void Remove(const AnchorRows& rows);

  Store& store_;
  const DomainId domain_;
  mutable Mutex mutex_;
  AnchorLedger ledger_ GUARDED_BY(mutex_){{.slot_anchors = kSlotAnchors}};
  std::map<Key, AnchorPtr> rows_ GUARDED_BY(mutex_);
  struct Refused {
    std::uint32_t tokens = 0, calls = 0;
  };
  std::map<SlotKey, Refused> refused_ GUARDED_BY(mutex_);  // at most kMaxRefused
  std::uint64_t next_order_ GUARDED_BY(mutex_) = 0;
  std::atomic<std::uint64_t> bytes_{0};
};

}  // namespace kvcommons
