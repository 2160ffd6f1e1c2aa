#include "agents/engine/graph_watch.h"

#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>

#include "kernels/attention_scores.h"

namespace kvcommons {
namespace {

constexpr std::string_view kKeyCells = "attn_inp_k_idxs";
constexpr std::string_view kValueCells = "attn_inp_v_idxs";
constexpr std::string_view kMask = "attn_inp_kq_mask";
constexpr std::string_view kPositions = "inp_pos";
constexpr std::string_view kTemperature = "inp_attn_scale";  // by position

const ggml_tensor* SourceNamed(const ggml_tensor* node, std::string_view name) {
  for (const ggml_tensor* source : node->src) {
    if (source != nullptr && name == source->name) return source;
  }
  return nullptr;
}

bool InHostMemory(const ggml_tensor* tensor) {
  return tensor->data != nullptr && tensor->buffer != nullptr &&
         ggml_backend_buffer_is_host(tensor->buffer);
}

bool IsAttention(const ggml_tensor* node) {
  return (node->op == GGML_OP_FLASH_ATTN_EXT || node->op == GGML_OP_SOFT_MAX) &&
         SourceNamed(node, kMask) != nullptr;
}

float OpParameter(const ggml_tensor* node, std::size_t index) {
  float value = 0;
  std::memcpy(&value, reinterpret_cast<const char*>(node->op_params) + index * sizeof value,
              sizeof value);
  return value;
}

}  // namespace

bool GraphWatch::Callback(ggml_tensor* node, bool ask, void* self) {
  auto* watch = static_cast<GraphWatch*>(self);
  if (watch->mode_ == Mode::kIdle) return false;
  if (ask) return watch->Ask(node);
  return watch->Done(node);
}

CacheMemory GraphWatch::EndCapture(std::uint32_t head_dim) {
  mode_ = Mode::kIdle;
  head_dim_ = head_dim;
  memory_.value_transposed = !flash_;
  const bool whole =
      !bad_ && attention_seen_ && !memory_.layers.empty() && value_writes_ == memory_.layers.size();
  return whole ? memory_ : CacheMemory{};
}

void GraphWatch::BeginPass(const Pass& pass) {
  mode_ = Mode::kPass;
  pass_ = pass;
  cells_.clear();
  padding_seen_ = 0;
  ubatch_begin_ = 0;
  layer_ = static_cast<std::uint32_t>(memory_.layers.size());
  patched_end_ = 0;
  moves_ = !std::equal(pass.positions.begin(), pass.positions.end(), pass.tickets.begin());
  moved_end_ = 0;
  bad_ = false;
}

bool GraphWatch::EndPass() {
  mode_ = Mode::kIdle;
  const std::size_t rows = pass_.positions.size(), padding = pass_.padding;
  const bool patched =
      (!PatchesMask() || patched_end_ == rows) && (!moves_ || moved_end_ == rows + padding);
  pass_ = Pass{};
  const bool all = cells_.size() == rows && padding_seen_ == padding;
  return !bad_ && all && patched;
}

bool GraphWatch::Ask(const ggml_tensor* node) {
  if (mode_ == Mode::kCapture) NoteReader(node);
  if (node->op == GGML_OP_ROPE) {
    NoteRotation(node);
    return false;
  }
  if (node->op == GGML_OP_SET_ROWS) {
    if (const ggml_tensor* indices = SourceNamed(node, kKeyCells)) {
      NoteKeyWrite(node, indices);
      return false;
    }
    if (SourceNamed(node, kValueCells) == nullptr) return false;
    if (mode_ == Mode::kPass) return pass_.hook != nullptr && *pass_.hook != nullptr;
    const ggml_tensor* cache = node->view_src;
    if (cache == nullptr || !InHostMemory(cache) || value_writes_ >= memory_.layers.size()) {
      bad_ = true;
      return false;
    }
    memory_.layers[value_writes_++].value = static_cast<std::byte*>(cache->data);
    return false;
  }
  if (!IsAttention(node)) return false;
  if (mode_ == Mode::kCapture) {
    attention_seen_ = true;
    flash_ = node->op == GGML_OP_FLASH_ATTN_EXT;
    return false;
  }
  if (PatchesMask() && patched_end_ < cells_.size()) {
    PatchMask(SourceNamed(node, kMask));
    patched_end_ = static_cast<std::uint32_t>(cells_.size());
  }
  return WantsProbe() || layer_ == pass_.last_layer;
}

// False ends the computation of this ubatch.
bool GraphWatch::Done(const ggml_tensor* node) {
  if (mode_ != Mode::kPass) return true;
  if (node->op == GGML_OP_SET_ROWS) {
    CallHook();
  } else if (IsAttention(node)) {
    if (WantsProbe()) Probe(node);
    return layer_ != pass_.last_layer;
  }
  return true;
}

void GraphWatch::NoteReader(const ggml_tensor* node) {
  constexpr std::size_t kMaxBias = 1;  // of both kinds of attention; ALiBi where it is not 0
  const ggml_tensor* positions = SourceNamed(node, kPositions);
  const bool rotates = node->op == GGML_OP_ROPE && positions != nullptr &&
                       InHostMemory(positions) && positions->type == GGML_TYPE_I32;
  rotates_ = rotates_ || rotates;
  const bool biased = IsAttention(node) && OpParameter(node, kMaxBias) != 0;
  if ((positions != nullptr && !rotates) || SourceNamed(node, kTemperature) != nullptr || biased) {
    reads_positions_otherwise_ = true;
  }
}

// Every rotation of a ubatch reads the same input: it is put right before the first.
void GraphWatch::NoteRotation(const ggml_tensor* node) {
  if (mode_ != Mode::kPass || !moves_ || moved_end_ >= pass_.tickets.size()) return;
  const ggml_tensor* input = SourceNamed(node, kPositions);
  if (input == nullptr || !InHostMemory(input) || input->type != GGML_TYPE_I32) {
    bad_ = true;
    return;
  }
  auto* positions = static_cast<std::int32_t*>(input->data);
  if (positions[0] != pass_.tickets[moved_end_]) return;
  for (std::int64_t i = 0; i < input->ne[0]; ++i, ++moved_end_) {
    if (moved_end_ < pass_.positions.size()) positions[i] = pass_.positions[moved_end_];
  }
}

void GraphWatch::NoteKeyWrite(const ggml_tensor* node, const ggml_tensor* indices) {
  const ggml_tensor* cache = node->view_src;
  if (cache == nullptr || !InHostMemory(cache) || !InHostMemory(indices) ||
      indices->type != GGML_TYPE_I64 ||
      (cache->type != GGML_TYPE_F16 && cache->type != GGML_TYPE_F32)) {
    bad_ = true;
    return;
  }
  auto* key = static_cast<std::byte*>(cache->data);
  if (mode_ == Mode::kCapture) {
    if (memory_.layers.empty()) {
      memory_.row_elements = static_cast<std::uint32_t>(cache->ne[0]);
      memory_.cell_count = static_cast<std::uint32_t>(cache->ne[1]);
      memory_.type = cache->type == GGML_TYPE_F32 ? ElementType::kFp32 : ElementType::kFp16;
    }
    // Layers with other widths, or several streams, are not what this engine can serve.
    if (cache->ne[0] != memory_.row_elements || cache->ne[1] != memory_.cell_count ||
        cache->ne[2] != 1) {
      bad_ = true;
    }
    memory_.layers.push_back({key, nullptr});
    return;
  }
  const auto layer_count = static_cast<std::uint32_t>(memory_.layers.size());
  const bool first_layer = key == memory_.layers.front().key;
  layer_ = first_layer ? 0 : layer_ + 1;
  if (layer_ >= layer_count || memory_.layers[layer_].key != key) {
    bad_ = true;
    layer_ = 0;
    return;
  }
  if (!first_layer) return;
  // A ubatch begins.
  ubatch_begin_ = static_cast<std::uint32_t>(cells_.size());
  const auto* cells = static_cast<const std::int64_t*>(indices->data);
  for (std::int64_t i = 0; i < indices->ne[0]; ++i) {
    if (cells_.size() == pass_.positions.size() && padding_seen_ < pass_.padding) {
      ++padding_seen_;
      continue;
    }
    if (cells_.size() == pass_.positions.size() || cells[i] < 0 || cells[i] >= memory_.cell_count) {
      bad_ = true;
      return;
    }
    const Position position = pass_.positions[cells_.size()];
    cells_.push_back(static_cast<std::uint32_t>(cells[i]));
    pass_.cell_of_position[static_cast<std::size_t>(position)] =
        static_cast<std::int32_t>(cells[i]);
  }
}

// Closes the rows behind each one's own, and what is hidden.
void GraphWatch::PatchMask(const ggml_tensor* mask) const {
  auto* rows = static_cast<std::byte*>(mask->data);
  const auto set = [&](std::byte* line, std::uint32_t cell, float value) {
    if (mask->type == GGML_TYPE_F16) {
      reinterpret_cast<ggml_fp16_t*>(line)[cell] = ggml_fp32_to_fp16(value);
    } else {
      reinterpret_cast<float*>(line)[cell] = value;
    }
  };
  std::span<const std::int32_t> held = pass_.cell_of_position;
  while (!held.empty() && held.back() < 0) held = held.first(held.size() - 1);
  for (std::size_t row = ubatch_begin_; row < cells_.size(); ++row) {
    std::byte* line = rows + (row - ubatch_begin_) * mask->nb[1];
    const auto behind = static_cast<std::size_t>(pass_.positions[row]) + 1;
    const auto later = pass_.sees_later ? held.subspan(std::min(behind, held.size()))
                                        : std::span<const std::int32_t>();
    for (const std::int32_t cell : later) {
      if (cell >= 0) set(line, static_cast<std::uint32_t>(cell), -INFINITY);
    }
    for (const Position position : pass_.hidden) {
      const std::int32_t cell = pass_.cell_of_position[static_cast<std::size_t>(position)];
      if (cell >= 0 && position != pass_.positions[row]) {
        set(line, static_cast<std::uint32_t>(cell), -INFINITY);
      }
    }
  }
}

void GraphWatch::CallHook() {
  LayerView view;
  view.layer = layer_;
  view.positions = pass_.positions.first(cells_.size());
  view.cells = cells_;
  view.cell_of_position = pass_.cell_of_position;
  view.key = memory_.layers[layer_].key;
  view.value = memory_.layers[layer_].value;
  view.value_transposed = memory_.value_transposed;
  view.cell_count = memory_.cell_count;
  view.row_elements = memory_.row_elements;
  view.type = memory_.type;
  (*pass_.hook)(view);
}

bool GraphWatch::WantsProbe() const {
  return pass_.probe != nullptr && !pass_.probe->rows.empty() &&
         std::binary_search(pass_.probe->layers.begin(), pass_.probe->layers.end(), layer_);
}

void GraphWatch::Probe(const ggml_tensor* node) {
  const AttentionProbe& probe = *pass_.probe;
  const bool flash = node->op == GGML_OP_FLASH_ATTN_EXT;
  const auto heads = static_cast<std::uint32_t>(flash ? node->src[0]->ne[2] : node->ne[2]);
  const std::uint32_t group = heads / (memory_.row_elements / head_dim_);
  std::vector<float> line;
  for (std::size_t row = ubatch_begin_; row < cells_.size(); ++row) {
    const Position position = pass_.positions[row];
    if (!std::binary_search(probe.rows.begin(), probe.rows.end(), position)) continue;
    std::vector<AttentionWeights>& results = *pass_.probed;
    // With several ubatches a layer comes again.
    auto into = results.end();
    if (probe.sum_rows) {
      into = std::find_if(results.begin(), results.end(),
                          [&](const AttentionWeights& sum) { return sum.layer == layer_; });
    }
    if (into == results.end()) {
      AttentionWeights fresh;
      fresh.layer = layer_;
      fresh.row = probe.sum_rows ? AttentionWeights::kSum : position;
      fresh.head_count = heads;
      fresh.columns = static_cast<std::uint32_t>(probe.sum_rows ? probe.rows.back() : position) + 1;
      fresh.weights.assign(std::size_t{heads} * fresh.columns, 0.0F);
      if (probe.outputs) fresh.outputs.assign(std::size_t{heads} * head_dim_, 0.0F);
      into = results.insert(results.end(), std::move(fresh));
    }
    AttentionWeights& result = *into;
    const auto in_ubatch = static_cast<std::uint32_t>(row - ubatch_begin_);
    line.resize(static_cast<std::size_t>(position) + 1);
    for (std::uint32_t head = 0; head < heads; ++head) {
      if (flash) {
        FlashWeights(node, in_ubatch, head, line);
      } else {
        SoftMaxWeights(node, in_ubatch, head, line);
      }
      float* sums = &result.weights[std::size_t{head} * result.columns];
      for (std::size_t column = 0; column < line.size(); ++column) sums[column] += line[column];
      if (probe.outputs) {
        AddOutput(line, head / group,
                  std::span(result.outputs).subspan(std::size_t{head} * head_dim_, head_dim_));
      }
    }
  }
}

// Flash attention never forms the weights, so they are computed from the query and the cached keys.
void GraphWatch::FlashWeights(const ggml_tensor* node, std::uint32_t batch_row, std::uint32_t head,
                              std::span<float> weights) const {
  const ggml_tensor* query = node->src[0];  // [head_dim, rows, heads], fp32
  const float scale = OpParameter(node, 0);
  const float soft_cap = OpParameter(node, 2);
  const auto group = static_cast<std::uint32_t>(query->ne[2]) / (memory_.row_elements / head_dim_);
  const auto* q = reinterpret_cast<const float*>(static_cast<const std::byte*>(query->data) +
                                                 batch_row * query->nb[1] + head * query->nb[2]);
  const std::byte* keys =
      memory_.layers[layer_].key + std::size_t{head / group} * head_dim_ * memory_.element_bytes();
  const std::span<const std::int32_t> cells = pass_.cell_of_position;
  AttentionScores(memory_.type, {q, head_dim_}, keys, memory_.row_bytes(),
                  cells.first(weights.size()), scale, weights);
  if (soft_cap != 0) {
    for (float& score : weights) score = soft_cap * std::tanh(score / soft_cap);
  }
  float peak = -INFINITY;
  for (std::size_t column = 0; column < weights.size(); ++column) {
    if (cells[column] >= 0) peak = std::max(peak, weights[column]);
  }
  double total = 0;
  for (std::size_t column = 0; column < weights.size(); ++column) {
    weights[column] = cells[column] < 0 ? 0.0F : std::exp(weights[column] - peak);
    total += weights[column];
  }
  for (float& weight : weights) weight = static_cast<float>(weight / total);
}

void GraphWatch::SoftMaxWeights(const ggml_tensor* node, std::uint32_t batch_row,
                                std::uint32_t head, std::span<float> weights) const {
  const auto* line = reinterpret_cast<const float*>(static_cast<const std::byte*>(node->data) +
                                                    batch_row * node->nb[1] + head * node->nb[2]);
  for (std::size_t column = 0; column < weights.size(); ++column) {
    const std::int32_t cell = pass_.cell_of_position[column];
    weights[column] = cell >= 0 ? line[cell] : 0.0F;
  }
}

void GraphWatch::AddOutput(std::span<const float> weights, std::uint32_t kv_head,
                           std::span<float> output) const {
  const std::size_t element = memory_.element_bytes();
  const std::byte* values = memory_.layers[layer_].value;
  std::vector<float> row(head_dim_);
  for (std::size_t column = 0; column < weights.size(); ++column) {
    const std::int32_t cell = pass_.cell_of_position[column];
    if (cell < 0 || weights[column] == 0) continue;
    const auto at = static_cast<std::size_t>(cell);
    const std::size_t first = std::size_t{kv_head} * head_dim_;
    if (memory_.value_transposed) {
      LoadRow(memory_.type, values + (first * memory_.cell_count + at) * element,
              memory_.cell_count * element, row);
    } else {
      LoadRow(memory_.type, values + at * memory_.row_bytes() + first * element, element, row);
    }
    for (std::uint32_t e = 0; e < head_dim_; ++e) output[e] += weights[column] * row[e];
  }
}

}  // namespace kvcommons
