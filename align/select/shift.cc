// `shift` (AgentKVShift): the rows that diverge most at the check layer are probes. They are
// computed again, and what they measure moves the other rows of their chunk (complete/shift.h).
//
// The paper ranks probes by keys and by values apart. One pass computes both planes of a row, so
// here both rankings name rows in turn, best first, until the budget is spent: a row's rank is the
// better of its two. Ranks and not sums, because the two deviations have different units.
//
// Source: specs: selective recompute §C.2.

#include <algorithm>
#include <numeric>

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

// Lowers rank[i] to the place of values[i] from the largest down; the lower index on a tie.
void LowerToRankBy(std::span<const float> values, std::vector<std::size_t>& rank) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  for (std::size_t place = 0; place < order.size(); ++place) {
    rank[order[place]] = std::min(rank[order[place]], place);
  }
}

class ShiftRule final : public SelectRule {
 public:
  std::string_view name() const override { return "shift"; }
  SelectNeeds Needs(std::uint32_t) const override {
    SelectNeeds needs = NeedsOfCheckLayer();
    needs.own_completion = true;
    return needs;
  }

  Result<Selection> Choose(const SelectRequest& request,
                           const SelectEvidence& evidence) const override {
    const std::size_t reused = request.reused_rows();
    KVC_FAIL_IF_ERROR(CheckEvidence("key_deviation", evidence.key_deviation, reused));
    KVC_FAIL_IF_ERROR(CheckEvidence("value_deviation", evidence.value_deviation, reused));
    const Result<std::size_t> count = AffordableRows(request, name(), AtCheckLayer(request));
    if (!count) return Fail(count.error());

    std::vector<std::size_t> rank(reused, reused);
    LowerToRankBy(evidence.key_deviation, rank);
    LowerToRankBy(evidence.value_deviation, rank);
    std::vector<double> scores;
    scores.reserve(reused);
    for (const std::size_t place : rank) scores.push_back(-static_cast<double>(place));
    return SelectionOf(request, LargestOf(scores, *count), AtCheckLayer(request));
  }
};

}  // namespace

std::unique_ptr<SelectRule> MakeShiftRule() { return std::make_unique<ShiftRule>(); }

}  // namespace kvcommons
