// `--budget auto`: how much of a prompt's reused rows to compute again, by the loading controller
// (align/load_controller.h) from what this engine measured of itself.
//
// Rows come from the daemon's shared memory: what lay on disk was loaded before there was a plan,
// and no recompute hides that. Where a rule looks at the question first, rows are placed beside the
// look, and recompute, which comes later, hides nothing: the ratio is then the least. A rule that
// can do without looks where PaysToLookAtQuestion() says so of that budget.
//
// Pure. Source: specs: selective recompute §A.2.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "agents/engine/llama_engine.h"
#include "align/select/rule.h"

namespace kvcommons {

// Limits of the recomputed share of reused rows.
struct AutoBudget {
  double least_ratio = 0.15;  // r*: less loses quality
  double most_ratio = 0.5;    // more saves too little beside full prefill
  // Measured, of copies that are on disk alone; 0: none was read yet.
  double disk_bytes_per_us = 0;
};

struct BudgetChoice {
  double budget = 0;  // charged, the rule's looking included
  bool looks_at_question = false;
  double equal_ratio = 0;  // r_eq: recompute takes as long as the load
  double ratio = 0;        // of reused rows to compute again
  double load_us = 0;      // one layer
  double total_us = 0;     // predicted, the look included
  std::string tier;        // where the rows lie
  // The cheapest tier whose load the least ratio would hide, were it streamed layer by layer:
  // "disk", "memory", or "none". Empty: how fast the disk is is not known.
  std::string cheapest_tier;
  std::string why;  // for people, a line
};

// "auto" (no number), or a number. kInvalidArgument names the text.
Result<std::optional<double>> ParseBudget(const std::string& text);
// kInvalidArgument: ratios out of 0 to 1 or the wrong way round, a rule that takes no budget.
Status CheckAutoBudget(const AutoBudget& limits, const std::string& rule);

// For reused rows of `request`, whose budget is not read, and `fresh_rows` others. REQUIRES:
// CheckAutoBudget() said OK. kInvalidArgument: no rows are reused, or costs that are none.
Result<BudgetChoice> ChooseBudget(const AutoBudget& limits, const CostModel& costs,
                                  const ModelProfile& profile, const SelectRequest& request,
                                  const SelectNeeds& needs, std::uint32_t fresh_rows);

}  // namespace kvcommons
