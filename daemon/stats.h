// What `stats` answers: one JSON object.
//
// A tenant sees its own domain and what the daemon was configured for. The figures of the whole
// daemon are for its own user and for root (I7). Thread safety: pure functions.

#pragma once

#include <cstdint>
#include <string>

#include "daemon/metrics.h"
#include "daemon/team_pool.h"
#include "daemon/tenant.h"
#include "store/store.h"

namespace kvcommons {

struct SessionStats {
  std::uint64_t leases = 0;
  std::uint64_t models = 0;
  std::uint64_t staging_bytes = 0;
};

inline constexpr std::size_t kMaxListedMeans = 1000;

// `data_dir`: null for a tenant that sees its own figures only.
std::string StatsJson(const Store::Stats& store, const Metrics& metrics, const Tenant& tenant,
                      const std::vector<QualityGate::Row>& quality, const TeamPool& teams,
                      const SessionStats& session, std::int64_t uptime_us,
                      const std::string* data_dir);

}  // namespace kvcommons
