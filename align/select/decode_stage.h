// The decode stage of `dhd` (KVShare's second): rows that prefill left stale are computed again
// while the answer is generated, a few with every token, those that the token reads most wrongly.
//
// A stale row j errs by ΔV_j, and a token reads it with weight a_j, so its score is a_j·‖ΔV_j‖₁, as
// in the first stage. a_j is the current token's, summed over heads; ‖ΔV_j‖₁ is what the check
// layer measured at prefill: measuring again would need the row that is not computed. Rows that a
// Selection computed in some layers only are stale in the others, and stay candidates.
//
// Choosing changes nothing; rows leave the state when they were computed (Computed), so that a pass
// that failed loses none. Refuses attention of another length than the stale rows, or not finite.
//
// Source: specs: selective recompute §B.3. Thread safety: pure functions and a value.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "align/select/rule.h"

namespace kvcommons {

inline constexpr std::uint32_t kDecodeRows = 3;  // a token; the paper's N
inline constexpr std::uint32_t kMaxDecodeRows = 256;

// Reused rows that are not yet computed in every layer, ascending, each with its ‖ΔV‖₁.
struct StaleRows {
  std::vector<Position> rows;
  std::vector<float> deviation;
};

// What prefill leaves stale. `value_deviation_l1` as in SelectEvidence. kInvalidArgument: a
// deviation per reused row is needed, and a selection of this request.
Result<StaleRows> StaleAfterPrefill(const SelectRequest& request,
                                    std::span<const float> value_deviation_l1,
                                    const Selection& selection);

// The best `count` rows to compute along with the token that attends to the stale rows like this;
// fewer where fewer score above 0: a row that is not read or does not err is not worth a token's
// time. Ascending; the lower position on a tie. kInvalidArgument names field, value and limit.
Result<std::vector<Position>> ChooseAtDecode(const StaleRows& stale,
                                             std::span<const float> attention,
                                             std::uint32_t count = kDecodeRows);

// The rows that are stale still, once `rows` (ascending) were computed in all layers.
StaleRows Computed(const StaleRows& stale, std::span<const Position> rows);

}  // namespace kvcommons
