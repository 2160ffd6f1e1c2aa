// Documents and domain secrets: small values, kept on disk where there is one.
//
// A document that is only held waits in pending_documents_ for the background writer; its newest
// revision hides older ones on disk. On disk, a document is busy under its own key like a block, so
// a late write cannot undo a removal.

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>

#include "base/assert.h"
#include "store/store_impl.h"

namespace kvcommons {
namespace {

// Documents in memory, tokens and segments counted.
constexpr std::uint64_t kMaxPendingBytes = 256ull << 20;

std::uint64_t BytesOf(const DocumentRevision& revision) {
  return sizeof revision + revision.name.size() + revision.tokens.size() * sizeof(TokenId) +
         revision.segments.size() * sizeof(DocumentSegment);
}

// What a document is busy under. Document keys and block keys are both hash output: they never
// meet.
BlockKey BusyKey(const DocumentKey& document) {
  BlockKey key;
  key.bytes = document.bytes;
  return key;
}

std::vector<BlockKey> BlocksOf(const DocumentRevision& revision) {
  std::vector<BlockKey> keys;
  for (const DocumentSegment& segment : revision.segments) keys.push_back(segment.block);
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace

Result<DomainSecret> StoreImpl::SecretOf(const DomainId& domain) {
  MutexLock lock(secret_mutex_);
  if (const auto found = secrets_.find(domain); found != secrets_.end()) return found->second;
  DomainSecret secret;
  const std::string name = "secret/" + domain.ToHex();
  const std::optional<std::string> stored = disk_ == nullptr ? std::nullopt : disk_->GetMeta(name);
  if (stored.has_value()) {
    if (stored->size() != secret.size()) {
      return Fail(Corrupted(name + " is " + std::to_string(stored->size()) +
                            " bytes long; a secret has " + std::to_string(secret.size())));
    }
    std::memcpy(secret.data(), stored->data(), secret.size());
  } else {
    if (sodium_init() < 0) return Fail(Internal("libsodium found no source of randomness"));
    randombytes_buf(secret.data(), secret.size());
    if (disk_ != nullptr) {
      KVC_FAIL_IF_ERROR(disk_->PutMeta(
          name, std::string_view(reinterpret_cast<const char*>(secret.data()), secret.size())));
    }
  }
  secrets_.emplace(domain, secret);
  return secret;
}

Status StoreImpl::PutDocument(const DocumentRevision& revision, Ack ack) {
  KVC_RETURN_IF_ERROR(CheckDocument(revision));
  if (ack == Ack::kDurable && disk_ == nullptr) {
    return Unavailable("durable document: this store has no disk");
  }
  const std::optional<DocumentRevision> before = GetDocument(revision.domain, revision.document);
  const std::uint64_t bytes = BytesOf(revision);
  const DocumentId id(revision.domain, revision.document);
  const auto copy = std::make_shared<const DocumentRevision>(revision);
  bool durable = ack == Ack::kDurable;
  if (!durable) {
    MutexLock lock(mutex_);
    if (pending_document_bytes_ + bytes <= kMaxPendingBytes) {
      DocumentPtr& pending = pending_documents_[id];
      if (pending != nullptr) pending_document_bytes_ -= BytesOf(*pending);
      pending = copy;
      pending_document_bytes_ += bytes;
      if (disk_ != nullptr) {
        document_queue_.push_back(id);
        writer_work_.NotifyOne();
      }
    } else if (disk_ == nullptr) {
      // What other domains hold is not told (I7).
      return Exhausted("no room in memory for a document of " + std::to_string(bytes) +
                       " bytes; the limit of all domains is " + std::to_string(kMaxPendingBytes));
    } else {
      durable = true;
    }
  }
  if (durable) KVC_RETURN_IF_ERROR(WriteDocument(id, copy));
  if (before.has_value()) RemoveSuperseded(revision, *before);
  return {};
}

Status StoreImpl::WriteDocument(const DocumentId& id, DocumentPtr document) {
  const std::array<BlockKey, 1> busy{BusyKey(id.second)};
  {
    MutexLock lock(mutex_);
    AcquireKeys(busy);
    // Looked up only now: what was pending before may have been removed or replaced.
    const auto pending = pending_documents_.find(id);
    if (document == nullptr && pending != pending_documents_.end()) document = pending->second;
  }
  const Status status = document == nullptr ? Status() : disk_->PutDocument(*document);
  if (document != nullptr && status.ok()) {
    MutexLock lock(mutex_);
    const auto pending = pending_documents_.find(id);
    if (pending != pending_documents_.end() && pending->second->revision <= document->revision) {
      pending_document_bytes_ -= BytesOf(*pending->second);
      pending_documents_.erase(pending);
    }
  }
  ReleaseKeys(busy);
  return status;
}

void StoreImpl::RemoveSuperseded(const DocumentRevision& revision, const DocumentRevision& before) {
  const std::vector<BlockKey> kept = BlocksOf(revision);
  std::vector<BlockKey> gone;
  for (const BlockKey& key : BlocksOf(before)) {
    if (!std::binary_search(kept.begin(), kept.end(), key)) gone.push_back(key);
  }
  DomainSlot slot = 0;
  {
    MutexLock lock(mutex_);
    slot = FindSlot(revision.domain);
  }
  // A failure leaves blocks that nothing names; they go when room is needed.
  if (slot != 0 && !gone.empty())
    static_cast<void>(RemoveBlocks(slot, std::move(gone), StorageClass::kRevision));
}

std::optional<DocumentRevision> StoreImpl::GetDocument(const DomainId& domain,
                                                       const DocumentKey& document) const {
  DocumentPtr pending;
  {
    MutexLock lock(mutex_);
    const auto found = pending_documents_.find({domain, document});
    if (found != pending_documents_.end()) pending = found->second;
  }
  if (pending != nullptr) return *pending;
  return disk_ == nullptr ? std::nullopt : disk_->GetDocument(domain, document);
}

Result<bool> StoreImpl::RemoveDocument(const DomainId& domain, const DocumentKey& document) {
  const std::optional<DocumentRevision> found = GetDocument(domain, document);
  if (!found.has_value()) return false;
  const std::array<BlockKey, 1> busy{BusyKey(document)};
  {
    MutexLock lock(mutex_);
    AcquireKeys(busy);
  }
  const Status removed = disk_ == nullptr ? Status() : disk_->RemoveDocument(domain, document);
  DomainSlot slot = 0;
  {
    MutexLock lock(mutex_);
    const auto pending = pending_documents_.find({domain, document});
    if (removed.ok() && pending != pending_documents_.end()) {
      pending_document_bytes_ -= BytesOf(*pending->second);
      pending_documents_.erase(pending);
    }
    slot = FindSlot(domain);
  }
  ReleaseKeys(busy);
  KVC_FAIL_IF_ERROR(removed);
  if (slot != 0) {
    const Result<std::size_t> blocks =
        RemoveBlocks(slot, BlocksOf(*found), StorageClass::kRevision);
    if (!blocks.has_value()) return Fail(blocks.error());
  }
  return true;
}

std::vector<DocumentSummary> StoreImpl::ListDocuments(const DomainId& domain) const {
  std::map<DocumentKey, DocumentSummary> all;
  // Held ones first: one that reaches the disk in between is in both lists, not in neither.
  {
    MutexLock lock(mutex_);
    for (const auto& [id, revision] : pending_documents_) {
      if (id.first == domain) all[id.second] = Summarize(*revision);
    }
  }
  if (disk_ != nullptr) {
    for (DocumentSummary& summary : disk_->ListDocuments(domain)) {
      const auto held = all.find(summary.document);
      if (held != all.end() && held->second.revision >= summary.revision) continue;
      all[summary.document] = std::move(summary);
    }
  }
  std::vector<DocumentSummary> list;
  for (auto& [key, summary] : all) list.push_back(std::move(summary));
  return list;
}

}  // namespace kvcommons
