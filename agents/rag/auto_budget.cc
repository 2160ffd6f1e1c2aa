#include "agents/rag/auto_budget.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "align/load_controller.h"

namespace kvcommons {
namespace {

// Of keeping a byte in memory, in that of keeping it on disk. Only which one is dearer matters.
constexpr double kMemoryCost = 20;

Result<BudgetChoice> Choose(const AutoBudget& limits, const CostModel& costs,
                            const ModelProfile& profile, const SelectRequest& request,
                            const SelectNeeds& needs, std::uint32_t fresh_rows) {
  const std::size_t reused = request.reused_rows();
  const bool looks_at_question = !needs.question_layers.empty();
  LoadRequest load;
  load.costs = costs;
  load.layer_count = request.layer_count;
  load.reused_rows = static_cast<std::int64_t>(reused);
  load.fresh_rows = fresh_rows;
  load.bytes_per_token_layer =
      static_cast<std::int64_t>(profile.planes().BlockBytes(1) / profile.layer_count);
  // Otherwise the rows are known before placing begins, and the engine leaves them out.
  load.selected_rows_load = looks_at_question;
  load.check_cost_layers = needs.check_layer ? request.check_cost_layers : 0;
  load.quality_ratio = load.floor_ratio = limits.least_ratio;
  load.max_ratio = limits.most_ratio;
  if (looks_at_question) {
    // In whole rows, so that the most does not round the least down.
    const auto rows = static_cast<double>(reused);
    load.max_ratio = std::min(limits.most_ratio, std::ceil(limits.least_ratio * rows) / rows);
  }
  const double row_us = costs.PlaceUs(1, true);
  const double row_bytes = static_cast<double>(load.bytes_per_token_layer) * load.layer_count;
  const LoadTier memory{row_bytes / row_us, kMemoryCost};
  const auto plan = PlanLoad(load, memory);
  if (!plan) return Fail(plan.error());

  BudgetChoice choice;
  choice.looks_at_question = looks_at_question;
  choice.tier = "memory";
  choice.equal_ratio = plan->equal_ratio;
  choice.ratio = plan->ratio;
  choice.load_us = plan->load_us;
  if (limits.disk_bytes_per_us > 0) {
    // What is read is placed, too, beside reading more.
    const LoadTier disk{std::min(memory.bytes_per_us, limits.disk_bytes_per_us), 1};
    const auto cheapest = CheapestHiddenTier(load, std::array{memory, disk});
    if (!cheapest) return Fail(cheapest.error());
    choice.cheapest_tier = !*cheapest ? "none" : **cheapest == 0 ? "memory" : "disk";
  }
  choice.total_us = plan->total_us;
  Selection bought;
  bought.rows.resize(static_cast<std::size_t>(plan->rows));
  bought.depth.assign(bought.rows.size(), request.layer_count);
  bought.looked_layers = load.check_cost_layers;
  if (looks_at_question) {
    bought.extra_row_layers = request.question_cost_row_layers;
    choice.total_us +=
        costs.ComputeUs(fresh_rows, static_cast<std::int64_t>(reused) + fresh_rows / 2) *
        (needs.question_layers.back() + 1.0) / request.layer_count;
  }
  // A hair more, so that division does not lose a row.
  choice.budget = std::min(1.0, ChargedBudget(request, bought) * (1 + 1e-12));

  const char* const reason =
      looks_at_question
          ? "the least, since rows are placed beside the look and recompute hides none"
      : plan->equal_ratio > limits.most_ratio  ? "the most; loading takes longer"
      : plan->equal_ratio > limits.least_ratio ? "as much as hides loading"
                                               : "the least; it hides loading";
  char line[256];
  std::snprintf(line, sizeof line,
                "budget auto: %.3f of the reused rows are computed again (%s); a layer's load of "
                "%.0f us from shared memory is hidden from %.4f on",
                choice.ratio, reason, choice.load_us, choice.equal_ratio);
  choice.why = line;
  if (!choice.cheapest_tier.empty()) {
    std::snprintf(line, sizeof line,
                  "; the cheapest tier that it hides, with a disk of %.0f MB/s: %s",
                  limits.disk_bytes_per_us, choice.cheapest_tier.c_str());
    choice.why += line;
  }
  return choice;
}

}  // namespace

Result<std::optional<double>> ParseBudget(const std::string& text) {
  if (text == "auto") return std::optional<double>();
  double budget = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, budget);
  if (read.ec != std::errc() || read.ptr != end || !(budget >= 0 && budget <= 1)) {
    return Fail(InvalidArgument("budget is '" + text + "'; use auto or a number from 0 to 1"));
  }
  return std::optional<double>(budget);
}

Status CheckAutoBudget(const AutoBudget& limits, const std::string& rule) {
  if (rule == "none" || rule == "all") {
    return InvalidArgument("budget is 'auto', and rule '" + rule +
                           "' takes no budget; use another rule");
  }
  if (!(limits.most_ratio >= 0 && limits.most_ratio <= 1)) {
    return InvalidArgument("most_ratio is " + std::to_string(limits.most_ratio) +
                           "; the limit is 0 to 1");
  }
  if (!(limits.least_ratio >= 0 && limits.least_ratio <= limits.most_ratio)) {
    return InvalidArgument("least_ratio is " + std::to_string(limits.least_ratio) +
                           "; the limit is 0 to most_ratio, " + std::to_string(limits.most_ratio));
  }
  if (!(limits.disk_bytes_per_us >= 0)) {
    return InvalidArgument("disk_bytes_per_us is " + std::to_string(limits.disk_bytes_per_us) +
                           "; it is 0 or more");
  }
  return Status();
}

Result<BudgetChoice> ChooseBudget(const AutoBudget& limits, const CostModel& costs,
                                  const ModelProfile& profile, const SelectRequest& request,
                                  const SelectNeeds& needs, std::uint32_t fresh_rows) {
  auto choice = Choose(limits, costs, profile, request, needs, fresh_rows);
  if (!choice || !needs.question_optional) return choice;
  SelectRequest looked = request;
  looked.budget = choice->budget;
  if (PaysToLookAtQuestion(looked, needs)) return choice;
  SelectNeeds without = needs;
  without.question_layers.clear();
  return Choose(limits, costs, profile, request, without, fresh_rows);
}

}  // namespace kvcommons
