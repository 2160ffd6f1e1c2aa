// The libraries that are open: one for each tenant and model, shared by all sessions.
//
// Guarantees: libraries that nobody uses are closed before somebody is refused for want of room;
// one tenant cannot take all of it, and is not told what others hold (I7). Thread safety: every
// method may be called from any thread; all of them block on the disk.

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/library.h"
#include "store/store.h"

namespace kvcommons {

class LibraryRegistry {
 public:
  static constexpr std::size_t kMaxOpen = 256;
  static constexpr std::size_t kMaxOpenOfDomain = kMaxOpen / 4;

  LibraryRegistry(Store& store, const Clock& clock, const LibraryLimits& limits = {})
      : store_(store), clock_(clock), budget_(limits) {}
  ~LibraryRegistry() { WriteBack(); }
  LibraryRegistry(const LibraryRegistry&) = delete;
  LibraryRegistry& operator=(const LibraryRegistry&) = delete;

  // kExhausted: as many as may be are in use, or they hold too much.
  Result<std::shared_ptr<Library>> Open(const std::shared_ptr<const OpenedModel>& model);
  // Library::Put of one that is open.
  Result<Library::PutOutcome> Put(Library& library, std::string name, TokenList tokens,
                                  std::vector<std::string> related);
  // Library::Share of one that is open.
  Result<std::shared_ptr<const PrefaceRoots>> Share(Library& library, PrefaceSet set);
  // Of all models of the tenant, those that are not open included.
  using Listed = Library::Listed;
  std::vector<Listed> List(const DomainId& domain, std::size_t limit);
  // False: there was none.
  Result<bool> Remove(const DomainId& domain, const DocumentKey& document);
  // Puts all counts on disk.
  void WriteBack();

 private:
  // Closes what nobody uses, the domain's own first, as long as so many tokens do not fit.
  void MakeRoom(const DomainId& domain, std::uint64_t tokens) REQUIRES(mutex_);
  void LockAndMakeRoom(const DomainId& domain, std::uint64_t tokens) EXCLUDES(mutex_);
  void CloseIdle(const DomainId* domain) REQUIRES(mutex_);  // null: of all domains
  Status CheckCount(const DomainId& domain) REQUIRES(mutex_);

  Store& store_;
  const Clock& clock_;
  LibraryBudget budget_;
  Mutex mutex_;  // held across the disk: a library is read once
  std::map<std::pair<DomainId, Fingerprint>, std::shared_ptr<Library>> open_ GUARDED_BY(mutex_);
};

}  // namespace kvcommons
