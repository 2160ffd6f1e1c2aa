// LibraryBudget: how many tokens the open libraries and their preface sets hold, all together and
// those of each domain.
//
// Guarantees: neither bound is ever passed; one domain cannot take the whole; what a refusal says
// is the domain's own use and the limits, never what another holds (I7). Thread safety: every
// method may be called from any thread.

#pragma once

#include <cstdint>
#include <map>

#include "base/ids.h"
#include "base/mutex.h"
#include "base/status.h"

namespace kvcommons {

struct LibraryLimits {
  std::uint64_t tokens = 1ull << 26;  // of all domains
  std::uint64_t domain_tokens = tokens / 4;
};

class LibraryBudget {
 public:
  enum class Room { kFits, kDomainIsFull, kDaemonIsFull };

  explicit LibraryBudget(const LibraryLimits& limits = {}) : limits_(limits) {}
  LibraryBudget(const LibraryBudget&) = delete;
  LibraryBudget& operator=(const LibraryBudget&) = delete;
  ~LibraryBudget() = default;

  Room RoomFor(const DomainId& domain, std::uint64_t tokens) const EXCLUDES(mutex_);
  // kExhausted: they do not fit, and nothing was taken.
  Status Take(const DomainId& domain, std::uint64_t tokens) EXCLUDES(mutex_);
  // REQUIRES: so many were taken.
  void Give(const DomainId& domain, std::uint64_t tokens) EXCLUDES(mutex_);

 private:
  std::uint64_t HeldBy(const DomainId& domain) const REQUIRES(mutex_);
  Room RoomLocked(const DomainId& domain, std::uint64_t tokens) const REQUIRES(mutex_);

  const LibraryLimits limits_;
  mutable Mutex mutex_;  // innermost
  std::uint64_t held_tokens_ GUARDED_BY(mutex_) = 0;
  std::map<DomainId, std::uint64_t> domain_tokens_ GUARDED_BY(mutex_);  // none is 0
};

}  // namespace kvcommons
