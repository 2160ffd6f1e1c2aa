// `deviation-gradual` (CacheBlend as its paper has it): the layers behind the check layer compute
// more rows than the target, and fewer with every layer, until the target is reached. The paper
// prints no schedule; this one is ours: with n rows at the end, layer l computes share(l)·n,
//
//   share = 1.5 up to the check layer, falling linearly to 1 over the first quarter of the layers
//
// and n is the largest that the charged budget buys, so that the layers' mean is the budget.
//
// An engine that runs a pass to its end (SelectRequest::whole_depth) leaves nothing of a schedule:
// then it is `deviation`, but for a row that rounding may leave out.
//
// Not taken over: ranking again at each layer. One pass knows its rows before it starts, so which
// rows last longest is decided at the check layer, by the evidence that `deviation` uses.
//
// Source: specs: selective recompute §A.1.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

constexpr double kFirstShare = 1.5;

double ShareAt(std::uint32_t layer, std::uint32_t layer_count) {
  const std::uint32_t last = std::max((layer_count + 3) / 4, kCheckLayer + 1);
  if (layer <= kCheckLayer) return kFirstShare;
  if (layer >= last) return 1;
  return kFirstShare -
         (kFirstShare - 1) * (layer - kCheckLayer) / static_cast<double>(last - kCheckLayer);
}

// By rank, deepest first: how many layers compute the row of that rank.
std::vector<std::uint32_t> DepthsOf(std::size_t rows_at_end, std::size_t reused,
                                    std::uint32_t layer_count) {
  std::vector<std::uint32_t> depths;
  for (std::uint32_t layer = layer_count; layer > 0; --layer) {
    const double rows =
        std::floor(ShareAt(layer - 1, layer_count) * static_cast<double>(rows_at_end) + 1e-9);
    const std::size_t active = std::min(static_cast<std::size_t>(rows), reused);
    if (active > depths.size()) depths.resize(active, layer);
  }
  return depths;
}

class GradualRule final : public SelectRule {
 public:
  std::string_view name() const override { return "deviation-gradual"; }
  SelectNeeds Needs(std::uint32_t) const override { return NeedsOfCheckLayer(); }

  Result<Selection> Choose(const SelectRequest& request,
                           const SelectEvidence& evidence) const override {
    const std::size_t reused = request.reused_rows();
    KVC_FAIL_IF_ERROR(CheckEvidence("value_deviation", evidence.value_deviation, reused));
    // Says when looking alone costs more, and is as many rows as a flat schedule would buy.
    const Result<std::size_t> flat = AffordableRows(request, name(), AtCheckLayer(request));
    if (!flat) return Fail(flat.error());

    std::vector<std::size_t> ranked(reused);
    std::iota(ranked.begin(), ranked.end(), std::size_t{0});
    std::stable_sort(ranked.begin(), ranked.end(), [&](std::size_t a, std::size_t b) {
      return evidence.value_deviation[a] > evidence.value_deviation[b];
    });
    std::size_t fits = 0, too_many = *flat + 1;
    while (too_many - fits > 1) {
      const std::size_t count = fits + (too_many - fits) / 2;
      const Selection selection = SelectionFor(request, ranked, count);
      (ChargedBudget(request, selection) <= request.budget + 1e-12 ? fits : too_many) = count;
    }
    return SelectionFor(request, ranked, fits);
  }

 private:
  static Selection SelectionFor(const SelectRequest& request, std::span<const std::size_t> ranked,
                                std::size_t rows_at_end) {
    const auto depths = DepthsOf(rows_at_end, ranked.size(), request.layer_count);
    std::vector<std::uint32_t> depth_of(ranked.size(), 0);
    for (std::size_t rank = 0; rank < depths.size(); ++rank) depth_of[ranked[rank]] = depths[rank];
    std::vector<std::size_t> indices;
    for (std::size_t i = 0; i < depth_of.size(); ++i) {
      if (depth_of[i] > 0) indices.push_back(i);
    }
    Selection selection = SelectionOf(request, indices, AtCheckLayer(request));
    for (std::size_t i = 0; i < indices.size(); ++i) {
      selection.depth[i] = RunDepth(request, depth_of[indices[i]]);
    }
    return selection;
  }
};

}  // namespace

std::unique_ptr<SelectRule> MakeGradualDeviationRule() { return std::make_unique<GradualRule>(); }

}  // namespace kvcommons
