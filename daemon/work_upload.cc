#include "daemon/work_upload.h"

#include <algorithm>
#include <string>
#include <utility>

#include "daemon/wire.h"

namespace kvcommons {

WorkUpload::WorkUpload(Store& store, const Clock& clock, std::shared_ptr<Library> library,
                       LibraryWork work)
    : store_(store),
      clock_(clock),
      library_(std::move(library)),
      work_(std::move(work)),
      is_stored_(work_.keys.size()) {}

WorkUpload::~WorkUpload() {
  MutexLock lock(mutex_);
  if (!finished_ && has_begun_) RemoveAll();
  library_->Release(work_, finished_);  // Only now: the next to claim it must not meet our blocks.
}

void WorkUpload::RemoveAll() {
  for (const BlockKey& key : work_.keys) {
    static_cast<void>(store_.Remove(library_->model().tenant.domain, key));
  }
}

std::size_t WorkUpload::RowsOf(std::uint32_t index) const {
  const std::size_t block_tokens = library_->model().profile.block_tokens;
  return std::min(block_tokens, work_.tokens.size() - index * block_tokens);
}

BlockRecord WorkUpload::RecordOf(std::uint32_t index, const WorkCommit& commit) const {
  const OpenedModel& model = library_->model();
  BlockRecord record;
  const std::size_t begin = std::size_t{index} * model.profile.block_tokens;
  const auto first = work_.tokens.begin() + static_cast<std::ptrdiff_t>(begin);
  record.tokens.assign(first, first + static_cast<std::ptrdiff_t>(RowsOf(index)));
  record.key = work_.keys[index];
  record.content_key = model.hasher.ContentKeyOf(record.tokens);
  record.fingerprint = model.fingerprint;
  record.domain = model.tenant.domain;
  record.storage_class = StorageClass::kCanonical;
  record.origin = static_cast<Position>(begin);
  record.planes = model.planes;
  record.producer_uid = model.tenant.uid;
  record.created_us = clock_.WallUs();
  if (commit.loadings_rank > 0) {
    record.loadings_version = commit.loadings_version;
    record.loadings_rank = commit.loadings_rank;
    record.loadings_bytes = static_cast<std::uint32_t>(record.loadings().Bytes());
  }
  return record;
}

Status WorkUpload::CheckLoadings(const WorkCommit& commit) const {
  if (commit.loadings_rank > kMaxLoadingsRank) {
    return OutOfRange("loadingsRank", commit.loadings_rank, 0, kMaxLoadingsRank);
  }
  if (commit.loadings_rank > 0 && commit.loadings_version != kLoadingsVersion) {
    return Unsupported("loadingsVersion is " + std::to_string(commit.loadings_version) +
                       "; this daemon stores " + std::to_string(kLoadingsVersion));
  }
  if (has_begun_ && commit.loadings_rank != loadings_rank_) {
    return InvalidArgument("loadingsRank is " + std::to_string(commit.loadings_rank) +
                           "; the blocks before have " + std::to_string(loadings_rank_));
  }
  return Status();
}

Status WorkUpload::Check(const WorkCommit& commit, std::size_t staging_bytes) const {
  if (finished_) return InvalidArgument("the work is finished; ask for the next");
  KVC_RETURN_IF_ERROR(CheckLoadings(commit));
  std::vector<bool> claimed = is_stored_;
  for (const StagedBlock& block : commit.blocks) {
    if (block.index >= claimed.size()) {
      return OutOfRange("block's index", block.index, 0, claimed.size() - 1);
    }
    const std::string name = "block " + std::to_string(block.index);
    if (claimed[block.index]) return InvalidArgument(name + " was committed before");
    claimed[block.index] = true;
    const std::uint64_t bytes = RecordOf(block.index, commit).block_bytes();
    if (bytes > staging_bytes || block.offset_bytes > staging_bytes - bytes) {
      return InvalidArgument(name + " has offset " + std::to_string(block.offset_bytes) + " and " +
                             std::to_string(bytes) + " bytes; staging has " +
                             std::to_string(staging_bytes));
    }
  }
  const auto count = std::count(claimed.begin(), claimed.end(), true);
  if (!commit.finish || static_cast<std::size_t>(count) == claimed.size()) return Status();
  return InvalidArgument("finish with " + std::to_string(count) + " blocks; the document has " +
                         std::to_string(claimed.size()));
}

Status WorkUpload::StoreAndFinish(const std::vector<Store::PutItem>& items,
                                  const WorkCommit& commit) {
  if (!items.empty()) {
    const auto put = store_.Put(library_->model().tenant.domain, items, commit.ack);
    if (!put) return put.error();
  }
  // Once more: it may have gone while the blocks were copied.
  return commit.finish ? library_->Finish(work_) : library_->CheckCurrent(work_);
}

Result<std::uint32_t> WorkUpload::Commit(const WorkCommit& commit, const Staging* staging) {
  MutexLock lock(mutex_);
  KVC_FAIL_IF_ERROR(Check(commit, staging == nullptr ? 0 : staging->bytes().size()));
  std::vector<Store::PutItem> items;
  for (const StagedBlock& block : commit.blocks) {
    items.push_back({RecordOf(block.index, commit), staging->bytes().data() + block.offset_bytes});
  }
  KVC_FAIL_IF_ERROR(library_->CheckCurrent(work_));
  // Rows of a preparation that a kill cut short would mix with ours: their loadings are others.
  if (!has_begun_) RemoveAll();
  has_begun_ = true;
  loadings_rank_ = commit.loadings_rank;
  work_.variant.prepare_us = commit.prepare_us;
  const Status status = StoreAndFinish(items, commit);
  if (!status.ok()) {
    // All or none: what failed can be handed in again from the beginning.
    RemoveAll();
    has_begun_ = false;
    is_stored_.assign(is_stored_.size(), false);
    return Fail(status);
  }
  for (const StagedBlock& block : commit.blocks) is_stored_[block.index] = true;
  finished_ = commit.finish;
  return static_cast<std::uint32_t>(items.size());
}

}  // namespace kvcommons
