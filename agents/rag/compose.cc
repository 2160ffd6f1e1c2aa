#include "agents/rag/compose.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/assert.h"
#include "base/clock.h"

namespace kvcommons {
namespace {

double MsSince(const Clock& clock, std::int64_t start_ns) {
  return static_cast<double>(clock.NowNs() - start_ns) / 1e6;
}

constexpr std::uint32_t kCheckLayer = 1;

// Layer 0 whole, and of layer 1 its query, key and value projections: 0.156 of a layer's
// multiplications in SmolLM2-135M, which is what this is charged by for every model so far.
constexpr double kCheckCostLayers = 1.156;

}  // namespace

Result<ExactHead> MakeExactHead(Engine& engine, std::span<const TokenId> tokens) {
  ExactHead head;
  head.tokens.assign(tokens.begin(), tokens.end());
  if (tokens.empty()) return head;
  engine.Clear();
  KVC_FAIL_IF_ERROR(engine.RunRest(tokens));
  head.block.resize(engine.profile().planes().BlockBytes(tokens.size()));
  KVC_FAIL_IF_ERROR(
      engine.ReadRows(0, static_cast<std::uint32_t>(tokens.size()), head.block.data()));
  return head;
}

Composer::Composer(Engine& engine, const ExactHead& head,
                   std::span<const CanonicalChunk* const> chunks, std::span<const TokenId> tail)
    : engine_(engine),
      head_(head),
      chunks_(chunks.begin(), chunks.end()),
      prompt_(head.tokens),
      tail_tokens_(static_cast<std::uint32_t>(tail.size())) {
  for (const CanonicalChunk* chunk : chunks_) {
    const auto begin = static_cast<Position>(prompt_.size());
    prompt_.insert(prompt_.end(), chunk->tokens.begin(), chunk->tokens.end());
    spans_.push_back({begin, static_cast<Position>(prompt_.size())});
    blocks_.push_back(BlockOf(engine, *chunk));
  }
  prompt_.insert(prompt_.end(), tail.begin(), tail.end());
  for (std::size_t p = 0; p < prompt_.size(); ++p) {
    to_.emplace_back(engine.profile(), static_cast<Position>(p));
    back_.emplace_back(engine.profile(), -static_cast<Position>(p));
  }
}

Status Composer::PlaceAll() {
  std::vector<PlaceSpan> spans;
  const auto head = static_cast<std::uint32_t>(head_.tokens.size());
  if (head > 0) spans.push_back({0, head, 0, head_.block.data(), head, 0});
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    const auto rows = static_cast<std::uint32_t>(chunks_[i]->tokens.size());
    spans.push_back({spans_[i].begin, rows, spans_[i].begin, blocks_[i].data(), rows, 0});
  }
  return engine_.Place(spans);
}

Status Composer::LookAtQuestion(const SelectNeeds& needs, Evidence& evidence) {
  KVC_RETURN_IF_ERROR(PlaceAll());
  std::vector<Position> rows;
  for (std::size_t p = prompt_.size() - tail_tokens_; p < prompt_.size(); ++p) {
    rows.push_back(static_cast<Position>(p));
  }
  KVC_RETURN_IF_ERROR(engine_.ProbeAttention(rows, needs.question_layers));
  KVC_RETURN_IF_ERROR(engine_.RunRest(prompt_));
  std::size_t reused = 0;
  for (const SelectChunk& span : spans_) reused += static_cast<std::size_t>(span.end - span.begin);
  evidence.question_attention.assign(needs.question_layers.size() * reused, 0);
  for (const AttentionWeights& weights : engine_.probed()) {
    const auto layer = std::lower_bound(needs.question_layers.begin(), needs.question_layers.end(),
                                        weights.layer) -
                       needs.question_layers.begin();
    float* into = &evidence.question_attention[static_cast<std::size_t>(layer) * reused];
    const std::size_t columns = static_cast<std::size_t>(weights.row) + 1;
    const float share = 1.0F / static_cast<float>(weights.head_count * tail_tokens_);
    std::size_t index = 0;
    for (const SelectChunk& span : spans_) {
      for (Position p = span.begin; p < span.end; ++p, ++index) {
        for (std::uint32_t head = 0; head < weights.head_count; ++head) {
          into[index] += share * weights.weights[head * columns + static_cast<std::size_t>(p)];
        }
      }
    }
  }
  return Status();
}

