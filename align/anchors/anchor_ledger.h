// What anchors a tenant has, and which leave when one comes.
//
// An anchor is a content of a slot for which it was measured how far readers' KV lies from the
// content's own. Its bytes lie elsewhere; this ledger knows their lengths, who measured, how
// often each was used, and keeps three bounds: anchors a slot, bytes of the tenant, and never an
// anchor that is pinned by a plan. A deposit that does not fit is refused and nothing changes.
//
// A value: copies are snapshots, equal calls on equal ledgers have equal outcomes. No locks.
// Source: specs: KVCOMM §6, §11 (operation 5), D7, D9, D16; profile R as the published code does.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "align/anchors/share_gate.h"
#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

// A slot of one team.
using SlotKey = Id128<struct SlotKeyTag>;
// An agent with one version of its template: who measured, and for whom it holds.
using ReaderKey = Id128<struct ReaderKeyTag>;

struct AnchorKey {
  SlotKey slot;
  ContentKey content;
  friend bool operator==(const AnchorKey& a, const AnchorKey& b) {
    return a.slot == b.slot && a.content == b.content;
  }
};

struct Anchor {
  ContentKey content;
  std::uint32_t tokens = 0;
  std::uint64_t order = 0;  // of insertion, over all slots
  std::uint64_t uses = 0;   // how often its use counted
  std::uint64_t bytes = 0;
  std::vector<ReaderKey> readers;

  bool Has(const ReaderKey& reader) const;
};

class AnchorLedger {
 public:
  struct Limits {
    std::size_t slot_anchors = 20;
    std::size_t window = 5;  // of the oldest that may leave, from whom the least used leaves
    std::uint64_t bytes = 1u << 26;
  };
  using IsPinned = std::function<bool(const AnchorKey&)>;  // null: none is

  // REQUIRES: both counts of the limits are 1 or more.
  explicit AnchorLedger(Limits limits, AnchorProfile profile = AnchorProfile::kCorrected);

  // Where what is there is more, the next Put() makes room.
  void SetLimitBytes(std::uint64_t bytes) { limits_.bytes = bytes; }

  struct Deposit {
    AnchorKey key;
    std::uint32_t tokens = 0;
    ReaderKey reader;
    std::uint64_t base_bytes = 0;    // of the content's own KV, counted once an anchor
    std::uint64_t offset_bytes = 0;  // of this reader's offsets
  };
  enum class Change : std::uint8_t {
    kInserted,
    kExtended,
    kNone,  // this reader's were there: the first ones stay
  };
  struct Outcome {
    Change change = Change::kNone;
    std::vector<AnchorKey> evicted;  // in the order in which they leave
  };
  // kExhausted: too large, or what would have to leave is pinned. kInvalidArgument: this content
  // was of another length.
  Result<Outcome> Put(const Deposit& deposit, const IsPinned& is_pinned = nullptr);

  // Oldest first. Null: the slot has none.
  const std::vector<Anchor>* Find(const SlotKey& slot) const;
  const Anchor* Find(const AnchorKey& key) const;
  // Those as long as `tokens` that `reader` measured: indices into Find(slot), oldest first.
  std::vector<std::size_t> Eligible(const SlotKey& slot, std::uint32_t tokens,
                                    const ReaderKey& reader) const;
  // Those as long, whoever measured.
  std::vector<std::size_t> LongEnough(const SlotKey& slot, std::uint32_t tokens) const;

  // One more use; nothing where it is gone.
  void CountUse(const AnchorKey& key);
  // False: it was not there.
  bool Remove(const AnchorKey& key);

  std::uint64_t bytes() const { return bytes_; }

 private:
  using Pool = std::vector<Anchor>;  // oldest first

  // The next to leave of the slot's window, or of all slots by uses a byte; none: all that are left
  // are pinned, leaving already, or `keep`.
  const Anchor* NextOfWindow(const Deposit& deposit, const IsPinned& is_pinned,
                             const std::vector<AnchorKey>& leaving) const;
  std::optional<AnchorKey> NextByBytes(const AnchorKey& keep, const IsPinned& is_pinned,
                                       const std::vector<AnchorKey>& leaving) const;

  Limits limits_;
  AnchorProfile profile_;
  std::map<SlotKey, Pool> pools_;
  std::uint64_t next_order_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace kvcommons
