// Library documents: records on disk where there is one, else in memory, and the canonical blocks
// that follow from them.
//
// Two documents of equal text share their blocks, so a block leaves with the last of them. What a
// domain has is known from a catalogue, read at first use. A put that was interrupted by a crash
// leaves a record or none; blocks that no record follows to go when room is needed.

#include <algorithm>
#include <string>
#include <utility>

#include "store/store_impl.h"

namespace kvcommons {

StoreImpl::LibraryCatalogue& StoreImpl::CatalogueOf(const DomainId& domain) {
  const auto [at, is_new] = library_catalogues_.try_emplace(domain);
  if (!is_new || disk_ == nullptr) return at->second;
  for (const LibraryDocument& document : disk_->ListLibraryDocuments(domain)) {
    const auto hasher = LibraryHasher(document);
    if (!hasher.has_value()) continue;
    const ContentKey content = hasher->ContentKeyOf(document.tokens);
    at->second.contents.emplace(document.document, content);
    ++at->second.uses[content];
  }
  return at->second;
}

Result<ChainHasher> StoreImpl::LibraryHasher(const LibraryDocument& document) {
  const Result<DomainSecret> secret = SecretOf(document.domain);
  if (!secret.has_value()) return Fail(secret.error());
  return ChainHasher(*secret, document.fingerprint);
}

std::optional<LibraryDocument> StoreImpl::ReadLibraryDocument(const DomainId& domain,
                                                              const DocumentKey& document) const {
  if (disk_ != nullptr) return disk_->GetLibraryDocument(domain, document);
  const auto found = library_memory_.find({domain, document});
  if (found == library_memory_.end()) return std::nullopt;
  const Result<LibraryDocument> decoded = DecodeLibraryDocument(found->second);
  return decoded.has_value() ? std::optional(*decoded) : std::nullopt;
}

Status StoreImpl::WriteLibraryDocument(const LibraryDocument& document) {
  if (disk_ != nullptr) return disk_->PutLibraryDocument(document);
  std::string bytes = EncodeLibraryDocument(document);
  const DocumentId id(document.domain, document.document);
  const auto held = library_memory_.find(id);
  const std::uint64_t held_bytes = held == library_memory_.end() ? 0 : held->second.size();
  std::uint64_t& domain_bytes = CatalogueOf(document.domain).memory_bytes;
  if (domain_bytes - held_bytes + bytes.size() > options_.library_memory_bytes / 4) {
    return Exhausted("the domain's library documents in memory hold " +
                     std::to_string(domain_bytes) + " bytes, this one has " +
                     std::to_string(bytes.size()) + "; the limit is " +
                     std::to_string(options_.library_memory_bytes / 4));
  }
  // What other domains hold is not told (I7).
  if (library_memory_bytes_ - held_bytes + bytes.size() > options_.library_memory_bytes) {
    return Exhausted("no room in memory for a library document of " + std::to_string(bytes.size()) +
                     " bytes; the limit of all domains is " +
                     std::to_string(options_.library_memory_bytes));
  }
  domain_bytes += bytes.size() - held_bytes;
  library_memory_bytes_ += bytes.size() - held_bytes;
  library_memory_[id] = std::move(bytes);
  return {};
}

Status StoreImpl::RemoveVariants(const LibraryDocument& document,
                                 const std::vector<LibraryVariant>& kept) {
  const auto hasher = LibraryHasher(document);
  if (!hasher.has_value()) return hasher.error();
  std::vector<BlockKey> gone;
  for (const LibraryVariant& variant : document.variants) {
    const bool is_kept = std::any_of(kept.begin(), kept.end(), [&](const LibraryVariant& other) {
      return other.root == variant.root;
    });
    if (is_kept) continue;
    const std::vector<BlockKey> blocks = BlocksOf(document, variant.root, *hasher);
    gone.insert(gone.end(), blocks.begin(), blocks.end());
  }
  DomainSlot slot = 0;
  {
    MutexLock lock(mutex_);
    slot = FindSlot(document.domain);
  }
  if (slot == 0 || gone.empty()) return {};
  const auto removed = RemoveBlocks(slot, std::move(gone), StorageClass::kCanonical);
  return removed.has_value() ? Status() : removed.error();
}

Status StoreImpl::PutLibraryDocument(const LibraryDocument& document) {
  KVC_RETURN_IF_ERROR(CheckLibraryDocument(document));
  const auto hasher = LibraryHasher(document);
  if (!hasher.has_value()) return hasher.error();
  const ContentKey content = hasher->ContentKeyOf(document.tokens);
  MutexLock lock(library_mutex_);
  LibraryCatalogue& catalogue = CatalogueOf(document.domain);
  const auto known = catalogue.contents.find(document.document);
  if (known == catalogue.contents.end() &&
      catalogue.contents.size() >= LibraryDocument::kMaxPerDomain) {
    return Exhausted("the domain has " + std::to_string(catalogue.contents.size()) +
                     " library documents; the limit is " +
                     std::to_string(LibraryDocument::kMaxPerDomain));
  }
  const auto before = ReadLibraryDocument(document.domain, document.document);
  KVC_RETURN_IF_ERROR(WriteLibraryDocument(document));
  const bool is_same = known != catalogue.contents.end() && known->second == content;
  if (!is_same) {
    if (known != catalogue.contents.end()) catalogue.Forget(document.document);
    catalogue.contents[document.document] = content;
    ++catalogue.uses[content];
  }
  // A failure leaves blocks that no record follows to; they go when room is needed.
  if (!before.has_value()) return {};
  if (!is_same && !catalogue.uses.contains(hasher->ContentKeyOf(before->tokens))) {
    static_cast<void>(RemoveVariants(*before, {}));
  } else if (is_same && catalogue.uses[content] == 1) {
    static_cast<void>(RemoveVariants(*before, document.variants));
  }
  return {};
}

std::optional<LibraryDocument> StoreImpl::GetLibraryDocument(const DomainId& domain,
                                                             const DocumentKey& document) const {
  MutexLock lock(library_mutex_);
  return ReadLibraryDocument(domain, document);
}

Result<bool> StoreImpl::RemoveLibraryDocument(const DomainId& domain, const DocumentKey& document) {
  MutexLock lock(library_mutex_);
  const auto found = ReadLibraryDocument(domain, document);
  if (!found.has_value()) return false;
  LibraryCatalogue& catalogue = CatalogueOf(domain);
  if (disk_ != nullptr) {
    KVC_FAIL_IF_ERROR(disk_->RemoveLibraryDocument(domain, document));
  } else {
    const auto held = library_memory_.find({domain, document});
    library_memory_bytes_ -= held->second.size();
    catalogue.memory_bytes -= held->second.size();
    library_memory_.erase(held);
  }
  if (catalogue.Forget(document)) KVC_FAIL_IF_ERROR(RemoveVariants(*found, {}));
  return true;
}

std::vector<LibraryDocument> StoreImpl::ListLibraryDocuments(const DomainId& domain) const {
  MutexLock lock(library_mutex_);
  if (disk_ != nullptr) return disk_->ListLibraryDocuments(domain);
  std::vector<LibraryDocument> list;
  for (auto at = library_memory_.lower_bound({domain, DocumentKey{}});
       at != library_memory_.end() && at->first.first == domain; ++at) {
    Result<LibraryDocument> document = DecodeLibraryDocument(at->second);
    if (document.has_value()) list.push_back(std::move(*document));
  }
  return list;
}

bool StoreImpl::LibraryCatalogue::Forget(const DocumentKey& document) {
  const auto known = contents.find(document);
  if (known == contents.end()) return true;
  const auto use = uses.find(known->second);
  const bool was_last = --use->second == 0;
  if (was_last) uses.erase(use);
  contents.erase(known);
  return was_last;
}

}  // namespace kvcommons
