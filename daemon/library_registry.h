// The libraries that are open: one for each tenant and model, shared by all sessions.
//
// Thread safety: every method may be called from any thread; all of them block on the disk.

#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/library.h"
#include "store/store.h"

namespace kvcommons {

class LibraryRegistry {
 public:
  // Past this number those that nobody uses are closed.
  static constexpr std::size_t kMaxOpen = 256;

  LibraryRegistry(Store& store, const Clock& clock) : store_(store), clock_(clock) {}
  ~LibraryRegistry() { WriteBack(); }
  LibraryRegistry(const LibraryRegistry&) = delete;
  LibraryRegistry& operator=(const LibraryRegistry&) = delete;

  // kExhausted: kMaxOpen are in use, or they hold too much.
  Result<std::shared_ptr<Library>> Open(const std::shared_ptr<const OpenedModel>& model);
  // Of all models of the tenant, those that are not open included.
  using Listed = Library::Listed;
  std::vector<Listed> List(const DomainId& domain, std::size_t limit);
  // False: there was none.
  Result<bool> Remove(const DomainId& domain, const DocumentKey& document);
  // Puts all counts on disk.
  void WriteBack();

 private:
  void CloseIdle() REQUIRES(mutex_);

  Store& store_;
  const Clock& clock_;
  std::atomic<std::uint64_t> held_tokens_{0};
  Mutex mutex_;  // held across the disk: a library is read once
  std::map<std::pair<DomainId, Fingerprint>, std::shared_ptr<Library>> open_ GUARDED_BY(mutex_);
};

}  // namespace kvcommons
