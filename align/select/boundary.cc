// `boundary` (EPIC's LegoLink-k): the first rows of every chunk, where a chunk that was computed
// alone took its own beginning for the text's. Needs nothing; k is what the budget buys, the same
// for every chunk up to one row.

#include <algorithm>

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

class BoundaryRule final : public SelectRule {
 public:
  std::string_view name() const override { return "boundary"; }
  SelectNeeds Needs(std::uint32_t) const override { return {}; }

  Result<Selection> Choose(const SelectRequest& request, const SelectEvidence&) const override {
    const Result<std::size_t> count = AffordableRows(request, name(), {});
    if (!count) return Fail(count.error());
    // Row 0 of every chunk, then row 1 of every chunk that has one, ...
    std::vector<double> scores;
    for (const SelectChunk& chunk : request.chunks) {
      for (Position row = chunk.begin; row < chunk.end; ++row) scores.push_back(chunk.begin - row);
    }
    return SelectionOf(request, LargestOf(scores, *count), {});
  }
};

}  // namespace

std::unique_ptr<SelectRule> MakeBoundaryRule() { return std::make_unique<BoundaryRule>(); }

}  // namespace kvcommons
