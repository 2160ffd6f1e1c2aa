#include "align/load_controller.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "align/select/rows.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kMaxLayers = 4096;

template <typename T>
Status CheckRange(const char* name, T value, T low, T high) {
  if (value >= low && value <= high) return Status();  // Not a number is refused, too.
  return InvalidArgument(std::string(name) + " is " + std::to_string(value) + "; the limit is " +
                         std::to_string(low) + " to " + std::to_string(high));
}

Status Check(const LoadRequest& request) {
  KVC_RETURN_IF_ERROR(CheckRange("layer_count", request.layer_count, 1U, kMaxLayers));
  KVC_RETURN_IF_ERROR(
      CheckRange("reused_rows", request.reused_rows, std::int64_t{1}, kMaxLoadRows));
  KVC_RETURN_IF_ERROR(CheckRange("fresh_rows", request.fresh_rows, std::int64_t{0}, kMaxLoadRows));
  KVC_RETURN_IF_ERROR(CheckRange("bytes_per_token_layer", request.bytes_per_token_layer,
                                 std::int64_t{1}, kMaxBytesPerTokenLayer));
  KVC_RETURN_IF_ERROR(CheckRange("budget", request.budget, 0.0, 1.0));
  KVC_RETURN_IF_ERROR(CheckRange("check_cost_layers", request.check_cost_layers, 0.0,
                                 static_cast<double>(request.layer_count)));
  KVC_RETURN_IF_ERROR(CheckRange("quality_ratio", request.quality_ratio, 0.0, 1.0));
  KVC_RETURN_IF_ERROR(CheckRange("max_ratio", request.max_ratio, 0.0, 1.0));
  KVC_RETURN_IF_ERROR(CheckRange("floor_ratio", request.floor_ratio, 0.0, request.max_ratio));
  if (const double us = request.costs.ComputeUs(1, 1); !(us > 0) || !std::isfinite(us)) {
    return InvalidArgument("costs give " + std::to_string(us) + " us for a row; it is above 0");
  }
  return Status();
}

Status Check(const LoadTier& tier, const std::string& name) {
  if (!(tier.bytes_per_us > 0) || !std::isfinite(tier.bytes_per_us)) {
    return InvalidArgument(name + ".bytes_per_us is " + std::to_string(tier.bytes_per_us) +
                           "; it is above 0");
  }
  if (!(tier.cost_per_byte >= 0) || !std::isfinite(tier.cost_per_byte)) {
    return InvalidArgument(name + ".cost_per_byte is " + std::to_string(tier.cost_per_byte) +
                           "; it is 0 or more");
  }
  return Status();
}

// One layer's times.
struct LayerTimes {
  double reused_us = 0;    // t_c: prefill of all reused rows
  double fresh_us = 0;     // of the rows that are computed anyway
  double transfer_us = 0;  // t_i: of all reused rows

  double LoadUs(const LoadRequest& request, double ratio) const {
    return request.selected_rows_load ? transfer_us : (1 - ratio) * transfer_us;
  }
  double EqualRatio(const LoadRequest& request) const {
    const double spare = std::max(transfer_us - fresh_us, 0.0);
    return spare / (request.selected_rows_load ? reused_us : reused_us + transfer_us);
  }
};

LayerTimes TimesOf(const LoadRequest& request, const LoadTier& tier) {
  const double layers = request.layer_count;
  const std::int64_t reused = request.reused_rows, fresh = request.fresh_rows;
  LayerTimes times;
  times.reused_us = request.costs.ComputeUs(reused, reused / 2) / layers;
  times.fresh_us = request.costs.ComputeUs(fresh, reused + fresh / 2) / layers;
  times.transfer_us = static_cast<double>(reused) *
                      static_cast<double>(request.bytes_per_token_layer) / tier.bytes_per_us;
  return times;
}

// Rows that r is rounded to: up, since r* is a least, but never above r_max or the budget.
Result<std::int64_t> RowsFor(const LoadRequest& request, double equal_ratio) {
  const SelectChunk chunk{0, static_cast<Position>(request.reused_rows)};
  SelectRequest select;
  select.chunks = {&chunk, 1};
  select.layer_count = request.layer_count;
  select.budget = request.budget;
  select.check_cost_layers = request.check_cost_layers;
  const Result<std::size_t> affordable =
      AffordableRows(select, "load controller", AtCheckLayer(select));
  if (!affordable) return Fail(affordable.error());
  const auto reused = static_cast<double>(request.reused_rows);
  const double ratio = std::clamp(std::max(equal_ratio, request.quality_ratio), request.floor_ratio,
                                  request.max_ratio);
  // A hair each, so that a ratio that is exactly n rows gives n rows.
  const double rows =
      std::min(std::ceil(ratio * reused - 1e-6), std::floor(request.max_ratio * reused + 1e-6));
  return std::min(static_cast<std::int64_t>(rows), static_cast<std::int64_t>(*affordable));
}

}  // namespace

Result<LoadPlan> PlanLoad(const LoadRequest& request, const LoadTier& tier) {
  KVC_FAIL_IF_ERROR(Check(request));
  KVC_FAIL_IF_ERROR(Check(tier, "tier"));
  const LayerTimes times = TimesOf(request, tier);
  LoadPlan plan;
  plan.equal_ratio = times.EqualRatio(request);
  const Result<std::int64_t> rows = RowsFor(request, plan.equal_ratio);
  if (!rows) return Fail(rows.error());
  plan.rows = *rows;
  plan.ratio = static_cast<double>(plan.rows) / static_cast<double>(request.reused_rows);
  plan.load_us = times.LoadUs(request, plan.ratio);
  plan.total_us = plan.load_us;
  for (std::uint32_t layer = 0; layer < request.layer_count; ++layer) {
    // The first layers compute all reused rows, the last of them in part, where the rule looks.
    const double looked = std::clamp(request.check_cost_layers - layer, 0.0, 1.0);
    const double compute_us = times.fresh_us + std::max(looked, plan.ratio) * times.reused_us;
    const double next_us = layer + 1 < request.layer_count ? plan.load_us : 0;
    plan.compute_us.push_back(compute_us);
    plan.stall_us.push_back((layer == 0 ? plan.load_us : 0) + std::max(next_us - compute_us, 0.0));
    plan.total_us += std::max(next_us, compute_us);
  }
  return plan;
}

Result<std::optional<std::size_t>> CheapestHiddenTier(const LoadRequest& request,
                                                      std::span<const LoadTier> tiers) {
  KVC_FAIL_IF_ERROR(Check(request));
  if (tiers.empty() || tiers.size() > kMaxLoadTiers) {
    return Fail(InvalidArgument("tiers has " + std::to_string(tiers.size()) +
                                "; the limit is 1 to " + std::to_string(kMaxLoadTiers)));
  }
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < tiers.size(); ++i) {
    const LoadTier& tier = tiers[i];
    KVC_FAIL_IF_ERROR(Check(tier, "tiers[" + std::to_string(i) + "]"));
    const LayerTimes times = TimesOf(request, tier);
    const double compute_us = times.fresh_us + request.quality_ratio * times.reused_us;
    // A hair, so that a load that is exactly as long is hidden.
    if (times.LoadUs(request, request.quality_ratio) > compute_us * (1 + 1e-9)) continue;
    if (!best || tier.cost_per_byte < tiers[*best].cost_per_byte ||
        (tier.cost_per_byte == tiers[*best].cost_per_byte &&
         tier.bytes_per_us > tiers[*best].bytes_per_us)) {
      best = i;
    }
  }
  return best;
}

}  // namespace kvcommons
