// TeamUpload: a content's own rows while a client hands them in.
//
// Guarantee: what ends unfinished leaves no block (I10), and blocks that a kill left of an earlier
// upload are not mixed with this one's. One upload of a content at a time: TeamClaims sees to it.
// Thread safety: any thread; the commit and the end block on the disk.

#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/prompt.h"
#include "daemon/staging.h"
#include "daemon/work_upload.h"
#include "store/store.h"

namespace kvcommons {

struct TeamBase {
  std::shared_ptr<const OpenedModel> model;
  ContentKey content;
  std::vector<TokenId> tokens;
  std::vector<BlockKey> keys;
  Position origin = 0;  // where the first row was computed
};

class TeamUpload {
 public:
  TeamUpload(Store& store, const Clock& clock, TeamBase base);
  ~TeamUpload() = default;
  TeamUpload(const TeamUpload&) = delete;
  TeamUpload& operator=(const TeamUpload&) = delete;

  const TeamBase& base() const { return base_; }

  // How many blocks were stored. Refuses what is no block of the content, comes twice or does not
  // lie in `staging` (null: none), and everything once finished.
  Result<std::uint32_t> Commit(std::span<const StagedBlock> blocks, const Staging* staging, Ack ack,
                               bool finish) EXCLUDES(mutex_);
  // Waits for a commit under way; nothing is stored afterwards. To be called before it goes.
  void Close() EXCLUDES(mutex_);

 private:
  BlockRecord RecordOf(std::uint32_t index) const;
  Status Check(std::span<const StagedBlock> blocks, std::size_t staging_bytes, bool finish) const
      REQUIRES(mutex_);

  Store& store_;
  const Clock& clock_;
  const TeamBase base_;
  Mutex mutex_;
  void RemoveAll() REQUIRES(mutex_);

  std::vector<bool> is_stored_ GUARDED_BY(mutex_);
  bool has_begun_ GUARDED_BY(mutex_) = false;
  bool finished_ GUARDED_BY(mutex_) = false;  // or closed
};

}  // namespace kvcommons