Status Composer::LookAtCheckLayer(Evidence& evidence) {
  KVC_RETURN_IF_ERROR(PlaceAll());
  const std::size_t elements =
      std::size_t{engine_.profile().kv_head_count} * engine_.profile().head_dim;
  std::vector<float> key(elements), value(elements);
  std::vector<double> keys(prompt_.size(), 0), values(keys), values_l1(keys);
  std::size_t seen = 0;
  engine_.SetLayerHook([&](const LayerView& view) {
    if (view.layer != kCheckLayer) return;
    for (; seen < view.positions.size(); ++seen) {
      const Position position = view.positions[seen];
      const auto chunk = std::find_if(spans_.begin(), spans_.end(), [&](const SelectChunk& span) {
        return position >= span.begin && position < span.end;
      });
      if (chunk == spans_.end()) continue;
      const CanonicalChunk& stored = *chunks_[static_cast<std::size_t>(chunk - spans_.begin())];
      const std::size_t from =
          (kCheckLayer * stored.tokens.size() + static_cast<std::size_t>(position - chunk->begin)) *
          elements;
      view.ReadKey(view.cells[seen], key);
      view.ReadValue(view.cells[seen], value);
      back_[static_cast<std::size_t>(position)].Apply(key);
      for (std::size_t e = 0; e < elements; ++e) {
        const double dk = double{key[e]} - stored.keys[from + e];
        const double dv = double{value[e]} - stored.values[from + e];
        keys[static_cast<std::size_t>(position)] += dk * dk;
        values[static_cast<std::size_t>(position)] += dv * dv;
        values_l1[static_cast<std::size_t>(position)] += std::abs(dv);
      }
    }
  });
  const TokenRun run{static_cast<Position>(head_.tokens.size()),
                     static_cast<Position>(prompt_.size())};
  std::vector<Position> probe;
  for (Position p = run.begin; p < run.end; ++p) probe.push_back(p);
  Status done = engine_.ProbeAttention(probe, {&kCheckLayer, 1});
  if (done.ok()) done = engine_.Run(prompt_, {&run, 1});
  engine_.SetLayerHook({});
  KVC_RETURN_IF_ERROR(done);
  std::vector<double> received(prompt_.size(), 0);
  for (const AttentionWeights& weights : engine_.probed()) {
    const std::size_t columns = static_cast<std::size_t>(weights.row) + 1;
    for (std::uint32_t head = 0; head < weights.head_count; ++head) {
      for (std::size_t p = 0; p < columns; ++p) received[p] += weights.weights[head * columns + p];
    }
  }
  for (const SelectChunk& span : spans_) {
    for (Position p = span.begin; p < span.end; ++p) {
      const auto at = static_cast<std::size_t>(p);
      evidence.key_deviation.push_back(static_cast<float>(keys[at]));
      evidence.value_deviation.push_back(static_cast<float>(values[at]));
      evidence.value_deviation_l1.push_back(static_cast<float>(values_l1[at]));
      evidence.attention_received.push_back(static_cast<float>(received[at]));
    }
  }
  return Status();
}

void Composer::CopyLoadings(Evidence& evidence) const {
  for (const CanonicalChunk* chunk : chunks_) {
    std::vector<float> values, residue;
    for (const LayerLoadings& layer : chunk->loadings) {
      values.insert(values.end(), layer.values.begin(), layer.values.end());
      residue.push_back(layer.residue);
    }
    evidence.loadings_values.push_back(std::move(values));
    evidence.loadings_residue.push_back(std::move(residue));
  }
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    const std::uint32_t rank = chunks_[i]->loadings.empty() ? 0 : chunks_[i]->loadings[0].rank;
    evidence.loadings.push_back({rank, evidence.loadings_values[i], evidence.loadings_residue[i]});
  }
}

