#include "daemon/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <map>
#include <utility>

#include "daemon/commit.h"

namespace kvcommons {
namespace {

constexpr std::size_t kCodeCount = 10;

prometheus::MetricFamily Single(const char* name, const char* help, prometheus::MetricType type,
                                double value) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(std::move(metric));
  return family;
}

void Change(prometheus::Gauge& gauge, int change) {
  if (change > 0) {
    gauge.Increment(change);
  } else {
    gauge.Decrement(-change);
  }
}

void AddStore(const Store::Stats& stats, std::vector<prometheus::MetricFamily>& families) {
  using prometheus::MetricType;
  const auto add = [&](const char* name, const char* help, MetricType type, auto value) {
    families.push_back(Single(name, help, type, static_cast<double>(value)));
  };
  add("kvcommons_arena_capacity_bytes", "Memory that blocks may use.", MetricType::Gauge,
      stats.arena_capacity_bytes);
  add("kvcommons_arena_held_bytes", "Memory that blocks use.", MetricType::Gauge,
      stats.arena_held_bytes);
  add("kvcommons_arena_pinned_bytes", "Memory of leased blocks.", MetricType::Gauge,
      stats.arena_pinned_bytes);
  add("kvcommons_memory_blocks", "Blocks in memory.", MetricType::Gauge, stats.block_count);
  add("kvcommons_index_entries", "Blocks in memory or on disk.", MetricType::Gauge,
      stats.index_entries);
  add("kvcommons_index_bytes", "Memory of the index.", MetricType::Gauge, stats.index_bytes);
  add("kvcommons_block_hits_total", "Blocks found.", MetricType::Counter, stats.hit_count);
  add("kvcommons_block_misses_total", "Blocks not found.", MetricType::Counter, stats.miss_count);
  add("kvcommons_blocks_evicted_total", "Blocks that left memory.", MetricType::Counter,
      stats.evicted_count);
  add("kvcommons_blocks_refused_total", "Blocks that found no room.", MetricType::Counter,
      stats.refused_count);
  add("kvcommons_bad_blocks_total", "Blocks dropped for a bad checksum.", MetricType::Counter,
      stats.bad_block_count);
  if (!stats.has_disk) return;
  add("kvcommons_disk_capacity_bytes", "Disk that the store may use.", MetricType::Gauge,
      stats.disk.capacity_bytes);
  add("kvcommons_disk_held_bytes", "Disk that the store uses.", MetricType::Gauge,
      stats.disk.held_bytes);
  add("kvcommons_disk_blocks", "Blocks on disk.", MetricType::Gauge, stats.disk.block_count);
  add("kvcommons_disk_written_bytes_total", "Bytes written to disk.", MetricType::Counter,
      stats.disk.written_bytes);
  add("kvcommons_disk_read_bytes_total", "Bytes read from disk.", MetricType::Counter,
      stats.disk.read_bytes);
  add("kvcommons_disk_evicted_total", "Blocks evicted from disk.", MetricType::Counter,
      stats.disk.evicted_count);
  add("kvcommons_disk_quarantined_total", "Blocks on disk found bad.", MetricType::Counter,
      stats.disk.quarantined_count);
  add("kvcommons_disk_write_failures_total", "Batches that the disk refused.", MetricType::Counter,
      stats.disk.write_failed_count);
  add("kvcommons_disk_writable", "1: the last write to disk worked.", MetricType::Gauge,
      stats.disk.writable ? 1 : 0);
}

// Of models and rules, whoever uses them: no more than an operator reads.
constexpr std::size_t kMaxQualityRows = 256;

void AddQuality(const QualityGate& quality, std::vector<prometheus::MetricFamily>& families) {
  using prometheus::MetricType;
  families.push_back(Single("kvcommons_quality_switched_off_total",
                            "Times that a canary switched a rule off.", MetricType::Counter,
                            static_cast<double>(quality.switched_off_count())));
  std::vector<QualityGate::Total> totals = quality.Totals();
  if (totals.size() > kMaxQualityRows) totals.resize(kMaxQualityRows);
  const auto add = [&](const char* name, const char* help, auto value_of) {
    if (totals.empty()) return;
    prometheus::MetricFamily family = Single(name, help, MetricType::Gauge, 0);
    family.metric.clear();
    for (const QualityGate::Total& total : totals) {
      prometheus::ClientMetric metric;
      metric.label = {{"model", total.fingerprint.ToHex()}, {"rule", total.rule}};
      metric.gauge.value = static_cast<double>(value_of(total));
      family.metric.push_back(std::move(metric));
    }
    families.push_back(std::move(family));
  };
  add("kvcommons_quality_samples", "Canaries in the windows.",
      [](const QualityGate::Total& total) { return total.samples; });
  add("kvcommons_quality_mean_kl", "Their mean KL divergence to full prefill, nats.",
      [](const QualityGate::Total& total) { return total.mean_kl; });
  add("kvcommons_quality_mean_top1", "Their mean top-1 agreement with full prefill.",
      [](const QualityGate::Total& total) { return total.mean_top1; });
  add("kvcommons_quality_enabled", "1: the rule is switched off for nobody.",
      [](const QualityGate::Total& total) { return total.disabled == 0 ? 1 : 0; });
}

}  // namespace

