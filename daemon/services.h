// What the RPC objects share. Owned by the Daemon, outlives all of them.

#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "daemon/commit.h"
#include "daemon/config.h"
#include "daemon/library_registry.h"
#include "daemon/metrics.h"
#include "daemon/quality.h"
#include "daemon/worker_pool.h"
#include "store/store.h"

namespace kvcommons {

class TeamClaims;
class TeamRegistry;

using BootId = Id128<struct BootIdTag>;

struct Services {
  Store& store;
  Metrics& metrics;
  const Clock& clock;
  const DaemonConfig& config;
  DocumentLocks& documents;
  LibraryRegistry& libraries;
  QualityGate& quality;
  TeamRegistry& teams;
  TeamClaims& team_claims;
  WorkerPool& workers;      // plans that load, commits
  WorkerPool& maintenance;  // lists, verification: long, and never in front of a commit
  WorkerPool& learning;     // deposits, one after the other: nobody's plan waits behind them
  BootId boot_id;
  std::int64_t started_us = 0;
  std::uint64_t own_uid = 0;
  bool durable = false;
};

}  // namespace kvcommons
