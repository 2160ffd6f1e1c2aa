// TeamPool: everything that one tenant's teams learned, in all of its models: means, and anchors
// for teams that keep them.
//
// Guarantees: bytes of both never exceed the tenant's bound together; each makes room among its
// own; and of another tenant nothing is found here (I7); a mean is whole or absent, also after a
// kill (I8): its blocks are stored before the record that names them, and those it replaces go
// afterwards. Reading takes snapshots and no lock is held while rows are read; deposits of a tenant
// go one after the other. Means that blocks were lost of are forgotten. Thread safety: every method
// may be called from any thread; Open, Learn and Forget block on the disk.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "daemon/anchor_pool.h"
#include "daemon/prompt.h"
#include "daemon/team_mean.h"
#include "store/store.h"

namespace kvcommons {

// Offsets of one content that came to a reader's slot.
struct TeamLesson {
  std::shared_ptr<const OpenedModel> model;
  MeanKey key;
  std::string team, agent, slot;
  MeanOf of = MeanOf::kTexts;
  ContentKey content;
  bool of_corrected = false;  // its own rows inherit a correction's error
  std::uint32_t rows = 0;
  // Of block `index` of the content, [plane][row][element], fp32, local. An error ends the lesson,
  // and nothing is learned.
  std::function<Result<std::vector<float>>(std::uint32_t index, std::uint32_t rows)> offsets;
};

class TeamPool {
 public:
  // What an earlier daemon left is found again.
  static std::shared_ptr<TeamPool> Open(Store& store, const DomainId& domain,
                                        std::uint64_t limit_bytes);
  ~TeamPool() = default;
  TeamPool(const TeamPool&) = delete;
  TeamPool& operator=(const TeamPool&) = delete;

  // Null: nothing is known.
  MeanPtr Find(const MeanKey& key) const EXCLUDES(mutex_);
  void CountUse(const MeanKey& key) EXCLUDES(mutex_);
  // A mean of so many rows would come to nothing: it was refused for the bound, or left unused for
  // others that are still there. Where more is learned than fits, means would else make each other
  // leave for ever and correct nobody. One that left gets another chance every kCrowdedCalls calls.
  bool HasNoRoom(const MeanKey& key, std::uint32_t rows, std::uint64_t bytes) EXCLUDES(mutex_);

  enum class Learned : std::uint8_t { kLearned, kKnown };
  // Nothing changes on an error. kExhausted: the mean alone would be over the bound, or the store
  // has no room. kInvalidArgument: offsets are no numbers of their type. kUnsupported: the content
  // is longer than a mean may be.
  Result<Learned> Learn(const TeamLesson& lesson) EXCLUDES(learn_mutex_, mutex_);
  // The same content as an anchor. False: this reader's offsets were there.
  Result<bool> LearnAnchor(const AnchorLesson& lesson) EXCLUDES(learn_mutex_, mutex_);
  void ForgetAnchor(const AnchorRows& rows) EXCLUDES(learn_mutex_, mutex_) {
    MutexLock learn(learn_mutex_);
    anchors_.Forget(rows);
  }
  AnchorPool& anchors() { return anchors_; }
  const AnchorPool& anchors() const { return anchors_; }
  // The snapshot's blocks are gone.
  void Forget(const MeanSnapshot& mean) EXCLUDES(learn_mutex_, mutex_);

  struct Row {
    MeanPtr mean;
    std::uint64_t uses = 0;
  };
  // By team, agent and slot.
  std::vector<Row> List() const EXCLUDES(mutex_);
  // Of that team and model.
  std::vector<Row> List(const Fingerprint& fingerprint, const std::string& team) const
      EXCLUDES(mutex_);
  struct Totals {
    std::uint64_t means = 0, anchors = 0, bytes = 0, anchor_bytes = 0, limit_bytes = 0, evicted = 0;
  };
  Totals GetTotals() const EXCLUDES(mutex_);

 private:
  static constexpr std::size_t kMaxTooLong = 4096;
  static constexpr std::size_t kMaxCrowded = 4096;
  static constexpr std::uint32_t kCrowdedCalls = 16;

  struct Entry {
    MeanPtr mean;
    std::uint64_t uses = 0;
    std::uint64_t order = 0;  // of the first deposit
    bool was_used = false;
  };

  TeamPool(Store& store, const DomainId& domain, std::uint64_t limit_bytes)
      : store_(store), domain_(domain), limit_bytes_(limit_bytes), anchors_(store, domain) {}

  void Load() EXCLUDES(mutex_);
  // kExhausted: it alone is over the bound, which is remembered.
  Status CheckBytes(const MeanSnapshot& next) EXCLUDES(mutex_);
  // Takes out what must go for it to fit, least used for its bytes first.
  std::vector<MeanPtr> MakeRoom(const MeanSnapshot& next) EXCLUDES(mutex_);
  // Rows of the next snapshot, in blocks for the store.
  Result<std::vector<Store::PutItem>> Mix(const TeamLesson& lesson, const MeanPtr& before,
                                          MeanSnapshot& next);
  void RemoveBlocks(const std::vector<BlockKey>& keys);
  // Keys that a kill may leave without a record: what is to be stored, and what it replaces. Load
  // removes those that no record names.
  Status NoteIntent(const std::vector<BlockKey>& keys) REQUIRES(learn_mutex_);
  void ClearIntent() REQUIRES(learn_mutex_);
  void CarryOutIntent() REQUIRES(learn_mutex_) EXCLUDES(mutex_);
  void Erase(const MeanSnapshot& mean) REQUIRES(learn_mutex_) EXCLUDES(mutex_);
  void Drop(const MeanSnapshot& mean) REQUIRES(learn_mutex_) EXCLUDES(mutex_);

  Store& store_;
  const DomainId domain_;
  const std::uint64_t limit_bytes_;
  AnchorPool anchors_;
  Mutex learn_mutex_;  // held across the disk: before mutex_, never while it is held
  mutable Mutex mutex_;
  std::map<MeanKey, Entry> means_ GUARDED_BY(mutex_);
  std::map<MeanKey, std::uint32_t> too_long_ GUARDED_BY(mutex_);  // rows; at most kMaxTooLong
  std::map<MeanKey, std::uint32_t> crowded_ GUARDED_BY(mutex_);   // calls to wait; kMaxCrowded
  std::uint64_t bytes_ GUARDED_BY(mutex_) = 0;
  std::uint64_t evicted_ GUARDED_BY(mutex_) = 0;
  std::uint64_t next_order_ GUARDED_BY(mutex_) = 0;
};

// The pools of all tenants, opened at first use.
class TeamPools {
 public:
  TeamPools(Store& store, std::uint64_t limit_bytes) : store_(store), limit_bytes_(limit_bytes) {}

  // Blocks on the disk the first time.
  std::shared_ptr<TeamPool> Open(const DomainId& domain) EXCLUDES(mutex_);

 private:
  struct Slot {
    Mutex mutex;  // held across the disk: a pool is read once
    std::shared_ptr<TeamPool> pool GUARDED_BY(mutex);
  };

  Store& store_;
  const std::uint64_t limit_bytes_;  // of each tenant
  Mutex mutex_;
  std::map<DomainId, std::shared_ptr<Slot>> pools_ GUARDED_BY(mutex_);
};

}  // namespace kvcommons
