// PlanLease: a prepared plan while a client holds it, and what becomes of the rows it hands back.
//
// Guarantees: pins live as long as this; approximate rows are stored under private keys only, and a
// document's new revision names only rows that are stored (I3); a commit stores all its pieces or
// none. Private rows of a plan that never finished its document are removed with it. Thread safety:
// any thread.

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/plan_maker.h"
#include "daemon/revision.h"
#include "daemon/staging.h"
#include "store/store.h"

namespace kvcommons {

// What a client says it staged: the piece that begins at this token, at this offset.
struct StagedPiece {
  std::uint32_t begin = 0;
  std::uint64_t offset_bytes = 0;
};

struct CommitReport {
  Store::PutOutcome put;
  std::uint64_t revision = 0;  // of the document; 0: not finished, or none named
  std::uint64_t bytes = 0;
};

// Serialises the revisions of one document. Shared by all sessions.
class DocumentLocks {
 public:
  Mutex& Of(const DocumentKey& key) { return locks_[key.bytes[0] % locks_.size()]; }

 private:
  std::array<Mutex, 64> locks_;
};

class PlanLease {
 public:
  PlanLease(Store& store, DocumentLocks& locks, const Clock& clock, PreparedPlan plan);
  ~PlanLease();
  PlanLease(const PlanLease&) = delete;
  PlanLease& operator=(const PlanLease&) = delete;

  const PreparedPlan& plan() const { return plan_; }

  // Refuses what is no piece of the plan, was committed before, comes twice, or does not lie in
  // `staging` (null: none), and everything once finished. May block.
  Result<CommitReport> Commit(std::span<const StagedPiece> staged, const Staging* staging, Ack ack,
                              bool finish) EXCLUDES(mutex_);

 private:
  // The indices of the pieces that `staged` names.
  Result<std::vector<std::size_t>> Check(std::span<const StagedPiece> staged,
                                         std::size_t staging_bytes) const REQUIRES(mutex_);
  Result<std::uint64_t> PutRevision(Ack ack) REQUIRES(mutex_);

  Store& store_;
  DocumentLocks& locks_;
  const Clock& clock_;
  const PreparedPlan plan_;
  // Part of the private keys: two plans from one revision, or a plan of a daemon that was killed
  // meanwhile, must not meet under one key with different rows.
  const std::uint64_t nonce_;
  Mutex mutex_;
  std::vector<bool> is_committed_ GUARDED_BY(mutex_);
  std::vector<CommittedPiece> committed_ GUARDED_BY(mutex_);
  bool finished_ GUARDED_BY(mutex_) = false;
};

}  // namespace kvcommons