void Composer::Complete(const LayerView& view,
                        const std::vector<std::vector<std::size_t>>& selected,
                        ComposeReport& report) const {
  if (view.layer == 0) return;  // Exact: it does not depend on context.
  const std::size_t elements = view.row_elements;
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    const CanonicalChunk& chunk = *chunks_[i];
    const LayerLoadings& loadings = chunk.loadings[view.layer];
    const std::size_t rows = chunk.tokens.size();
    const auto stored = [&](const std::vector<float>& planes, std::size_t row) {
      return std::span(planes).subspan((view.layer * rows + row) * elements, elements);
    };
    const auto cell_of = [&](std::size_t row) {
      return static_cast<std::uint32_t>(
          view.cell_of_position[static_cast<std::size_t>(spans_[i].begin) + row]);
    };
    std::vector<float> measured_loadings, residuals(selected[i].size() * 2 * elements);
    for (std::size_t s = 0; s < selected[i].size(); ++s) {
      const std::size_t row = selected[i][s];
      const auto u = std::span(loadings.values).subspan(row * loadings.rank, loadings.rank);
      measured_loadings.insert(measured_loadings.end(), u.begin(), u.end());
      const auto key = std::span(residuals).subspan(2 * s * elements, elements);
      const auto value = std::span(residuals).subspan((2 * s + 1) * elements, elements);
      view.ReadKey(cell_of(row), key);
      view.ReadValue(cell_of(row), value);
      back_[static_cast<std::size_t>(spans_[i].begin) + row].Apply(key);
      const auto old_key = stored(chunk.keys, row), old_value = stored(chunk.values, row);
      for (std::size_t e = 0; e < elements; ++e) {
        key[e] -= old_key[e];
        value[e] -= old_value[e];
      }
    }
    CompletionInput input;
    input.rank = loadings.rank;
    input.loadings = measured_loadings;
    input.residue = loadings.residue;
    input.residuals = residuals;
    input.columns = static_cast<std::uint32_t>(2 * elements);
    const Result<Completion> completion = CompleteResiduals(input);
    // Shapes are ours; numbers that are not finite leave the chunk alone.
    if (!completion || completion->outcome == CompletionOutcome::kWorse) {
      ++report.left_worse;
      continue;
    }
    if (completion->outcome == CompletionOutcome::kTooFewRows) {
      ++report.left_few_rows;
      continue;
    }
    ++report.corrected;
    std::size_t next = 0;
    std::vector<float> correction(2 * elements);
    for (std::size_t row = 0; row < rows; ++row) {
      if (next < selected[i].size() && selected[i][next] == row) {
        ++next;
        continue;
      }
      std::fill(correction.begin(), correction.end(), 0.0F);
      for (std::uint32_t k = 0; k < loadings.rank; ++k) {
        const float u = loadings.values[row * loadings.rank + k];
        const float* gain = &completion->gain[k * 2 * elements];
        for (std::size_t e = 0; e < 2 * elements; ++e) correction[e] += u * gain[e];
      }
      const auto old_key = stored(chunk.keys, row), old_value = stored(chunk.values, row);
      for (std::size_t e = 0; e < elements; ++e) {
        correction[e] += old_key[e];
        correction[elements + e] += old_value[e];
      }
      const auto key = std::span(correction).first(elements);
      to_[static_cast<std::size_t>(spans_[i].begin) + row].Apply(key);
      view.WriteKey(cell_of(row), key);
      view.WriteValue(cell_of(row), std::span(correction).subspan(elements));
    }
  }
}

