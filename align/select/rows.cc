#include "align/select/rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace kvcommons {
namespace {

// Names field, value and limit.
Status Check(const SelectRequest& request) {
  constexpr std::uint32_t kMaxLayers = 4096;
  if (!(request.budget >= 0 && request.budget <= 1)) {
    return InvalidArgument("budget is " + std::to_string(request.budget) +
                           "; the limit is 0 to 1, a share of the reused rows' layers");
  }
  if (request.layer_count < 1 || request.layer_count > kMaxLayers) {
    return InvalidArgument("layer_count is " + std::to_string(request.layer_count) +
                           "; the limit is 1 to " + std::to_string(kMaxLayers));
  }
  if (!(request.question_cost_row_layers >= 0)) {
    return InvalidArgument("question_cost_row_layers is " +
                           std::to_string(request.question_cost_row_layers) + "; it is 0 or more");
  }
  if (!(request.check_cost_layers >= 0 && request.check_cost_layers <= request.layer_count)) {
    return InvalidArgument("check_cost_layers is " + std::to_string(request.check_cost_layers) +
                           "; the limit is 0 to " + std::to_string(request.layer_count));
  }
  Position end = 0;
  for (std::size_t i = 0; i < request.chunks.size(); ++i) {
    const SelectChunk& chunk = request.chunks[i];
    if (chunk.begin < end || chunk.end <= chunk.begin) {
      return InvalidArgument("chunk " + std::to_string(i) + " is [" + std::to_string(chunk.begin) +
                             ", " + std::to_string(chunk.end) +
                             "); chunks ascend, are not empty, and this one begins at " +
                             std::to_string(end) + " or later");
    }
    end = chunk.end;
  }
  return Status();
}

}  // namespace

std::size_t SelectRequest::reused_rows() const {
  std::size_t rows = 0;
  for (const SelectChunk& chunk : chunks) rows += static_cast<std::size_t>(chunk.end - chunk.begin);
  return rows;
}

double ChargedBudget(const SelectRequest& request, const Selection& selection) {
  const auto reused = static_cast<double>(request.reused_rows());
  if (reused == 0) return 0;
  double row_layers = selection.extra_row_layers;
  row_layers += selection.looked_layers * (reused - static_cast<double>(selection.rows.size()));
  for (const std::uint32_t depth : selection.depth) {
    row_layers += std::max(selection.looked_layers, static_cast<double>(depth));
  }
  return row_layers / (reused * request.layer_count);
}

bool PaysToLookAtQuestion(const SelectRequest& request, const SelectNeeds& needs) {
  if (needs.question_layers.empty()) return false;
  if (!needs.question_optional) return true;
  const double row_layers = static_cast<double>(request.reused_rows()) * request.layer_count;
  const double limit = std::min(kMaxQuestionShare * request.budget, kMaxQuestionBudget);
  return request.question_cost_row_layers <= limit * row_layers;
}

Result<Selection> SelectRule::Select(const SelectRequest& request,
                                     const SelectEvidence& evidence) const {
  KVC_FAIL_IF_ERROR(Check(request));
  return Choose(request, evidence);
}

Status CheckEvidence(std::string_view name, std::span<const float> values, std::size_t wanted) {
  if (values.size() != wanted) {
    return InvalidArgument(std::string(name) + " has " + std::to_string(values.size()) +
                           " values; this request needs " + std::to_string(wanted));
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return InvalidArgument(std::string(name) + "[" + std::to_string(i) + "] is not finite");
    }
  }
  return Status();
}

std::vector<Position> ReusedRowsOf(const SelectRequest& request) {
  std::vector<Position> rows;
  rows.reserve(request.reused_rows());
  for (const SelectChunk& chunk : request.chunks) {
    for (Position row = chunk.begin; row < chunk.end; ++row) rows.push_back(row);
  }
  return rows;
}

Result<std::size_t> AffordableRows(const SelectRequest& request, std::string_view rule,
                                   const Looking& looking) {
  const auto reused = static_cast<double>(request.reused_rows());
  if (reused == 0) return std::size_t{0};
  const double row_layers = reused * request.layer_count;
  const double looked = looking.layers * reused + looking.row_layers;
  const double spare = request.budget * row_layers - looked;
  if (spare < 0) {
    return Fail(InvalidArgument("budget is " + std::to_string(request.budget) + "; rule '" +
                                std::string(rule) + "' spends " +
                                std::to_string(looked / row_layers) +
                                " on looking: give more, or use a rule that looks at less"));
  }
  if (looking.layers >= request.layer_count) return request.reused_rows();
  // A hair more, so that a budget that is exactly n rows buys n rows.
  const double rows = std::floor(spare / (request.layer_count - looking.layers) + 1e-9);
  return std::min(static_cast<std::size_t>(rows), request.reused_rows());
}

std::vector<std::uint32_t> AllLayers(std::uint32_t layer_count) {
  std::vector<std::uint32_t> layers(layer_count);
  std::iota(layers.begin(), layers.end(), 0U);
  return layers;
}

std::vector<std::uint32_t> MiddleLayers(std::uint32_t layer_count) {
  const std::uint32_t middle = layer_count / 2;
  if (layer_count < 3) return {middle};
  return {middle - 1, middle, middle + 1};
}

std::vector<std::uint32_t> DeepLayers(std::uint32_t layer_count) {
  std::vector<std::uint32_t> layers;
  for (const std::uint32_t tenths : {6U, 7U, 8U, 9U}) {
    const std::uint32_t layer = layer_count * tenths / 10;
    if (layers.empty() || layers.back() != layer) layers.push_back(layer);
  }
  return layers;
}

Result<std::vector<double>> MeanQuestionAttention(const SelectRequest& request,
                                                  const SelectEvidence& evidence,
                                                  const SelectNeeds& needs) {
  const std::size_t reused = request.reused_rows();
  const std::size_t layers = needs.question_layers.size();
  KVC_FAIL_IF_ERROR(
      CheckEvidence("question_attention", evidence.question_attention, layers * reused));
  std::vector<double> mean(reused, 0);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (std::size_t i = 0; i < reused; ++i) {
      mean[i] +=
          double{evidence.question_attention[layer * reused + i]} / static_cast<double>(layers);
    }
  }
  return mean;
}

std::vector<std::size_t> LargestOf(std::span<const double> scores, std::size_t count) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  count = std::min(count, order.size());
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(order.begin(), end, order.end(), [&](std::size_t a, std::size_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  order.erase(end, order.end());
  std::sort(order.begin(), order.end());
  return order;
}

Selection SelectionOf(const SelectRequest& request, std::span<const std::size_t> indices,
                      const Looking& looking) {
  const std::vector<Position> reused = ReusedRowsOf(request);
  Selection selection;
  selection.looked_layers = looking.layers;
  selection.extra_row_layers = looking.row_layers;
  selection.rows.reserve(indices.size());
  for (const std::size_t index : indices) selection.rows.push_back(reused[index]);
  selection.depth.assign(indices.size(), request.layer_count);
  return selection;
}

}  // namespace kvcommons
