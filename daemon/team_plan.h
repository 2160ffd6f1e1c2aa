// From an agent's contents to a plan of its prompt: which contents are reused, corrected by what
// earlier ones taught, or everything behind the exact chain computed so that there is something to
// learn from.
//
// All or nothing: contents are reused where every slot can be corrected over its whole length, and
// where the cost model does not find the exact chain alone as fast (I11). Text between slots is
// computed, or corrected where that is asked and its own rows are there; then what can be learned
// of it is, before contents are reused. Corrected rows belong to
// the plan: they are never found under any key (I3), and equal requests of equal epochs give equal
// bytes. Source: specs: KVCOMM §5, §7, §11 (operations 3 and 4; profile C with the text computed,
// the variants mean and mean+seg), §10 (D2, D9, D10, D12). Thread safety: blocks on the disk; any
// thread.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "daemon/plan_maker.h"
#include "daemon/team.h"
#include "daemon/team_blend.h"
#include "store/store.h"

namespace kvcommons {

// How contents' rows are corrected. Values travel over the wire.
enum class TeamCorrection : std::uint8_t {
  kNone = 0,         // turned to their place and nothing else
  kMean = 1,         // the mean offset of earlier ones
  kAnchors = 2,      // earlier ones' offsets by nearness (profile C)
  kTrustedMean = 3,  // the mean, each row as far as it is more than chance
};

struct TeamPlanRequest {
  static constexpr std::uint32_t kMaxFirstRows = 1024;

  AgentTemplatePtr shape;
  std::vector<TeamContentRef> contents;  // one a slot
  std::uint32_t least_deposits = 4;
  TeamCorrection correction = TeamCorrection::kMean;
  double gamma = 0.3;  // of the gate, which anchors ask
  std::uint32_t first_rows = 0;
  bool correct_text = false;  // not with kAnchors: the text between slots is computed there
  bool exact = false;
  PromptRequest prompt;  // tokens, costs, store_tokens and edit.min_run; the rest follows
};

// Why a slot or a plan is what it is: fixed words, as the schema lists them.
namespace team_reason {
inline constexpr std::string_view kCorrected = "corrected", kAskedExact = "asked_exact",
                                  kFewDeposits = "few_deposits", kFewLong = "few_long",
                                  kMissingBase = "missing_base", kNotWorthIt = "not_worth_it",
                                  kPoolBound = "pool_bound", kSpread = "spread",
                                  kNoRoom = "no_room", kCannotMove = "cannot_move", kHeld = "held",
                                  kEmpty = "empty";
}  // namespace team_reason

struct TeamSlotPlan {
  std::string_view reason;
  std::uint32_t covered_rows = 0;
  std::uint32_t deposits = 0;  // that the mean is of, or anchors that correct
  bool is_wanted = false;
  double entropy_bits = 0;  // where the gate was asked
};

struct TeamPlan {
  PreparedPlan prepared;
  PromptLayout layout;
  bool reuses = false;
  std::string_view reason;
  std::uint64_t epoch = 0;
  std::vector<TeamSlotPlan> slots;
  std::vector<TeamSlotPlan> texts;  // behind each slot; none unless the request corrects text
  double gate_us = 0, weights_us = 0, blend_us = 0;
};

// The prompt's tokens. kInvalidArgument: contents do not fit the template or the context.
Result<TokenList> FillTemplate(const AgentTemplate& shape,
                               const std::vector<TeamContentRef>& contents,
                               std::uint32_t context_tokens);

// REQUIRES: request.prompt.tokens are FillTemplate()'s.
Result<TeamPlan> MakeTeamPlan(Store& store, const Clock& clock,
                              std::shared_ptr<const OpenedModel> model, const Team& team,
                              TeamPlanRequest request);

// A content's own rows; empty where a block is gone or there is no room for it.
BaseRows PinBase(Store& store, const OpenedModel& model, const Team& team,
                 const TeamContentRef& content);

}  // namespace kvcommons
