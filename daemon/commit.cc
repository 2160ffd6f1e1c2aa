#include "daemon/commit.h"

#include <sodium.h>

#include <algorithm>

#include "base/assert.h"
#include "daemon/wire.h"

namespace kvcommons {
namespace {

std::uint64_t RandomNonce() {
  std::uint64_t nonce = 0;
  randombytes_buf(&nonce, sizeof nonce);
  return nonce;
}

}  // namespace

PlanLease::PlanLease(Store& store, DocumentLocks& locks, const Clock& clock, PreparedPlan plan)
    : store_(store),
      locks_(locks),
      clock_(clock),
      plan_(std::move(plan)),
      nonce_(RandomNonce()),
      is_committed_(plan_.pieces.size()) {}

PlanLease::~PlanLease() {
  if (finished_) return;
  for (const CommittedPiece& piece : committed_) {
    if (piece.piece.storage_class != StorageClass::kRevision) continue;
    static_cast<void>(store_.Remove(plan_.model->tenant.domain, piece.key));
  }
}

Result<std::vector<std::size_t>> PlanLease::Check(std::span<const StagedPiece> staged,
                                                  std::size_t staging_bytes) const {
  if (finished_) return Fail(InvalidArgument("the plan is finished; make another one"));
  if (staged.size() > plan_.pieces.size()) {
    return Fail(OutOfRange("pieces' length", staged.size(), 0, plan_.pieces.size()));
  }
  std::vector<std::size_t> indices;
  std::vector<bool> claimed = is_committed_;
  for (const StagedPiece& claim : staged) {
    const auto at = std::lower_bound(plan_.pieces.begin(), plan_.pieces.end(), claim.begin,
                                     [](const WantedPiece& piece, std::uint32_t begin) {
                                       return static_cast<std::uint32_t>(piece.begin) < begin;
                                     });
    const std::string name = "piece at " + std::to_string(claim.begin);
    if (at == plan_.pieces.end() || static_cast<std::uint32_t>(at->begin) != claim.begin) {
      return Fail(InvalidArgument(name + " is none that the plan asked for"));
    }
    const auto index = static_cast<std::size_t>(at - plan_.pieces.begin());
    if (claimed[index]) return Fail(InvalidArgument(name + " was committed before"));
    claimed[index] = true;
    const std::uint64_t bytes =
        plan_.model->planes.BlockBytes(static_cast<std::size_t>(at->end - at->begin));
    if (bytes > staging_bytes || claim.offset_bytes > staging_bytes - bytes) {
      return Fail(InvalidArgument(name + " has offset " + std::to_string(claim.offset_bytes) +
                                  " and " + std::to_string(bytes) + " bytes; staging has " +
                                  std::to_string(staging_bytes)));
    }
    indices.push_back(index);
  }
  return indices;
}

Result<CommitReport> PlanLease::Commit(std::span<const StagedPiece> staged, const Staging* staging,
                                       Ack ack, bool finish) {
  const OpenedModel& model = *plan_.model;
  MutexLock lock(mutex_);
  const auto indices = Check(staged, staging == nullptr ? 0 : staging->bytes().size());
  if (!indices) return Fail(indices.error());
  CommitReport report;
  std::vector<Store::PutItem> items;
  std::vector<CommittedPiece> pieces;
  items.reserve(staged.size());
  for (std::size_t i = 0; i < staged.size(); ++i) {
    const std::size_t index = (*indices)[i];
    const WantedPiece& piece = plan_.pieces[index];
    Store::PutItem item;
    BlockRecord& record = item.record;
    const auto begin = plan_.request.tokens.begin() + piece.begin;
    record.tokens.assign(begin, begin + (piece.end - piece.begin));
    record.key =
        piece.storage_class == StorageClass::kExact
            ? piece.chain_key
            : model.hasher.RevisionKey(plan_.document, nonce_, static_cast<std::uint32_t>(index));
    record.content_key = model.hasher.ContentKeyOf(record.tokens);
    record.fingerprint = model.fingerprint;
    record.domain = model.tenant.domain;
    record.storage_class = piece.storage_class;
    record.origin = piece.begin;
    record.planes = model.planes;
    record.producer_uid = model.tenant.uid;
    record.created_us = clock_.WallUs();
    item.planes = staging->bytes().data() + staged[i].offset_bytes;
    report.bytes += record.block_bytes();
    pieces.push_back({piece, record.key});
    items.push_back(std::move(item));
  }
  if (!items.empty()) {
    auto put = store_.Put(model.tenant.domain, items, ack);
    if (!put) return Fail(put.error());
    report.put = *put;
    for (const std::size_t index : *indices) is_committed_[index] = true;
    committed_.insert(committed_.end(), pieces.begin(), pieces.end());
  }
  if (finish) {
    if (!plan_.request.document.empty()) {
      auto revision = PutRevision(ack);
      if (!revision) return Fail(revision.error());
      report.revision = *revision;
    }
    finished_ = true;
  }
  return report;
}

Result<std::uint64_t> PlanLease::PutRevision(Ack ack) {
  const OpenedModel& model = *plan_.model;
  const DomainId& domain = model.tenant.domain;
  const auto is_stored = [&](const BlockKey& key) { return store_.Contains(domain, key); };
  DocumentRevision revision;
  revision.document = plan_.document;
  revision.name = plan_.request.document;
  revision.domain = domain;
  revision.fingerprint = model.fingerprint;
  revision.tokens.assign(plan_.request.tokens.begin(),
                         plan_.request.tokens.begin() + plan_.request.store_tokens);
  revision.segments = SegmentsOf(plan_, committed_, is_stored);
  revision.created_us = clock_.WallUs();

  MutexLock lock(locks_.Of(plan_.document));
  // Another plan may have finished since this one was made: the last writer wins.
  const auto before = store_.GetDocument(domain, plan_.document);
  revision.revision = before ? before->revision + 1 : 1;
  KVC_FAIL_IF_ERROR(store_.PutDocument(revision, ack));
  // A revision that is held only must not cost the durable one before it its rows.
  if (before && ack == Ack::kDurable) {
    for (const BlockKey& key : Superseded(before->segments, revision.segments)) {
      const auto pin = store_.PinIfInMemory(domain, key);
      if (pin && pin->record().storage_class == StorageClass::kRevision) {
        static_cast<void>(store_.Remove(domain, key));
      }
    }
  }
  return revision.revision;
}

}  // namespace kvcommons
