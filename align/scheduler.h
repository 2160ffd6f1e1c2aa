// Which waiting requests run next: requests of one tenant that share contents run together, so that
// the second finds what the first one computed (KVShare's cache-aware scheduler, made fair).
//
// Within a tenant the order is by hit rate h plus ageing, h + λ·waiting with λ = 1 ÷ head_start_us.
// Time passes for all alike, so that is the order of arrival_us − h·head_start_us: a hit rate buys
// a head start, at most all of it. Guarantee: no request is overtaken by one of its tenant that
// arrived head_start_us or more after it. With n requests of its tenant that wait before it or
// arrive within that time, it starts in its tenant's turn 1 + ⌊n ÷ batch_requests⌋ at the latest,
// and a turn comes after every other waiting tenant's at the latest. KVShare itself has no ageing.
//
// Between tenants: one turn each, by number. A tenant's order and turns depend on no other tenant's
// contents or hit rates, which would let it probe for them (I7). The trap: a batch is so many
// requests, never so many tokens to compute, or one tenant's hits would decide how many turns it
// takes. What remains is that a turn lasts as long as its work; a shared engine cannot hide that.
// `cached` must come from what the request's own tenant may see.
//
// Pure and deterministic; the caller keeps the queue. Refuses what is out of the limits below; the
// caller admits requests against them, tenant by tenant, since one refusal refuses the call.
// Source: specs: selective recompute §B.4, §F.2.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

inline constexpr std::size_t kMaxWaitingRequests = 1 << 16;
inline constexpr std::size_t kMaxRequestContents = 4096;
inline constexpr std::size_t kMaxWaitingContents = 1 << 22;  // of all waiting requests
inline constexpr std::uint64_t kMaxRequestTokens = 1 << 24;
inline constexpr std::uint32_t kMaxBatchRequests = 1024;
inline constexpr std::int64_t kMaxHeadStartUs = 3'600'000'000;

// A document or block of a prompt.
struct RequestContent {
  ContentKey key;
  std::uint32_t tokens = 0;
  bool cached = false;
};

struct WaitingRequest {
  std::uint32_t tenant = 0;     // from the authenticated principal
  std::int64_t arrival_us = 0;  // by the caller's clock; 0 or more
  std::span<const RequestContent> contents;
  std::uint32_t fresh_tokens = 0;  // computed in any case; with contents at least 1 token
};

struct SchedulerOptions {
  std::uint32_t batch_requests = 8;        // 1 to kMaxBatchRequests
  std::int64_t head_start_us = 2'000'000;  // 0 (in order of arrival) to kMaxHeadStartUs
};

struct ScheduledBatch {
  std::uint32_t tenant = 0;
  std::vector<std::size_t> requests;  // indices into `waiting`, in the order to start them
};

// Nothing where nothing waits. `last_tenant`: whose batch was the last. Equal scores go to the
// earlier arrival, then to the lower index. kInvalidArgument names field, value and limit.
Result<std::optional<ScheduledBatch>> NextBatch(const SchedulerOptions& options,
                                                std::span<const WaitingRequest> waiting,
                                                std::optional<std::uint32_t> last_tenant);

}  // namespace kvcommons
