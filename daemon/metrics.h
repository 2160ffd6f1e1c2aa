// Counters of the daemon, as Prometheus text for operators. No label and no figure names a tenant
// (I7).
//
// Thread safety: everything may be called from any thread; counting takes no lock.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/status.h"
#include "daemon/quality.h"
#include "store/store.h"

namespace kvcommons {

struct PreparedPlan;
struct CommitReport;

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void CountConnection(int change);  // +1 opened, -1 closed
  void CountConnectionRefused();
  void CountConnectionBroken();  // malformed or oversized message, peer that does not read
  void CountSession(int change);
  void CountLease(int change);
  void CountPlan(const PreparedPlan& plan, double took_us);
  void CountTeamPlan(bool reuses);
  void CountDeposit(std::string_view outcome);  // as the schema's TeamDeposit lists them
  void CountCommit(const CommitReport& report, std::uint64_t bytes, double took_us);
  void CountPrepared(RootKind kind, std::uint64_t prepare_us);
  void CountError(Code code);

  std::uint64_t plan_count() const;
  std::uint64_t lease_count() const;

  // Prometheus text of the counters, the store's figures, and how approximate rules do.
  std::string Text(const Store::Stats& store, const QualityGate& quality) const;

 private:
  struct Families;
  const std::unique_ptr<Families> families_;
};

}  // namespace kvcommons
