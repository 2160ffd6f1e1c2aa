#include "daemon/library_registry.h"

#include <algorithm>
#include <string>
#include <utility>

namespace kvcommons {

Result<std::shared_ptr<Library>> LibraryRegistry::Open(
    const std::shared_ptr<const OpenedModel>& model) {
  MutexLock lock(mutex_);
  const DomainId& domain = model->tenant.domain;
  const std::pair id(domain, model->fingerprint);
  if (const auto found = open_.find(id); found != open_.end()) return found->second;
  KVC_FAIL_IF_ERROR(CheckCount(domain));
  auto opened =
      Library::Open(store_, clock_, model, budget_,
                    [&](std::uint64_t tokens) REQUIRES(mutex_) { MakeRoom(domain, tokens); });
  if (opened) open_.emplace(id, *opened);
  return opened;
}

Status LibraryRegistry::CheckCount(const DomainId& domain) {
  const auto own = [&]() REQUIRES(mutex_) {
    return static_cast<std::size_t>(
        std::count_if(open_.begin(), open_.end(),
                      [&](const auto& library) { return library.first.first == domain; }));
  };
  if (own() >= kMaxOpenOfDomain) CloseIdle(&domain);
  if (own() >= kMaxOpenOfDomain) {
    return Exhausted("the tenant has " + std::to_string(own()) +
                     " libraries in use; the limit is " + std::to_string(kMaxOpenOfDomain));
  }
  if (open_.size() >= kMaxOpen) CloseIdle(nullptr);
  if (open_.size() < kMaxOpen) return Status();
  return Exhausted("the daemon has no room for another library; the limit of all tenants is " +
                   std::to_string(kMaxOpen));
}

Result<Library::PutOutcome> LibraryRegistry::Put(Library& library, std::string name,
                                                 TokenList tokens,
                                                 std::vector<std::string> related) {
  const DomainId& domain = library.model().tenant.domain;
  // Not within the library's Put: it holds what Remove() waits for with mutex_ held.
  LockAndMakeRoom(domain, library.GrowthOf(name, tokens));
  return library.Put(std::move(name), std::move(tokens), std::move(related));
}

Result<std::shared_ptr<const PrefaceRoots>> LibraryRegistry::Share(Library& library,
                                                                   PrefaceSet set) {
  return library.Share(std::move(set), [&](std::uint64_t tokens) {
    LockAndMakeRoom(library.model().tenant.domain, tokens);
  });
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

void LibraryRegistry::MakeRoom(const DomainId& domain, std::uint64_t tokens) {
  using Room = LibraryBudget::Room;
  if (budget_.RoomFor(domain, tokens) != Room::kFits) CloseIdle(&domain);
  if (budget_.RoomFor(domain, tokens) == Room::kDaemonIsFull) CloseIdle(nullptr);
}

void LibraryRegistry::LockAndMakeRoom(const DomainId& domain, std::uint64_t tokens) {
  // Mostly there is room, and mutex_ is held while others read from the disk.
  if (budget_.RoomFor(domain, tokens) == LibraryBudget::Room::kFits) return;
  MutexLock lock(mutex_);
  MakeRoom(domain, tokens);
}

void LibraryRegistry::CloseIdle(const DomainId* domain) {
  for (auto at = open_.begin(); at != open_.end();) {
    const bool is_asked_for = domain == nullptr || at->first.first == *domain;
    if (!is_asked_for || at->second.use_count() > 1) {
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
