// How much to compute again while stored KV loads, and from where to load it (CacheBlend's
// controller). Loading layer l+1 runs beside computing layer l, so whichever is shorter is free:
//
//   r_eq      recompute takes as long as the load: with every row transferred r·t_c = t_i, and
//             r·t_c = (1 − r)·t_i where the selection is known before loading, so that selected
//             rows are not transferred (CacheTune: r0 = t_i ÷ (t_c + t_i))
//   r         max(r_eq, r*) within [r_floor, r_max], in whole rows, and no more than the charged
//             budget buys: slack behind a slow load is spent on quality, never below r*
//   tier      for a new copy: the cheapest whose load hides behind recompute at r*
//   time      T ≈ load(layer 0) + Σ_l max(load(l+1), compute(l))
//
// t_c is one layer's prefill of the reused rows, t_i their transfer. Rows that are computed anyway
// (the question) hide loading, too: r_eq counts them. Charged budgets and rows as in select/rule.h.
//
// Pure: times come from a measured CostModel and from measured bandwidths. Refuses what is out of
// the limits below, naming field, value and limit. Source: specs: selective recompute §A.2.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "align/cost_model.h"
#include "base/status.h"

namespace kvcommons {

inline constexpr std::size_t kMaxLoadTiers = 16;
inline constexpr std::int64_t kMaxLoadRows = 1 << 24;
inline constexpr std::int64_t kMaxBytesPerTokenLayer = 1 << 24;

// Where KV can lie: arena, disk, remote.
struct LoadTier {
  double bytes_per_us = 0;   // measured; above 0
  double cost_per_byte = 0;  // of keeping one, in any unit that all tiers share; 0 or more
};

struct LoadRequest {
  CostModel costs;
  std::uint32_t layer_count = 0;           // 1 to 4096
  std::int64_t reused_rows = 0;            // 1 to kMaxLoadRows
  std::int64_t fresh_rows = 0;             // behind them; 0 to kMaxLoadRows
  std::int64_t bytes_per_token_layer = 0;  // K and V; 1 to kMaxBytesPerTokenLayer
  bool selected_rows_load = true;          // false: the selection is static, they are left out
  double check_cost_layers = 0;            // of looking, by the rule: 0 to layer_count
  double budget = 1;                       // charged, 0 to 1
  double quality_ratio = 0.15;             // r*: less loses quality (CacheBlend's Fig. 16)
  double floor_ratio = 0, max_ratio = 1;   // 0 ≤ floor ≤ max ≤ 1
};

struct LoadPlan {
  double equal_ratio =
      0;                  // r_eq, as it is: above 1 where even full prefill is faster than the load
  std::int64_t rows = 0;  // to compute again in all layers
  double ratio = 0;       // rows ÷ reused rows
  double load_us = 0;     // one layer
  std::vector<double> compute_us;  // [layer]: looking, selected rows, fresh rows
  std::vector<double> stall_us;    // [layer]: after its work, for the next layer's KV; [0] also
                                   // waits for its own, which nothing hides
  double total_us = 0;             // T
};

// For KV that lies in `tier`. kInvalidArgument also where looking alone exceeds the budget.
Result<LoadPlan> PlanLoad(const LoadRequest& request, const LoadTier& tier);

// Index of the cheapest tier whose load hides behind recompute at r* (the faster one on a tie, then
// the first); nothing where none does: keep it in the fastest, or take less of it.
Result<std::optional<std::size_t>> CheapestHiddenTier(const LoadRequest& request,
                                                      std::span<const LoadTier> tiers);

}  // namespace kvcommons
