// The engine and the cache of a replay (replay.h): what is a hit now, and how long a prefill takes.
//
// The cache is LRU by tokens, a part of the same size for each tenant, so that no tenant evicts
// another's. Thread safety: external.

#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

#include "align/cost_model.h"
#include "tests/replay/trace.h"

namespace kvcommons {

struct ReplayCosts {
  CostModel costs;
  double recompute = 0.17;               // share of a cached document that is computed: 0 to 1
  std::uint64_t cache_tokens = 128'000;  // of all tenants
};

class ReplayLru {
 public:
  explicit ReplayLru(std::uint64_t capacity_tokens) : capacity_tokens_(capacity_tokens) {}

  bool Has(std::uint64_t id) const { return entries_.count(id) > 0; }
  // Now the last used; evicts from the other end down to the capacity.
  void Touch(const TraceContent& content);

 private:
  std::uint64_t capacity_tokens_;
  std::uint64_t tokens_ = 0;
  std::list<TraceContent> order_;  // last used first
  std::unordered_map<std::uint64_t, std::list<TraceContent>::iterator> entries_;
};

class ReplayEngine {
 public:
  // Both must live as long.
  ReplayEngine(const Trace& trace, const ReplayCosts& costs);

  std::vector<bool> Hits(const TraceRequest& request) const;  // a content each
  double HitRate(const TraceRequest& request) const;          // share of its tokens
  // Prefills, and says how long it took.
  double ServeUs(const TraceRequest& request);

  double hit_share() const;  // of all tokens served

 private:
  std::uint64_t HitTokens(const TraceRequest& request) const;

  const Trace& trace_;
  const ReplayCosts& costs_;
  std::vector<ReplayLru> caches_;  // by tenant
  double hit_tokens_ = 0, tokens_ = 0;
};

std::uint64_t TokensOf(const TraceRequest& request);

}  // namespace kvcommons
