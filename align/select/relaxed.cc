// `relaxed` (RelaxKV): every layer names the rows that the question attends to most there, and a
// row is active up to the deepest layer that named it, since a layer needs what the layer before
// made of the row. Every layer names as many, the most that the budget allows; what is left of it
// goes to one more each, the deepest layers first.
//
// Not taken over: that active rows attend to each other's union only; here they attend to all rows,
// as the causal mask has it.

#include <algorithm>

#include "align/select/rows.h"
#include "align/select/rules.h"

namespace kvcommons {
namespace {

class RelaxedRule final : public SelectRule {
 public:
  std::string_view name() const override { return "relaxed"; }
  SelectNeeds Needs(std::uint32_t layer_count) const override {
    SelectNeeds needs;
    needs.question_layers = AllLayers(layer_count);
    return needs;
  }

  Result<Selection> Choose(const SelectRequest& request,
                           const SelectEvidence& evidence) const override {
    const std::size_t reused = request.reused_rows();
    KVC_FAIL_IF_ERROR(CheckEvidence("question_attention", evidence.question_attention,
                                    reused * request.layer_count));
    // The rank of every row in every layer is fixed; how many ranks count is searched.
    std::vector<std::vector<std::size_t>> ranked(request.layer_count);
    for (std::uint32_t layer = 0; layer < request.layer_count; ++layer) {
      const auto row = evidence.question_attention.subspan(layer * reused, reused);
      std::vector<std::size_t>& order = ranked[layer];
      for (std::size_t i = 0; i < reused; ++i) order.push_back(i);
      std::stable_sort(order.begin(), order.end(),
                       [&](std::size_t a, std::size_t b) { return row[a] > row[b]; });
    }
    // Says when looking alone costs more; its count is for rows that are active in all layers.
    const Result<std::size_t> affordable = AffordableRows(request, name(), AtQuestion(request));
    if (!affordable) return Fail(affordable.error());
    const double row_layers = request.budget * static_cast<double>(reused) * request.layer_count -
                              request.question_cost_row_layers + 1e-9;
    const auto charged = [&](const std::vector<std::uint32_t>& depths) {
      double sum = 0;
      for (const std::uint32_t depth : depths) sum += RunDepth(request, depth);
      return sum;
    };
    std::size_t fits = 0, too_many = reused + 1;
    while (too_many - fits > 1) {
      const std::size_t count = fits + (too_many - fits) / 2;
      (charged(DepthsOf(ranked, reused, count)) <= row_layers ? fits : too_many) = count;
    }
    std::vector<std::uint32_t> depths = DepthsOf(ranked, reused, fits);
    double left = row_layers - charged(depths);
    for (std::uint32_t layer = request.layer_count; layer > 0 && fits < reused; --layer) {
      std::uint32_t& depth = depths[ranked[layer - 1][fits]];
      const std::uint32_t deeper = std::max(depth, layer);
      const std::uint32_t more = RunDepth(request, deeper) - RunDepth(request, depth);
      if (more > left) continue;
      left -= more;
      depth = deeper;
    }
    std::vector<std::size_t> indices;
    for (std::size_t i = 0; i < reused; ++i) {
      if (depths[i] > 0) indices.push_back(i);
    }
    Selection selection = SelectionOf(request, indices, AtQuestion(request));
    for (std::size_t i = 0; i < indices.size(); ++i) {
      selection.depth[i] = RunDepth(request, depths[indices[i]]);
    }
    return selection;
  }

 private:
  static std::vector<std::uint32_t> DepthsOf(const std::vector<std::vector<std::size_t>>& ranked,
                                             std::size_t reused, std::size_t count) {
    std::vector<std::uint32_t> depths(reused, 0);
    for (std::uint32_t layer = 0; layer < ranked.size(); ++layer) {
      for (std::size_t i = 0; i < count; ++i) depths[ranked[layer][i]] = layer + 1;
    }
    return depths;
  }
};

}  // namespace

std::unique_ptr<SelectRule> MakeRelaxedRule() { return std::make_unique<RelaxedRule>(); }

}  // namespace kvcommons
