// A daemon's plan as an engine takes it: rows to place, and runs to compute.
//
// Pure; any thread.

#pragma once

#include <vector>

#include "agents/engine/llama_engine.h"
#include "client/client.h"

namespace kvcommons {

struct PlanRows {
  std::vector<PlaceSpan> places;  // point into the plan's lease
  std::vector<TokenRun> runs;
};

PlanRows RowsOf(const PlanHandle& plan);

// Places the plan's rows in an engine and asks whether the lease held meanwhile. kUnavailable: it
// did not, and what was copied is not to be trusted.
Status PlacePlan(Engine& engine, PlanHandle& plan, const std::vector<PlaceSpan>& places);

}  // namespace kvcommons