struct Metrics::Families {
  prometheus::Counter& Counter(const char* name, const char* help,
                               const prometheus::Labels& labels = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
  prometheus::Gauge& Gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  prometheus::Histogram& Histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(
        {}, prometheus::Histogram::BucketBoundaries{1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2,
                                                    0.1, 0.3, 1, 3});
  }

  std::array<prometheus::Counter*, kMaxRootKind + 1> PerVariant(const char* name,
                                                                const char* help) {
    std::array<prometheus::Counter*, kMaxRootKind + 1> counters{};
    for (std::size_t kind = 1; kind < counters.size(); ++kind) {
      const std::string_view variant = RootKindName(static_cast<RootKind>(kind));
      counters[kind] = &Counter(name, help, {{"variant", std::string(variant)}});
    }
    return counters;
  }

  prometheus::Registry registry;
  prometheus::Gauge& connections = Gauge("kvcommons_connections", "Clients connected.");
  prometheus::Counter& connections_total =
      Counter("kvcommons_connections_total", "Clients that connected.");
  prometheus::Counter& refused =
      Counter("kvcommons_connections_refused_total", "Clients turned away at the limit.");
  prometheus::Counter& broken =
      Counter("kvcommons_connections_broken_total", "Connections closed for what the peer sent.");
  prometheus::Gauge& sessions = Gauge("kvcommons_sessions", "Sessions open.");
  prometheus::Gauge& leases = Gauge("kvcommons_leases", "Plans that clients hold.");
  prometheus::Counter& plans = Counter("kvcommons_plans_total", "Plans made.");
  prometheus::Counter& exact_rows =
      Counter("kvcommons_planned_rows_total", "Rows planned.", {{"kind", "exact"}});
  prometheus::Counter& moved_rows =
      Counter("kvcommons_planned_rows_total", "Rows planned.", {{"kind", "moved"}});
  prometheus::Counter& canonical_rows =
      Counter("kvcommons_planned_rows_total", "Rows planned.", {{"kind", "canonical"}});
  prometheus::Counter& anchored_rows =
      Counter("kvcommons_planned_rows_total", "Rows planned.", {{"kind", "anchored"}});
  prometheus::Counter& computed_rows =
      Counter("kvcommons_planned_rows_total", "Rows planned.", {{"kind", "compute"}});
  prometheus::Counter& loaded =
      Counter("kvcommons_loaded_blocks_total", "Blocks read from disk for a plan.");
  prometheus::Histogram& plan_seconds =
      Histogram("kvcommons_plan_seconds", "Time to make a plan, loads from disk included.");
  prometheus::Counter& team_reused = Counter(
      "kvcommons_team_plans_total", "Plans of teams' prompts.", {{"contents", "corrected"}});
  prometheus::Counter& team_exact =
      Counter("kvcommons_team_plans_total", "Plans of teams' prompts.", {{"contents", "computed"}});
  std::map<std::string_view, prometheus::Counter*> deposits = [this] {
    std::map<std::string_view, prometheus::Counter*> counters;
    for (const char* outcome : {"learned", "known", "missing_base", "rows_gone", "too_long",
                                "pool_bound", "not_finite", "failed"}) {
      counters[outcome] = &Counter("kvcommons_team_deposits_total", "Slots that taught, or not.",
                                   {{"outcome", outcome}});
    }
    return counters;
  }();
  prometheus::Counter& commits = Counter("kvcommons_commits_total", "Commits accepted.");
  prometheus::Counter& stored = Counter("kvcommons_stored_blocks_total", "Blocks stored.");
  prometheus::Counter& committed_bytes =
      Counter("kvcommons_committed_bytes_total", "Bytes that clients committed.");
  prometheus::Histogram& commit_seconds =
      Histogram("kvcommons_commit_seconds", "Time of a commit, the disk included when durable.");
  // By RootKind.
  std::array<prometheus::Counter*, kMaxRootKind + 1> prepared = PerVariant(
      "kvcommons_library_prepared_total", "Canonical variants of documents that were prepared.");
  std::array<prometheus::Counter*, kMaxRootKind + 1> prepare_seconds = PerVariant(
      "kvcommons_library_prepare_seconds_total", "What preparing them took the workers.");
  std::array<prometheus::Counter*, kCodeCount> errors = [this] {
    std::array<prometheus::Counter*, kCodeCount> counters{};
    for (std::size_t i = 0; i < counters.size(); ++i) {
      counters[i] = &Counter("kvcommons_errors_total", "Requests refused.",
                             {{"code", std::string(CodeName(static_cast<Code>(i)))}});
    }
    return counters;
  }();
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

void Metrics::CountConnection(int change) {
  Change(families_->connections, change);
  if (change > 0) families_->connections_total.Increment(change);
}
void Metrics::CountConnectionRefused() { families_->refused.Increment(); }
void Metrics::CountConnectionBroken() { families_->broken.Increment(); }
void Metrics::CountSession(int change) { Change(families_->sessions, change); }
void Metrics::CountLease(int change) { Change(families_->leases, change); }

void Metrics::CountPlan(const PreparedPlan& plan, double took_us) {
  families_->plans.Increment();
  families_->exact_rows.Increment(plan.plan.exact_rows);
  families_->moved_rows.Increment(plan.plan.moved_rows);
  families_->canonical_rows.Increment(plan.plan.canonical_rows);
  families_->anchored_rows.Increment(plan.plan.anchored_rows);
  families_->computed_rows.Increment(plan.plan.computed_rows);
  families_->loaded.Increment(plan.loaded_blocks);
  families_->plan_seconds.Observe(took_us / 1e6);
}

void Metrics::CountTeamPlan(bool reuses) {
  (reuses ? families_->team_reused : families_->team_exact).Increment();
}

void Metrics::CountDeposit(std::string_view outcome) {
  // A word that is no outcome would be a new series: it is counted as a failure.
  const auto found = families_->deposits.find(outcome);
  (found == families_->deposits.end() ? families_->deposits.at("failed") : found->second)
      ->Increment();
}

void Metrics::CountCommit(const CommitReport& report, std::uint64_t bytes, double took_us) {
  families_->commits.Increment();
  families_->stored.Increment(report.put.stored);
  families_->committed_bytes.Increment(static_cast<double>(bytes));
  families_->commit_seconds.Observe(took_us / 1e6);
}

void Metrics::CountPrepared(RootKind kind, std::uint64_t prepare_us) {
  const auto index = static_cast<std::size_t>(kind);
  families_->prepared[index]->Increment();
  families_->prepare_seconds[index]->Increment(static_cast<double>(prepare_us) / 1e6);
}

void Metrics::CountError(Code code) {
  const auto index = static_cast<std::size_t>(code);
  if (index < kCodeCount) families_->errors[index]->Increment();
}

std::uint64_t Metrics::plan_count() const {
  return static_cast<std::uint64_t>(families_->plans.Value());
}
std::uint64_t Metrics::lease_count() const {
  return static_cast<std::uint64_t>(families_->leases.Value());
}

std::string Metrics::Text(const Store::Stats& store, const QualityGate& quality) const {
  std::vector<prometheus::MetricFamily> families = families_->registry.Collect();
  AddStore(store, families);
  AddQuality(quality, families);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace kvcommons