Result<ComposeReport> Composer::Run(const ComposeOptions& options) {
  auto rule = MakeSelectRule(options.rule);
  if (!rule) return Fail(rule.error());
  if (tail_tokens_ == 0) {
    return Fail(InvalidArgument("the question is empty; it needs at least 1 token"));
  }
  const bool has_loadings = std::all_of(chunks_.begin(), chunks_.end(),
                                        [](const auto* chunk) { return !chunk->loadings.empty(); });
  if (options.completion && !has_loadings) {
    return Fail(
        InvalidArgument("completion needs chunks that were made behind at least two prefaces"));
  }
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  ComposeReport report;
  report.total = static_cast<std::uint32_t>(prompt_.size());

  SelectRequest request;
  request.chunks = spans_;
  request.layer_count = engine_.profile().layer_count;
  request.budget = options.budget;
  request.seed = options.seed;
  request.check_cost_layers = kCheckCostLayers;
  report.reused = static_cast<std::uint32_t>(request.reused_rows());
  const SelectNeeds needs = (*rule)->Needs(request.layer_count);
  if (needs.anchored_question) {
    return Fail(Unsupported("rule '" + options.rule +
                            "' asks the question over anchor digests, which are not made yet; use "
                            "query, which asks it over all rows"));
  }
  Evidence gathered;
  if (needs.check_layer) KVC_FAIL_IF_ERROR(LookAtCheckLayer(gathered));
  if (!needs.question_layers.empty()) {
    request.question_cost_row_layers = tail_tokens_ * (needs.question_layers.back() + 1.0);
    KVC_FAIL_IF_ERROR(LookAtQuestion(needs, gathered));
  }
  if (needs.loadings) CopyLoadings(gathered);
  report.look_ms = MsSince(clock, start_ns);

  SelectEvidence evidence;
  evidence.key_deviation = gathered.key_deviation;
  evidence.value_deviation = gathered.value_deviation;
  evidence.value_deviation_l1 = gathered.value_deviation_l1;
  evidence.attention_received = gathered.attention_received;
  evidence.question_attention = gathered.question_attention;
  evidence.loadings = gathered.loadings;
  Result<Selection> selection = (*rule)->Select(request, evidence);
  if (!selection) return Fail(selection.error());

  // Runs of selected rows, and the tail; rows by chunk for completion.
  std::vector<TokenRun> runs;
  std::vector<std::vector<std::size_t>> selected(chunks_.size());
  std::size_t chunk = 0;
  for (const Position row : selection->rows) {
    while (row >= spans_[chunk].end) ++chunk;
    selected[chunk].push_back(static_cast<std::size_t>(row - spans_[chunk].begin));
    if (!runs.empty() && runs.back().end == row) {
      ++runs.back().end;
    } else {
      runs.push_back({row, row + 1});
    }
  }
  const auto tail = static_cast<Position>(prompt_.size() - tail_tokens_);
  if (!runs.empty() && runs.back().end == tail) {
    runs.back().end += static_cast<Position>(tail_tokens_);
  } else {
    runs.push_back({tail, tail + static_cast<Position>(tail_tokens_)});
  }

  const std::int64_t place_ns = clock.NowNs();
  KVC_FAIL_IF_ERROR(PlaceAll());
  report.place_ms = MsSince(clock, place_ns);
  const std::int64_t compute_ns = clock.NowNs();
  if (options.completion && !selection->rows.empty()) {
    // Only once all selected rows are there: with a pass in several ubatches, in the last.
    const std::size_t wanted = selection->rows.size() + tail_tokens_;
    engine_.SetLayerHook([&](const LayerView& view) {
      if (view.positions.size() >= wanted) Complete(view, selected, report);
    });
  }
  const Status done = engine_.Run(prompt_, runs);
  engine_.SetLayerHook({});
  KVC_FAIL_IF_ERROR(done);
  report.compute_ms = MsSince(clock, compute_ns);
  report.ttft_ms = MsSince(clock, start_ns);
  // What ran, not what was meant: runs are joined where there are too many, and rows run to the
  // end.
  report.recomputed = engine_.computed_rows() - tail_tokens_;
  Selection spent = *selection;
  spent.depth.assign(report.recomputed, request.layer_count);
  spent.rows.resize(report.recomputed);
  report.charged = ChargedBudget(request, spent);
  return report;
}

}  // namespace kvcommons
