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
