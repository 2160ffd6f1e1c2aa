// What the capabilities of one session share, and what they count against its limits.
//
// Thread safety: belongs to the event loop's thread.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "daemon/plan_maker.h"
#include "daemon/services.h"
#include "daemon/staging.h"
#include "daemon/tenant.h"

namespace kvcommons {

struct SessionState {
  SessionState(Services& s, Tenant t) : services(s), tenant(std::move(t)) {
    services.metrics.CountSession(1);
  }
  ~SessionState() { services.metrics.CountSession(-1); }
  SessionState(const SessionState&) = delete;
  SessionState& operator=(const SessionState&) = delete;

  Services& services;
  const Tenant tenant;
  std::shared_ptr<const Staging> staging;  // null: none asked for yet
  std::uint64_t leases = 0;
  std::uint64_t models = 0;
  std::uint64_t memories = 0;
  std::uint64_t libraries = 0;
  std::uint64_t works = 0;
  std::uint64_t teams = 0;
  std::uint64_t team_calls = 0;
  std::uint64_t team_uploads = 0;
  // Slabs that live plans of this session point into, with the number of their pins. Only these are
  // handed out: a pin keeps the slab, so its descriptor cannot have become another domain's.
  std::unordered_map<std::uint32_t, std::uint32_t> leased_slabs;
};

// Counts one of a session's things while it lives.
class Counted {
 public:
  Counted(std::shared_ptr<SessionState> session, std::uint64_t SessionState::*counter)
      : session_(std::move(session)), counter_(counter) {
    ++(*session_.*counter_);
  }
  ~Counted() { --(*session_.*counter_); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  SessionState& session() const { return *session_; }
  const std::shared_ptr<SessionState>& shared() const { return session_; }

 private:
  const std::shared_ptr<SessionState> session_;
  std::uint64_t SessionState::*const counter_;
};

// One more of a session's things, which are called `name`. To be taken before a call waits for
// anything: calls that a client sends at once must not all pass the limit. kExhausted: it holds
// that many.
inline Result<std::unique_ptr<Counted>> TakeCounted(const std::shared_ptr<SessionState>& session,
                                                    std::uint64_t SessionState::*counter,
                                                    std::string_view name, std::uint64_t limit) {
  const std::uint64_t count = (*session).*counter;
  if (count < limit) return std::make_unique<Counted>(session, counter);
  return Fail(Exhausted("the session holds " + std::to_string(count) + " " + std::string(name) +
                        "; the limit is " + std::to_string(limit)));
}

}  // namespace kvcommons
