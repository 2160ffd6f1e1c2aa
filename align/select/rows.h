// What the rules share: the reused rows of a request, how many of them a budget buys, the best of
// them. Internal to align/select. Pure functions.

#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "align/select/rule.h"

namespace kvcommons {

// kInvalidArgument, naming field, value and limit.
Status CheckEvidence(std::string_view name, std::span<const float> values, std::size_t wanted);

// Positions of all reused rows, in the chunks' order.
std::vector<Position> ReusedRowsOf(const SelectRequest& request);

// What a rule's looking costs.
struct Looking {
  double layers = 0;      // for every reused row
  double row_layers = 0;  // on top
};
inline Looking AtCheckLayer(const SelectRequest& request) { return {request.check_cost_layers, 0}; }
inline Looking AtQuestion(const SelectRequest& request) {
  return {0, request.question_cost_row_layers};
}

inline SelectNeeds NeedsOfCheckLayer() {
  SelectNeeds needs;
  needs.check_layer = true;
  return needs;
}

// How many rows the budget buys in all layers, after looking. kInvalidArgument when looking alone
// costs more.
Result<std::size_t> AffordableRows(const SelectRequest& request, std::string_view rule,
                                   const Looking& looking);

// Where rules look at the question: everywhere, in three layers of the middle, or deep.
std::vector<std::uint32_t> AllLayers(std::uint32_t layer_count);
std::vector<std::uint32_t> MiddleLayers(std::uint32_t layer_count);
// At six, seven, eight and nine tenths of the depth: there is most of what stale rows do to an
// answer (specs: selective recompute §I), and there the question's attention tells best which.
std::vector<std::uint32_t> DeepLayers(std::uint32_t layer_count);

// Mean over the needed layers of the question's attention, per reused row.
Result<std::vector<double>> MeanQuestionAttention(const SelectRequest& request,
                                                  const SelectEvidence& evidence,
                                                  const SelectNeeds& needs);

// How many layers run a row that its rule wants in the first `depth`; 0 stays 0.
inline std::uint32_t RunDepth(const SelectRequest& request, std::uint32_t depth) {
  return request.whole_depth && depth > 0 ? request.layer_count : depth;
}

// Indices of the `count` largest scores, ascending; the lower index on a tie.
std::vector<std::size_t> LargestOf(std::span<const double> scores, std::size_t count);

// The selection of these indices into ReusedRowsOf(), each active in all layers.
Selection SelectionOf(const SelectRequest& request, std::span<const std::size_t> indices,
                      const Looking& looking);

}  // namespace kvcommons
