#include "daemon/library_registry.h"

#include <string>

namespace kvcommons {

Result<std::shared_ptr<Library>> LibraryRegistry::Open(
    const std::shared_ptr<const OpenedModel>& model) {
  MutexLock lock(mutex_);
  const std::pair id(model->tenant.domain, model->fingerprint);
  if (const auto found = open_.find(id); found != open_.end()) return found->second;
  if (open_.size() >= kMaxOpen) CloseIdle();
  if (open_.size() >= kMaxOpen) {
    return Fail(Exhausted(std::to_string(open_.size()) + " libraries are in use; the limit is " +
                          std::to_string(kMaxOpen)));
  }
  auto opened = Library::Open(store_, clock_, model, held_tokens_);
  if (!opened && opened.error().code() == Code::kExhausted) {
    CloseIdle();
    opened = Library::Open(store_, clock_, model, held_tokens_);
  }
  if (opened) open_.emplace(id, *opened);
  return opened;
}

std::vector<LibraryRegistry::Listed> LibraryRegistry::List(const DomainId& domain,
                                                           std::size_t limit) {
  std::vector<Listed> list;
  const auto secret = store_.SecretOf(domain);
  if (!secret) return list;
  for (const LibraryDocument& document : store_.ListLibraryDocuments(domain)) {
    if (list.size() >= limit) break;
    const ChainHasher hasher(*secret, document.fingerprint);
    list.push_back(Library::ListedAs(document, hasher.ContentKeyOf(document.tokens)));
  }
  return list;
}

Result<bool> LibraryRegistry::Remove(const DomainId& domain, const DocumentKey& document) {
  MutexLock lock(mutex_);
  for (auto at = open_.lower_bound({domain, Fingerprint{}});
       at != open_.end() && at->first.first == domain; ++at) {
    auto removed = at->second->Remove(document);
    if (!removed || *removed) return removed;
  }
  return store_.RemoveLibraryDocument(domain, document);
}

void LibraryRegistry::CloseIdle() {
  for (auto at = open_.begin(); at != open_.end();) {
    if (at->second.use_count() > 1) {
      ++at;
      continue;
    }
    at->second->WriteBack(true);
    at = open_.erase(at);
  }
}

void LibraryRegistry::WriteBack() {
  MutexLock lock(mutex_);
  for (const auto& [id, library] : open_) library->WriteBack(true);
}

}  // namespace kvcommons
