// Selection rules: which reused rows of a composed prompt are computed again. It is the one thing
// in which the published systems differ, so each is a plug-in over one mechanism.
//
// Rows that no chunk covers are fresh: always computed, never selected, never charged. Budgets are
// charged budgets: whatever a rule makes the engine compute for reused rows counts, its own looking
// included.
//
// A rule is pure and deterministic: equal inputs give equal selections, on every machine. Ties go
// to the lower position. Source: specs: selective recompute §1.4 (active sets shrink with depth),
// §1.6 (charged budget), §C.2 (the rules as formulas).
//
// Thread safety: rules have no state.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

// A chunk's reused rows [begin, end) of the prompt.
struct SelectChunk {
  Position begin = 0;
  Position end = 0;
};

struct SelectRequest {
  std::span<const SelectChunk> chunks;  // ascending, disjoint, not empty
  std::uint32_t layer_count = 0;
  double budget = 0;       // charged, 0 to 1: a share of reused rows × layers
  std::uint64_t seed = 0;  // of `random` alone
  // The engine runs a pass to its end: a selected row is computed, and charged, in all layers,
  // whatever depth its rule would give it.
  bool whole_depth = false;
  // What looking at the check layer costs for each reused row, in layers: layer 0 whole, and of
  // layer 1 the part up to its keys and values.
  double check_cost_layers = 2;
  // What looking at the question costs in all, in row-layers: its rows run once more up to the last
  // layer that a rule wants to see.
  double question_cost_row_layers = 0;

  std::size_t reused_rows() const;
};

// Low-rank covariance of a chunk's residuals, C ≈ U Uᵀ + ν I, the mean over the layers that matter
// (align/complete/loadings.h MeanLoadings).
struct ChunkLoadings {
  std::uint32_t rank = 0;         // 0: none are stored
  std::span<const float> values;  // U: [row][rank]
  float residue = 0;              // ν
};

// What a rule looks at. Arrays per reused row are in the order of the chunks' rows.
struct SelectEvidence {
  std::span<const float> key_deviation;       // Σ (K_new − K_stored)² at the check layer
  std::span<const float> value_deviation;     // the same of V
  std::span<const float> value_deviation_l1;  // Σ |V_new − V_stored|
  std::span<const float> attention_received;  // from all computed rows, at the check layer
  // [layer of SelectNeeds::question_layers][row]: mean over heads and question rows.
  std::span<const float> question_attention;
  std::span<const ChunkLoadings> loadings;  // a chunk each
};

// Layer 0 does not depend on context; the first one that does is where deviations are measured.
inline constexpr std::uint32_t kCheckLayer = 1;

struct SelectNeeds {
  bool check_layer = false;         // the three deviations at the check layer
  bool attention_received = false;  // with it: attention_received, which costs more than they do
  std::vector<std::uint32_t> question_layers;  // question_attention in these, ascending
  // Question_attention may be missing: PaysToLookAtQuestion().
  bool question_optional = false;
  bool anchored_question =
      false;  // the question runs over each chunk's anchor digest, not all rows
  bool loadings = false;
  bool decode_stage = false;  // goes on choosing rows while the answer is made (decode_stage.h)
  // With check_layer: the published method also moves the rows that were not selected
  // (complete/shift.h). Never on top of residual completion, but where that is off.
  bool own_completion = false;
};

struct Selection {
  std::vector<Position> rows;  // ascending, reused
  // rows[i] is active in the layers [0, depth[i]), 1 to all; all of them where SelectRequest says
  // so.
  std::vector<std::uint32_t> depth;
  double looked_layers = 0;     // run for every reused row, selected or not
  double extra_row_layers = 0;  // run on top of all that
};

// Row-layers spent on reused rows and on looking, over L·|R|.
double ChargedBudget(const SelectRequest& request, const Selection& selection);

// Whether looking at the question leaves enough of the budget for what it tells: it costs nothing,
// the rule cannot do without, or it costs at most kMaxQuestionShare of the budget and
// kMaxQuestionBudget in all. On prompts of 650 tokens a look is charged 0.034 to 0.05, and rows are
// worth more; on 2,000 tokens 0.017, and knowing which chunk is asked about is worth more, at
// budgets of 0.10 and 0.17 (docs/fidelity.md).
inline constexpr double kMaxQuestionShare = 0.2;
inline constexpr double kMaxQuestionBudget = 0.025;
bool PaysToLookAtQuestion(const SelectRequest& request, const SelectNeeds& needs);

class SelectRule {
 public:
  virtual ~SelectRule() = default;
  virtual std::string_view name() const = 0;
  virtual SelectNeeds Needs(std::uint32_t layer_count) const = 0;
  // kInvalidArgument: a request out of its limits, evidence of another length than needed, or a
  // budget that the rule's looking alone exceeds (the message names both).
  Result<Selection> Select(const SelectRequest& request, const SelectEvidence& evidence) const;

 private:
  // REQUIRES: the request is within its limits; Select() checked it.
  virtual Result<Selection> Choose(const SelectRequest& request,
                                   const SelectEvidence& evidence) const = 0;
};

// kInvalidArgument for an unknown name: the message lists the known ones.
Result<std::unique_ptr<SelectRule>> MakeSelectRule(std::string_view name);
std::span<const std::string_view> SelectRuleNames();

}  // namespace kvcommons
