// Replays a trace against one engine and a bounded cache, in an order to compare, and tells the
// time to first token: what a scheduler is worth, without an engine.
//
// The engine prefills one request after another, as a compute-bound one does, and chooses the next
// batch when it is done with the last; decoding is not modelled. Contents that are cached are
// placed, and of documents a share is computed again; the others are computed. Times are a
// CostModel's, so figures are of the model and exact: equal inputs give equal figures.

#pragma once

#include <cstdint>

#include "align/scheduler.h"
#include "base/status.h"
#include "tests/replay/engine.h"
#include "tests/replay/trace.h"

namespace kvcommons {

enum class ReplayOrder {
  kArrival,  // first come, first served
  kHitRate,  // KVShare: highest hit rate of all waiting, no ageing, all tenants alike
  kAged,     // NextBatch
};

struct ReplayOptions {
  ReplayCosts engine;
  // Work per time when served by arrival: arrivals are drawn closer or further apart to get it.
  double load = 0.9;  // 0.01 to 10
  SchedulerOptions scheduler;
};

struct ReplayFigures {
  double mean_ms = 0, p50_ms = 0, p99_ms = 0, max_ms = 0;  // time to first token
  double overtaken_ms = 0;  // the latest that a request arrived after one of its tenant and started
                            // before it
  double hit_share = 0;     // of the prompts' tokens
  double service_ms = 0;    // prefill of a request, mean
};

Result<ReplayFigures> Replay(const Trace& trace, const ReplayOptions& options, ReplayOrder order);

}  // namespace kvcommons
