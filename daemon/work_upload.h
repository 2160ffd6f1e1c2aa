// WorkUpload: one claimed preparation while a client holds it, and the blocks it hands in.
//
// Guarantee: the variant is ready when all of its blocks are stored, and until then nothing of it
// is found; work that ends unfinished leaves no block and gives its claim back (I10). A document
// that was removed or replaced meanwhile gets nothing. Thread safety: any thread; both the commit
// and the end block on the disk.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/library.h"
#include "daemon/staging.h"
#include "store/store.h"

namespace kvcommons {

// Block `index` of the chunk, staged at that offset.
struct StagedBlock {
  std::uint32_t index = 0;
  std::uint64_t offset_bytes = 0;
};

struct WorkCommit {
  std::vector<StagedBlock> blocks;
  Ack ack = Ack::kHeld;
  bool finish = false;
  std::uint64_t prepare_us = 0;  // with `finish`
  std::uint32_t loadings_version = 0;
  std::uint32_t loadings_rank = 0;  // 0: none
};

class WorkUpload {
 public:
  WorkUpload(Store& store, const Clock& clock, std::shared_ptr<Library> library, LibraryWork work);
  ~WorkUpload();
  WorkUpload(const WorkUpload&) = delete;
  WorkUpload& operator=(const WorkUpload&) = delete;

  const LibraryWork& work() const { return work_; }

  // How many blocks were stored. Refuses what is no block of the chunk, comes twice or does not lie
  // in `staging` (null: none), other loadings than the first call's, and everything once finished.
  Result<std::uint32_t> Commit(const WorkCommit& commit, const Staging* staging) EXCLUDES(mutex_);

 private:
  std::size_t RowsOf(std::uint32_t index) const;
  Status Check(const WorkCommit& commit, std::size_t staging_bytes) const REQUIRES(mutex_);
  Status CheckLoadings(const WorkCommit& commit) const REQUIRES(mutex_);
  BlockRecord RecordOf(std::uint32_t index, const WorkCommit& commit) const;
  Status StoreAndFinish(const std::vector<Store::PutItem>& items, const WorkCommit& commit)
      REQUIRES(mutex_);
  void RemoveAll() REQUIRES(mutex_);

  Store& store_;
  const Clock& clock_;
  const std::shared_ptr<Library> library_;
  LibraryWork work_;
  Mutex mutex_;
  std::vector<bool> is_stored_ GUARDED_BY(mutex_);
  bool has_begun_ GUARDED_BY(mutex_) = false;
  std::uint32_t loadings_rank_ GUARDED_BY(mutex_) = 0;
  bool finished_ GUARDED_BY(mutex_) = false;
};

}  // namespace kvcommons
