#include "daemon/team_upload.h"

#include <algorithm>
#include <string>
#include <utility>

#include "daemon/wire.h"

namespace kvcommons {

TeamUpload::TeamUpload(Store& store, const Clock& clock, TeamBase base)
    : store_(store), clock_(clock), base_(std::move(base)), is_stored_(base_.keys.size()) {}

void TeamUpload::RemoveAll() {
  for (const BlockKey& key : base_.keys) {
    static_cast<void>(store_.Remove(base_.model->tenant.domain, key));
  }
}

void TeamUpload::Close() {
  MutexLock lock(mutex_);
  if (!finished_ && has_begun_) RemoveAll();
  finished_ = true;
}

BlockRecord TeamUpload::RecordOf(std::uint32_t index) const {
  const OpenedModel& model = *base_.model;
  const std::size_t begin = std::size_t{index} * model.profile.block_tokens;
  const std::size_t end =
      std::min<std::size_t>(begin + model.profile.block_tokens, base_.tokens.size());
  BlockRecord record;
  record.tokens.assign(base_.tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                       base_.tokens.begin() + static_cast<std::ptrdiff_t>(end));
  record.key = base_.keys[index];
  record.content_key = model.hasher.ContentKeyOf(record.tokens);
  record.fingerprint = model.fingerprint;
  record.domain = model.tenant.domain;
  record.storage_class = StorageClass::kTeam;
  record.origin = base_.origin + static_cast<Position>(begin);
  record.planes = model.planes;
  record.producer_uid = model.tenant.uid;
  record.created_us = clock_.WallUs();
  return record;
}

Status TeamUpload::Check(std::span<const StagedBlock> blocks, std::size_t staging_bytes,
                         bool finish) const {
  if (finished_) return InvalidArgument("the content is finished; put the next");
  std::vector<bool> claimed = is_stored_;
  for (const StagedBlock& block : blocks) {
    if (block.index >= claimed.size()) {
      return OutOfRange("block's index", block.index, 0, claimed.size() - 1);
    }
    const std::string name = "block " + std::to_string(block.index);
    if (claimed[block.index]) return InvalidArgument(name + " was committed before");
    claimed[block.index] = true;
    const std::uint64_t bytes = RecordOf(block.index).block_bytes();
    if (bytes > staging_bytes || block.offset_bytes > staging_bytes - bytes) {
      return InvalidArgument(name + " has offset " + std::to_string(block.offset_bytes) + " and " +
                             std::to_string(bytes) + " bytes; staging has " +
                             std::to_string(staging_bytes));
    }
  }
  const auto count = std::count(claimed.begin(), claimed.end(), true);
  if (!finish || static_cast<std::size_t>(count) == claimed.size()) return Status();
  return InvalidArgument("finish with " + std::to_string(count) + " blocks; the content has " +
                         std::to_string(claimed.size()));
}

Result<std::uint32_t> TeamUpload::Commit(std::span<const StagedBlock> blocks,
                                         const Staging* staging, Ack ack, bool finish) {
  MutexLock lock(mutex_);
  KVC_FAIL_IF_ERROR(Check(blocks, staging == nullptr ? 0 : staging->bytes().size(), finish));
  std::vector<Store::PutItem> items;
  for (const StagedBlock& block : blocks) {
    Store::PutItem& item = items.emplace_back();
    item.record = RecordOf(block.index);
    item.planes = staging->bytes().data() + block.offset_bytes;
  }
  if (!has_begun_) RemoveAll();
  has_begun_ = true;
  if (!items.empty()) {
    const auto put = store_.Put(base_.model->tenant.domain, items, ack);
    if (!put) return Fail(put.error());
  }
  for (const StagedBlock& block : blocks) is_stored_[block.index] = true;
  finished_ = finish;
  return static_cast<std::uint32_t>(items.size());
}

}  // namespace kvcommons
