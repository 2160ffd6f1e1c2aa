#include "tests/replay/engine.h"

#include <algorithm>
#include <cmath>

namespace kvcommons {

std::uint64_t TokensOf(const TraceRequest& request) {
  std::uint64_t tokens = request.fresh_tokens;
  for (const TraceContent& content : request.contents) tokens += content.tokens;
  return tokens;
}

void ReplayLru::Touch(const TraceContent& content) {
  const auto found = entries_.find(content.id);
  if (found != entries_.end()) {
    order_.splice(order_.begin(), order_, found->second);
    return;
  }
  order_.push_front(content);
  entries_[content.id] = order_.begin();
  tokens_ += content.tokens;
  while (tokens_ > capacity_tokens_) {
    tokens_ -= order_.back().tokens;
    entries_.erase(order_.back().id);
    order_.pop_back();
  }
}

ReplayEngine::ReplayEngine(const Trace& trace, const ReplayCosts& costs)
    : trace_(trace), costs_(costs) {
  std::uint32_t tenants = 1;
  for (const TraceRequest& request : trace.requests) {
    tenants = std::max(tenants, request.tenant + 1);
  }
  caches_.assign(tenants, ReplayLru(costs.cache_tokens / tenants));
}

std::vector<bool> ReplayEngine::Hits(const TraceRequest& request) const {
  std::vector<bool> hits;
  bool hit = true;
  for (const TraceContent& content : request.contents) {
    hit = (hit || !trace_.prefix) && caches_[request.tenant].Has(content.id);
    hits.push_back(hit);
  }
  return hits;
}

std::uint64_t ReplayEngine::HitTokens(const TraceRequest& request) const {
  const std::vector<bool> hits = Hits(request);
  std::uint64_t tokens = 0;
  for (std::size_t i = 0; i < hits.size(); ++i) {
    if (hits[i]) tokens += request.contents[i].tokens;
  }
  return tokens;
}

double ReplayEngine::HitRate(const TraceRequest& request) const {
  return static_cast<double>(HitTokens(request)) / static_cast<double>(TokensOf(request));
}

double ReplayEngine::ServeUs(const TraceRequest& request) {
  const auto hit = static_cast<std::int64_t>(HitTokens(request));
  const auto total = static_cast<std::int64_t>(TokensOf(request));
  // From the end, so that of a prefix the beginning is the last to be evicted.
  for (std::size_t i = request.contents.size(); i > 0; --i) {
    caches_[request.tenant].Touch(request.contents[i - 1]);
  }
  hit_tokens_ += static_cast<double>(hit);
  tokens_ += static_cast<double>(total);
  const std::int64_t again =
      trace_.prefix ? 0 : std::llround(costs_.recompute * static_cast<double>(hit));
  // The last token is computed in any case.
  const std::int64_t computed = std::max<std::int64_t>(1, total - hit + again);
  const std::int64_t context = trace_.prefix ? (hit + total) / 2 : total / 2;
  return costs_.costs.lookup_us + costs_.costs.PlaceUs(hit, !trace_.prefix) +
         costs_.costs.ComputeUs(computed, context);
}

double ReplayEngine::hit_share() const { return hit_tokens_ / std::max(tokens_, 1.0); }

}  // namespace kvcommons
