#include "tests/replay/replay.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <unordered_map>

#include "tests/replay/engine.h"

namespace kvcommons {
namespace {

ContentKey KeyOf(std::uint64_t id) {
  ContentKey key;
  std::memcpy(key.bytes.data(), &id, sizeof id);
  return key;
}

// Chooses who is next of those that wait, in order of arrival.
class Chooser {
 public:
  Chooser(const Trace& trace, const ReplayOptions& options, ReplayOrder order)
      : trace_(trace), options_(options), order_(order) {}

  // Places in `waiting`.
  Result<std::vector<std::size_t>> Next(const std::vector<std::size_t>& waiting,
                                        const std::vector<std::int64_t>& arrival_us,
                                        const ReplayEngine& engine) {
    if (order_ == ReplayOrder::kAged) return ByScheduler(waiting, arrival_us, engine);
    std::vector<std::pair<double, std::size_t>> ranked;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      const TraceRequest& request = trace_.requests[waiting[i]];
      ranked.emplace_back(order_ == ReplayOrder::kHitRate ? -engine.HitRate(request) : 0, i);
    }
    std::sort(ranked.begin(), ranked.end());
    std::vector<std::size_t> chosen;
    for (const auto& [rate, i] : ranked) {
      if (chosen.size() < options_.scheduler.batch_requests) chosen.push_back(i);
    }
    return chosen;
  }

 private:
  Result<std::vector<std::size_t>> ByScheduler(const std::vector<std::size_t>& waiting,
                                               const std::vector<std::int64_t>& arrival_us,
                                               const ReplayEngine& engine) {
    std::vector<std::vector<RequestContent>> contents(waiting.size());
    std::vector<WaitingRequest> requests;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      const TraceRequest& request = trace_.requests[waiting[i]];
      const std::vector<bool> hits = engine.Hits(request);
      for (std::size_t c = 0; c < hits.size(); ++c) {
        contents[i].push_back({KeyOf(request.contents[c].id), request.contents[c].tokens, hits[c]});
      }
      requests.push_back(
          {request.tenant, arrival_us[waiting[i]], contents[i], request.fresh_tokens});
    }
    auto batch = NextBatch(options_.scheduler, requests, last_tenant_);
    if (!batch) return Fail(batch.error());
    last_tenant_ = (*batch)->tenant;
    return (*batch)->requests;
  }

  const Trace& trace_;
  const ReplayOptions& options_;
  const ReplayOrder order_;
  std::optional<std::uint32_t> last_tenant_;
};

// Arrivals at the wanted load: served by arrival, work does not depend on when requests arrive.
std::vector<std::int64_t> ScaledArrivals(const Trace& trace, const ReplayOptions& options) {
  ReplayEngine engine(trace, options.engine);
  double work_us = 0;
  for (const TraceRequest& request : trace.requests) work_us += engine.ServeUs(request);
  const std::int64_t first_us = trace.requests.front().arrival_us;
  const auto span_us = static_cast<double>(trace.requests.back().arrival_us - first_us);
  const double scale = span_us > 0 ? work_us / options.load / span_us : 0;
  std::vector<std::int64_t> arrival_us;
  for (const TraceRequest& request : trace.requests) {
    arrival_us.push_back(std::llround(static_cast<double>(request.arrival_us - first_us) * scale));
  }
  return arrival_us;
}

// The nearest rank.
double Percentile(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
}

Status Check(const Trace& trace, const ReplayOptions& options) {
  if (trace.requests.empty() || trace.requests.size() > kMaxTraceRequests) {
    return InvalidArgument("the trace has " + std::to_string(trace.requests.size()) +
                           " requests; the limit is 1 to " + std::to_string(kMaxTraceRequests));
  }
  if (!(options.engine.recompute >= 0 && options.engine.recompute <= 1)) {
    return InvalidArgument("recompute is " + std::to_string(options.engine.recompute) +
                           "; the limit is 0 to 1");
  }
  if (!(options.load >= 0.01 && options.load <= 10)) {
    return InvalidArgument("load is " + std::to_string(options.load) + "; the limit is 0.01 to 10");
  }
  const auto none = NextBatch(options.scheduler, {}, std::nullopt);  // Checks the options.
  return none.has_value() ? Status() : none.error();
}

}  // namespace

Result<ReplayFigures> Replay(const Trace& trace, const ReplayOptions& options, ReplayOrder order) {
  KVC_FAIL_IF_ERROR(Check(trace, options));
  const std::vector<std::int64_t> arrival_us = ScaledArrivals(trace, options);
  ReplayEngine engine(trace, options.engine);
  Chooser chooser(trace, options, order);
  ReplayFigures figures;
  std::vector<double> ttft_ms;
  std::vector<std::size_t> waiting;
  std::unordered_map<std::uint32_t, std::int64_t> latest_us;  // started, by tenant
  double now_us = 0;
  std::size_t next = 0;
  while (ttft_ms.size() < trace.requests.size()) {
    if (waiting.empty()) now_us = std::max(now_us, static_cast<double>(arrival_us[next]));
    for (; next < arrival_us.size() && static_cast<double>(arrival_us[next]) <= now_us; ++next) {
      waiting.push_back(next);
    }
    Result<std::vector<std::size_t>> chosen = chooser.Next(waiting, arrival_us, engine);
    if (!chosen) return Fail(chosen.error());
    for (const std::size_t place : *chosen) {
      const std::size_t index = waiting[place];
      const TraceRequest& request = trace.requests[index];
      std::int64_t& latest = latest_us.try_emplace(request.tenant, arrival_us[index]).first->second;
      figures.overtaken_ms =
          std::max(figures.overtaken_ms, static_cast<double>(latest - arrival_us[index]) / 1000);
      latest = std::max(latest, arrival_us[index]);
      const double service_us = engine.ServeUs(request);
      now_us += service_us;
      figures.service_ms += service_us / 1000 / static_cast<double>(trace.requests.size());
      ttft_ms.push_back((now_us - static_cast<double>(arrival_us[index])) / 1000);
    }
    std::sort(chosen->begin(), chosen->end());
    for (std::size_t i = chosen->size(); i > 0; --i) {
      waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>((*chosen)[i - 1]));
    }
  }
  std::sort(ttft_ms.begin(), ttft_ms.end());
  for (const double ms : ttft_ms) figures.mean_ms += ms / static_cast<double>(ttft_ms.size());
  figures.p50_ms = Percentile(ttft_ms, 0.5);
  figures.p99_ms = Percentile(ttft_ms, 0.99);
  figures.max_ms = ttft_ms.back();
  figures.hit_share = engine.hit_share();
  return figures;
}

}  // namespace kvcommons
