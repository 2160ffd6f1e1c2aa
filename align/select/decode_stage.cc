#include "align/select/decode_stage.h"

#include <algorithm>
#include <string>

#include "align/select/rows.h"

namespace kvcommons {

Result<StaleRows> StaleAfterPrefill(const SelectRequest& request,
                                    std::span<const float> value_deviation_l1,
                                    const Selection& selection) {
  KVC_FAIL_IF_ERROR(CheckEvidence("value_deviation_l1", value_deviation_l1, request.reused_rows()));
  if (selection.rows.size() != selection.depth.size()) {
    return Fail(InvalidArgument("selection has " + std::to_string(selection.rows.size()) +
                                " rows and " + std::to_string(selection.depth.size()) +
                                " depths; it needs one a row"));
  }
  StaleRows stale;
  std::size_t next = 0;  // of the selection
  const std::vector<Position> reused = ReusedRowsOf(request);
  for (std::size_t i = 0; i < reused.size(); ++i) {
    std::uint32_t depth = 0;
    if (next < selection.rows.size() && selection.rows[next] == reused[i]) {
      depth = selection.depth[next++];
    }
    if (depth >= request.layer_count) continue;
    stale.rows.push_back(reused[i]);
    stale.deviation.push_back(value_deviation_l1[i]);
  }
  if (next < selection.rows.size()) {
    return Fail(InvalidArgument("selection.rows[" + std::to_string(next) + "] is " +
                                std::to_string(selection.rows[next]) +
                                "; rows ascend and are reused rows of the request"));
  }
  return stale;
}

Result<std::vector<Position>> ChooseAtDecode(const StaleRows& stale,
                                             std::span<const float> attention,
                                             std::uint32_t count) {
  if (count > kMaxDecodeRows) {
    return Fail(InvalidArgument("count is " + std::to_string(count) + "; the limit is 0 to " +
                                std::to_string(kMaxDecodeRows)));
  }
  KVC_FAIL_IF_ERROR(CheckEvidence("attention", attention, stale.rows.size()));
  KVC_FAIL_IF_ERROR(CheckEvidence("deviation", stale.deviation, stale.rows.size()));
  std::vector<double> scores;
  scores.reserve(attention.size());
  for (std::size_t i = 0; i < attention.size(); ++i) {
    scores.push_back(double{attention[i]} * stale.deviation[i]);
  }
  std::vector<Position> rows;
  for (const std::size_t index : LargestOf(scores, count)) {
    if (scores[index] > 0) rows.push_back(stale.rows[index]);
  }
  return rows;
}

StaleRows Computed(const StaleRows& stale, std::span<const Position> rows) {
  StaleRows left;
  for (std::size_t i = 0; i < stale.rows.size(); ++i) {
    if (std::binary_search(rows.begin(), rows.end(), stale.rows[i])) continue;
    left.rows.push_back(stale.rows[i]);
    left.deviation.push_back(stale.deviation[i]);
  }
  return left;
}

}  // namespace kvcommons
