#include "daemon/stats.h"

#include <nlohmann/json.hpp>

namespace kvcommons {

namespace {

// Names are a client's bytes: what is no UTF-8 of them must not end the daemon.
std::string Dumped(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// What the tenant's teams keep: each mean is of one reader and slot.
void WriteTeams(const TeamPool& pool, nlohmann::ordered_json& json) {
  const TeamPool::Totals totals = pool.GetTotals();
  json["means"] = totals.means;
  json["anchors"] = totals.anchors;
  json["anchor_bytes"] = totals.anchor_bytes;
  json["bytes"] = totals.bytes;
  json["limit_bytes"] = totals.limit_bytes;
  json["evicted"] = totals.evicted;
  json["list"] = nlohmann::ordered_json::array();
  for (const TeamPool::Row& row : pool.List()) {
    if (json["list"].size() >= kMaxListedMeans) break;
    nlohmann::ordered_json mean;
    mean["team"] = row.mean->team;
    mean["agent"] = row.mean->agent;
    mean["slot"] = row.mean->slot;
    mean["of"] = row.mean->of == MeanOf::kAnswers ? "answers"
                 : row.mean->of == MeanOf::kTexts ? "texts"
                                                  : "prompt";
    mean["model"] = row.mean->fingerprint.ToHex();
    mean["deposits"] = row.mean->deposits;
    mean["rows"] = row.mean->rows();
    mean["bytes"] = row.mean->bytes;
    mean["uses"] = row.uses;
    mean["of_corrected"] = row.mean->of_corrected;
    json["list"].push_back(std::move(mean));
  }
  json["anchor_list"] = nlohmann::ordered_json::array();
  for (const AnchorPool::Row& row : pool.anchors().List()) {
    if (json["anchor_list"].size() >= kMaxListedMeans) break;
    json["anchor_list"].push_back({{"slot", row.rows->slot.ToHex()},
                                   {"content", row.rows->content.ToHex()},
                                   {"tokens", row.rows->tokens},
                                   {"readers", row.rows->offsets.size()},
                                   {"bytes", row.bytes},
                                   {"uses", row.uses}});
  }
}

}  // namespace

std::string StatsJson(const Store::Stats& store, const Metrics& metrics, const Tenant& tenant,
                      const std::vector<QualityGate::Row>& quality, const TeamPool& teams,
                      const SessionStats& session, std::int64_t uptime_us,
                      const std::string* data_dir) {
  nlohmann::ordered_json json;
  json["tenant"]["name"] = tenant.name;
  Store::DomainStats own;
  for (const Store::DomainStats& domain : store.domains) {
    if (domain.domain == tenant.domain) own = domain;
  }
  json["tenant"]["arena_bytes"] = own.arena_bytes;
  json["tenant"]["disk_bytes"] = own.disk_bytes;
  json["tenant"]["quota_bytes"] = own.quota_bytes;
  json["tenant"]["blocks"] = own.blocks;
  WriteTeams(teams, json["tenant"]["teams"]);
  json["session"]["leases"] = session.leases;
  json["session"]["models"] = session.models;
  json["session"]["staging_bytes"] = session.staging_bytes;
  if (!quality.empty()) json["tenant"]["quality"] = nlohmann::ordered_json::array();
  for (const QualityGate::Row& row : quality) {
    nlohmann::ordered_json rule;
    rule["model"] = row.key.fingerprint.ToHex();
    rule["rule"] = row.key.rule;
    rule["samples"] = row.answer.samples;
    rule["mean_kl"] = row.answer.mean_kl;
    rule["mean_top1"] = row.answer.mean_top1;
    rule["enabled"] = row.answer.enabled;
    if (!row.answer.enabled) rule["reason"] = row.answer.reason;
    json["tenant"]["quality"].push_back(std::move(rule));
  }
  json["uptime_s"] = static_cast<double>(uptime_us) / 1e6;
  json["arena_capacity_bytes"] = store.arena_capacity_bytes;
  json["has_disk"] = store.has_disk;
  if (store.has_disk) json["disk_capacity_bytes"] = store.disk.capacity_bytes;
  if (data_dir == nullptr) return Dumped(json);

  json["daemon"]["plans"] = metrics.plan_count();
  json["daemon"]["leases"] = metrics.lease_count();
  json["daemon"]["tenants"] = store.domains.size();
  auto& arena = json["arena"];
  arena["held_bytes"] = store.arena_held_bytes;
  arena["pinned_bytes"] = store.arena_pinned_bytes;
  arena["slabs"] = store.slab_count;
  arena["blocks"] = store.block_count;
  arena["evicted"] = store.evicted_count;
  auto& index = json["index"];
  index["entries"] = store.index_entries;
  index["bytes"] = store.index_bytes;
  index["hits"] = store.hit_count;
  index["misses"] = store.miss_count;
  index["refused"] = store.refused_count;
  index["bad_blocks"] = store.bad_block_count;
  if (store.has_disk) {
    auto& disk = json["disk"];
    disk["path"] = *data_dir;
    disk["blocks"] = store.disk.block_count;
    disk["held_bytes"] = store.disk.held_bytes;
    disk["written_bytes"] = store.disk.written_bytes;
    disk["read_bytes"] = store.disk.read_bytes;
    disk["evicted"] = store.disk.evicted_count;
    disk["quarantined"] = store.disk.quarantined_count;
    disk["write_failures"] = store.disk.write_failed_count;
    disk["writable"] = store.disk.writable;
    if (!store.disk.writable) disk["reason"] = "the last write failed";
  }
  return Dumped(json);
}

}  // namespace kvcommons
