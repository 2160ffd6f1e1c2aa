#include "agents/rag/compose.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "agents/engine/cache_memory.h"
#include "agents/engine/elapsed.h"
#include "align/complete/complete.h"
#include "align/complete/loadings.h"
#include "align/complete/shift.h"
#include "base/assert.h"
#include "kernels/complete.h"
#include "kernels/loadings_layout.h"

namespace kvcommons {
namespace {

constexpr double kAnchorShare = 0.15;  // QCFuse's (specs: selective recompute §C.3)

constexpr std::uint32_t kPlanesOfLayer = 2;  // keys and values

// Layer 0 whole, and of layer 1 its query, key and value projections: 0.156 of a layer's
// multiplications in SmolLM2-135M, which is what this is charged by for every model so far.
constexpr double kCheckCostLayers = 1.156;

// U of a plane for a whole chunk, gathered from its parts: [row][rank]; the mean's where `plane` is
// the number of planes.
std::vector<float> LoadingsOfChunk(const ModelProfile& profile, const ComposeChunk& chunk,
                                   std::size_t plane) {
  std::vector<float> loadings;
  for (const ChunkPart& part : chunk.parts) {
    const LoadingsLayout layout{profile.planes().plane_count(), part.block_tokens, chunk.rank};
    const std::span<const float> rows = layout.Plane(part.loadings, plane);
    loadings.insert(loadings.end(), rows.begin(), rows.end());
  }
  return loadings;
}

// Of all parts alike.
float ResidueOfChunk(const ModelProfile& profile, const ComposeChunk& chunk, std::size_t plane) {
  const ChunkPart& part = chunk.parts[0];
  const LoadingsLayout layout{profile.planes().plane_count(), part.block_tokens, chunk.rank};
  return layout.Residue(part.loadings, plane);
}

std::string Text(Position begin, Position end) {
  return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")";
}

std::uint32_t LongestPart(std::span<const ComposeChunk> chunks) {
  std::uint32_t rows = 1;
  for (const ComposeChunk& chunk : chunks) {
    for (const ChunkPart& part : chunk.parts) rows = std::max(rows, part.block_tokens);
  }
  return rows;
}

// Of each chunk, with its selected rows as probes.
Result<std::vector<std::vector<float>>> ShiftLoadingsOfChunks(
    std::span<const SelectChunk> chunks, const SelectEvidence& evidence,
    std::span<const std::vector<std::size_t>> selected) {
  std::vector<std::vector<float>> loadings;
  std::size_t first = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const auto rows = static_cast<std::size_t>(chunks[i].end - chunks[i].begin);
    auto one = ShiftLoadings(evidence.key_deviation.subspan(first, rows),
                             evidence.value_deviation.subspan(first, rows), selected[i]);
    if (!one) return Fail(one.error());
    loadings.push_back(std::move(*one));
    first += rows;
  }
  return loadings;
}

// What one pass computes: fresh rows and selected ones, both ascending.
std::vector<TokenRun> RunsOfPass(std::span<const TokenRun> fresh, std::span<const Position> rows) {
  std::vector<TokenRun> runs(fresh.begin(), fresh.end());
  for (const Position row : rows) runs.push_back({row, row + 1});
  std::sort(runs.begin(), runs.end(),
            [](const TokenRun& a, const TokenRun& b) { return a.begin < b.begin; });
  return runs;
}

double StalledUs(const StreamingPlace* stream) {
  return stream == nullptr ? 0 : stream->total_stall_us();
}

// A hook that waits for a layer's rows before `then` sees them; empty where there is nothing to do.
LayerHook HookThatAwaits(StreamingPlace* stream, LayerHook then) {
  if (stream == nullptr || stream->done()) return then;
  return [stream, then = std::move(then)](const LayerView& view) {
    stream->AwaitLayer(view.layer);
    if (then) then(view);
  };
}

}  // namespace

double StallTotalMs(std::span<const double> stall_ms) {
  return std::accumulate(stall_ms.begin(), stall_ms.end(), 0.0);
}

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

Composer::Composer(Engine& engine, ComposePrompt prompt)
    : engine_(engine),
      prompt_(std::move(prompt)),
      rotations_(engine.profile().omega, LongestPart(prompt_.chunks)) {
  for (const ComposeChunk& chunk : prompt_.chunks) {
    spans_.push_back({chunk.begin, chunk.begin + static_cast<Position>(chunk.rows())});
  }
  FindFresh();
}

void Composer::FindFresh() {
  std::vector<TokenRun> reused;
  for (const PlaceSpan& span : prompt_.exact) {
    reused.push_back({span.begin, span.begin + static_cast<Position>(span.count)});
  }
  for (const SelectChunk& span : spans_) reused.push_back({span.begin, span.end});
  std::sort(reused.begin(), reused.end(),
            [](const TokenRun& a, const TokenRun& b) { return a.begin < b.begin; });
  const auto end = static_cast<Position>(prompt_.tokens.size());
  Position next = 0;
  for (const TokenRun& run : reused) {
    if (run.begin < next || run.end <= run.begin || run.end > end) {
      malformed_ = InvalidArgument("rows " + Text(run.begin, run.end) +
                                   ": exact rows and chunks ascend, are not empty, and lie in a "
                                   "prompt of " +
                                   std::to_string(end) + " tokens; these begin at " +
                                   std::to_string(next) + " or later");
      return;
    }
    if (run.begin > next) fresh_.push_back({next, run.begin});
    next = run.end;
  }
  if (next == end) {
    malformed_ = InvalidArgument("the question is empty; it needs at least 1 token");
    return;
  }
  fresh_.push_back({next, end});
  for (const TokenRun& run : fresh_)
    fresh_tokens_ += static_cast<std::uint32_t>(run.end - run.begin);
}

Status Composer::Check(const ComposerOptions& options) const {
  KVC_RETURN_IF_ERROR(malformed_);
  if (options.auto_budget) {
    KVC_RETURN_IF_ERROR(CheckAutoBudget(*options.auto_budget, options.rule));
  }
  const auto has_loadings = [](const ComposeChunk& chunk) { return chunk.rank > 0; };
  if (options.completion && !prompt_.chunks.empty() &&
      std::none_of(prompt_.chunks.begin(), prompt_.chunks.end(), has_loadings)) {
    return InvalidArgument(
        "completion needs a chunk of at most " + std::to_string(kMaxLoadingsRows) +
        " rows that was made behind at least two prefaces; none here has loadings");
  }
  return Status();
}

std::vector<PlaceSpan> Composer::AllSpans() const {
  std::vector<PlaceSpan> spans = prompt_.exact;
  for (const ComposeChunk& chunk : prompt_.chunks) {
    Position begin = chunk.begin;
    for (const ChunkPart& part : chunk.parts) {
      spans.push_back({begin, part.block_tokens, chunk.begin, part.planes, part.block_tokens, 0});
      begin += static_cast<Position>(part.block_tokens);
    }
  }
  std::sort(spans.begin(), spans.end(),
            [](const PlaceSpan& a, const PlaceSpan& b) { return a.begin < b.begin; });
  return spans;
}

Result<std::unique_ptr<StreamingPlace>> Composer::BeginToPlace(const ComposerOptions& options) {
  static const SystemClock clock;  // outlives every stream
  const std::vector<PlaceSpan> spans = AllSpans();
  if (options.place_beside) {
    auto stream = StreamingPlace::Begin(engine_, spans, clock, options.wrap_placer);
    if (stream || stream.error().code() != Code::kUnsupported) return stream;
  }
  KVC_FAIL_IF_ERROR(engine_.Place(spans));
  return std::unique_ptr<StreamingPlace>();
}

void Composer::AddAttention(const AttentionWeights& weights, float share,
                            std::vector<float>& into) const {
  for (const SelectChunk& span : spans_) {
    for (Position p = span.begin; p < span.end; ++p) {
      float sum = 0;
      for (std::uint32_t head = 0; head < weights.head_count; ++head) {
        sum += weights.weights[std::size_t{head} * weights.columns + static_cast<std::size_t>(p)];
      }
      into.push_back(share * sum);
    }
  }
}

// REQUIRES: all rows but the fresh ones are placed, or `stream` is at it; so they are afterwards.
Result<const Composer::QuestionEvidence*> Composer::LookAtQuestion(
    const std::vector<std::uint32_t>& layers, bool anchored, StreamingPlace* stream) {
  for (const auto& known : questions_) {
    if (known->layers == layers && known->anchored == anchored) return known.get();
  }
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  AttentionProbe probe;
  probe.layers = layers;
  probe.sum_rows = true;
  for (Position p = question().begin; p < question().end; ++p) probe.rows.push_back(p);
  // Before the probe: refused without flash attention, and a probe would be left for another pass.
  if (anchored) KVC_FAIL_IF_ERROR(engine_.HideInNextPass(RowsWithoutAnchors()));
  KVC_FAIL_IF_ERROR(engine_.ProbeAttention(std::move(probe)));
  const double stalled_us = StalledUs(stream);
  engine_.SetLayerHook(HookThatAwaits(stream, {}));
  const Status looked = engine_.RunUpTo(layers.back(), prompt_.tokens, fresh_);
  engine_.SetLayerHook({});
  KVC_FAIL_IF_ERROR(looked);
  // Evidence is kept: not what was seen of rows that are not there.
  if (stream != nullptr && stream->failed()) return Fail(stream->Finish());
  auto evidence = std::make_unique<QuestionEvidence>();
  evidence->layers = layers;
  evidence->anchored = anchored;
  for (const AttentionWeights& weights : engine_.probed()) {
    const auto rows = static_cast<std::uint32_t>(question().end - question().begin);
    AddAttention(weights, 1.0F / static_cast<float>(weights.head_count * rows),
                 evidence->attention);
  }
  evidence->took_ms = MsSince(clock, start_ns) - (StalledUs(stream) - stalled_us) / 1e3;
  questions_.push_back(std::move(evidence));
  return questions_.back().get();
}

std::vector<Position> Composer::RowsWithoutAnchors() const {
  const ModelProfile& profile = engine_.profile();
  const PlaneLayout planes = profile.planes();
  const std::size_t elements = std::size_t{profile.kv_head_count} * profile.head_dim;
  const std::size_t element = ElementBytes(profile.element_type);
  std::vector<Position> hidden;
  std::vector<float> key(elements);
  for (const ComposeChunk& chunk : prompt_.chunks) {
    std::vector<std::pair<double, Position>> norms;
    Position position = chunk.begin;
    for (const ChunkPart& part : chunk.parts) {
      const std::byte* keys =
          part.planes + planes.PlaneOffset(profile.layer_count / 2 * 2, part.block_tokens);
      for (std::uint32_t row = 0; row < part.block_tokens; ++row, ++position) {
        LoadRow(profile.element_type, keys + row * elements * element, element, key);
        double norm = 0;
        for (const float x : key) norm += double{x} * x;
        norms.emplace_back(norm, position);
      }
    }
    std::sort(norms.begin(), norms.end());
    const auto anchors =
        static_cast<std::size_t>(std::ceil(kAnchorShare * static_cast<double>(norms.size())));
    for (std::size_t i = anchors; i < norms.size(); ++i) hidden.push_back(norms[i].second);
  }
  return hidden;
}

// Leaves the engine with the exact rows alone.
Result<const Composer::CheckEvidence*> Composer::LookAtCheckLayer(bool with_attention) {
  std::optional<CheckEvidence>& check = with_attention ? attended_check_ : check_;
  if (check) return &*check;
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  KVC_FAIL_IF_ERROR(engine_.Place(prompt_.exact));
  const ModelProfile& profile = engine_.profile();
  const std::size_t elements = std::size_t{profile.kv_head_count} * profile.head_dim;
  check = CheckEvidence();
  engine_.SetLayerHook([&](const LayerView& view) {
    // With several ubatches: only when all rows are there.
    if (view.layer != kCheckLayer || view.positions.back() + 1 != std::ssize(prompt_.tokens))
      return;
    for (const ComposeChunk& chunk : prompt_.chunks) {
      std::vector<std::size_t> rows(chunk.rows());
      std::iota(rows.begin(), rows.end(), std::size_t{0});
      const std::vector<float> residuals =
          ChunkInLayer(view, profile, rotations_, chunk).Measure(rows);
      for (std::size_t at = 0; at < residuals.size(); at += 2 * elements) {
        double key = 0, value = 0, value_l1 = 0;
        for (std::size_t e = at; e < at + elements; ++e) {
          key += double{residuals[e]} * residuals[e];
          value += double{residuals[elements + e]} * residuals[elements + e];
          value_l1 += std::abs(double{residuals[elements + e]});
        }
        check->key_deviation.push_back(static_cast<float>(key));
        check->value_deviation.push_back(static_cast<float>(value));
        check->value_deviation_l1.push_back(static_cast<float>(value_l1));
      }
    }
  });
  // All rows that are not exact: those of chunks and the fresh ones.
  std::vector<TokenRun> runs;
  AttentionProbe probe;
  probe.layers = {kCheckLayer};
  probe.sum_rows = true;
  Position next = 0;
  const auto add_run = [&](Position end) {
    if (end > next) runs.push_back({next, end});
    for (Position p = next; p < end && with_attention; ++p) probe.rows.push_back(p);
  };
  for (const PlaceSpan& span : prompt_.exact) {
    add_run(span.begin);
    next = span.begin + static_cast<Position>(span.count);
  }
  add_run(static_cast<Position>(prompt_.tokens.size()));
  Status done = engine_.ProbeAttention(std::move(probe));
  if (done.ok()) done = engine_.RunUpTo(kCheckLayer, prompt_.tokens, runs);
  engine_.SetLayerHook({});
  if (!done.ok()) {
    check.reset();
    return Fail(done);
  }
  if (with_attention) AddAttention(engine_.probed().front(), 1, check->attention_received);
  check->took_ms = MsSince(clock, start_ns);
  return &*check;
}

std::vector<ChunkLoadings> Composer::MeanLoadingsOfChunks() {
  const ModelProfile& profile = engine_.profile();
  const std::size_t mean = profile.planes().plane_count();
  std::vector<ChunkLoadings> loadings;
  for (std::size_t i = 0; i < prompt_.chunks.size(); ++i) {
    const ComposeChunk& chunk = prompt_.chunks[i];
    const bool has_loadings = chunk.rank > 0;
    if (mean_loadings_.size() == i) {
      mean_loadings_.push_back(has_loadings ? LoadingsOfChunk(profile, chunk, mean)
                                            : std::vector<float>());
    }
    loadings.push_back(
        {chunk.rank, mean_loadings_[i], has_loadings ? ResidueOfChunk(profile, chunk, mean) : 0});
  }
  return loadings;
}

std::vector<float> Composer::Measure(const ChunkInLayer& chunk, std::size_t index,
                                     const std::vector<std::size_t>& selected) {
  std::vector<float> residuals = chunk.Measure(selected);
  for (const float r : residuals) measured_[index] += double{r} * r;
  return residuals;
}

void Composer::Complete(const LayerView& view, std::size_t index,
                        const std::vector<std::size_t>& selected, ComposeReport& report) {
  const ComposeChunk& chunk = prompt_.chunks[index];
  if (chunk.rank == 0) {
    report.left_without_loadings += kPlanesOfLayer;
    return;
  }
  const ChunkInLayer in_layer(view, engine_.profile(), rotations_, chunk);
  const std::vector<float> residuals = Measure(in_layer, index, selected);
  const auto columns = static_cast<std::uint32_t>(view.row_elements);
  const std::size_t stride = kPlanesOfLayer * view.row_elements;
  std::array<std::vector<float>, kPlanesOfLayer> loadings;  // of keys and of values
  std::vector<float> gain(chunk.rank * stride, 0);
  bool corrects = false;
  for (std::size_t plane = 0; plane < kPlanesOfLayer; ++plane) {
    const std::size_t section = kPlanesOfLayer * view.layer + plane;
    loadings[plane] = LoadingsOfChunk(engine_.profile(), chunk, section);
    CompletionInput input;
    input.residue = ResidueOfChunk(engine_.profile(), chunk, section);
    const std::vector<double> variances =
        FirstRowVariances(loadings[plane], chunk.rank, chunk.rows(), input.residue);
    std::vector<float> measured;
    std::vector<double> own_variance;
    for (const std::size_t row : selected) {
      const float* u = &loadings[plane][row * chunk.rank];
      measured.insert(measured.end(), u, u + chunk.rank);
      own_variance.push_back(variances[row]);
    }
    input.rank = chunk.rank;
    input.loadings = measured;
    input.residuals = residuals;
    input.first_column = static_cast<std::uint32_t>(plane) * columns;
    input.columns = columns;
    input.stride = static_cast<std::uint32_t>(stride);
    input.own_variance = own_variance;
    const Result<Completion> completion = CompleteResiduals(input);
    // Shapes are ours; numbers that are not finite leave the plane alone.
    if (!completion || completion->outcome == CompletionOutcome::kWorse) {
      ++report.left_worse;
      continue;
    }
    if (completion->outcome == CompletionOutcome::kTooFewRows) {
      ++report.left_few_rows;
      continue;
    }
    ++report.corrected;
    corrects = true;
    const float share = plane == 0 ? KeyShare(selected.size()) : 1;
    for (std::size_t i = 0; i < completion->gain.size(); ++i) {
      gain[i / columns * stride + input.first_column + i % columns] = share * completion->gain[i];
    }
  }
  if (!corrects) return;
  const std::vector<std::uint8_t> wild = WildRows(loadings[0], loadings[1], chunk.rank);
  std::vector<std::size_t> rows;
  for (std::size_t row = 0, next = 0; row < wild.size(); ++row) {
    if (next < selected.size() && selected[next] == row) {
      ++next;
      continue;
    }
    if (wild[row] != 0) {
      ++report.left_wild_rows;
      continue;
    }
    rows.push_back(row);
  }
  in_layer.Correct(rows, {chunk.rank, loadings[0], loadings[1]}, std::move(gain));
  report.corrected_rows += rows.size();
}

void Composer::Shift(const LayerView& view, std::size_t index,
                     const std::vector<std::size_t>& selected, const std::vector<float>& loadings,
                     ComposeReport& report) {
  const ChunkInLayer in_layer(view, engine_.profile(), rotations_, prompt_.chunks[index]);
  const auto mean = MeanResidual(Measure(in_layer, index, selected), 2 * view.row_elements);
  if (!mean) {  // Shapes are ours: numbers that are not finite.
    report.left_worse += kPlanesOfLayer;
    return;
  }
  if (mean->empty()) {
    report.left_few_rows += kPlanesOfLayer;
    return;
  }
  report.corrected += kPlanesOfLayer;
  const std::vector<std::size_t> rows = ShiftedRows(loadings);
  in_layer.Correct(rows, {kShiftRank, loadings, loadings}, ShiftGain(*mean));
  report.corrected_rows += rows.size();
}

Result<ComposeReport> Composer::Run(const ComposerOptions& options) {
  auto rule = MakeSelectRule(options.rule);
  if (!rule) return Fail(rule.error());
  KVC_FAIL_IF_ERROR(Check(options));
  const SystemClock clock;
  ComposeReport report;
  report.total = static_cast<std::uint32_t>(prompt_.tokens.size());

  SelectRequest request;
  request.chunks = spans_;
  request.layer_count = engine_.profile().layer_count;
  request.budget = options.budget;
  request.seed = options.seed;
  request.check_cost_layers = kCheckCostLayers;
  request.whole_depth = true;  // llama.cpp computes a batch to its end.
  report.reused = static_cast<std::uint32_t>(request.reused_rows());
  const SelectNeeds needs = (*rule)->Needs(request.layer_count);
  if (!needs.question_layers.empty()) {
    // All fresh rows run in the look: the question may follow some that are no part of it.
    request.question_cost_row_layers = fresh_tokens_ * (needs.question_layers.back() + 1.0);
  }
  if (options.auto_budget && report.reused > 0) {
    auto choice = ChooseBudget(*options.auto_budget, engine_.costs(), engine_.profile(), request,
                               needs, fresh_tokens_);
    if (!choice) return Fail(choice.error());
    request.budget = choice->budget;
    report.budget_auto = std::move(*choice);
  }
  SelectEvidence evidence;
  if (needs.check_layer) {
    const auto check = LookAtCheckLayer(needs.attention_received);
    if (!check) return Fail(check.error());
    evidence.key_deviation = (*check)->key_deviation;
    evidence.value_deviation = (*check)->value_deviation;
    evidence.value_deviation_l1 = (*check)->value_deviation_l1;
    evidence.attention_received = (*check)->attention_received;
    report.look_ms += (*check)->took_ms;
  }
  const std::int64_t place_ns = clock.NowNs();
  const auto placing = BeginToPlace(options);
  if (!placing) return Fail(placing.error());
  StreamingPlace* const stream = placing->get();
  report.place_ms = MsSince(clock, place_ns);
  const bool looks = report.budget_auto ? report.budget_auto->looks_at_question
                                        : PaysToLookAtQuestion(request, needs);
  if (looks) {
    const auto question = LookAtQuestion(needs.question_layers, needs.anchored_question, stream);
    if (!question) return Fail(question.error());
    evidence.question_attention = (*question)->attention;
    report.look_ms += (*question)->took_ms;
  }
  const std::int64_t select_ns = clock.NowNs();
  std::vector<ChunkLoadings> loadings;
  if (needs.loadings) loadings = MeanLoadingsOfChunks();
  evidence.loadings = loadings;
  Result<Selection> selection = (*rule)->Select(request, evidence);
  if (!selection) return Fail(selection.error());
  report.select_ms = MsSince(clock, select_ns);
  if (needs.decode_stage) {
    auto stale = StaleAfterPrefill(request, evidence.value_deviation_l1, *selection);
    if (!stale) return Fail(stale.error());
    report.stale = std::move(*stale);
  }

  std::vector<std::vector<std::size_t>> selected(spans_.size());
  std::size_t chunk = 0;
  for (const Position row : selection->rows) {
    while (row >= spans_[chunk].end) ++chunk;
    selected[chunk].push_back(static_cast<std::size_t>(row - spans_[chunk].begin));
  }
  const std::int64_t compute_ns = clock.NowNs();
  const double stalled_us = StalledUs(stream);
  measured_.assign(spans_.size(), 0);
  const bool shifts = !options.completion && needs.own_completion;
  std::vector<std::vector<float>> shift_loadings;
  if (shifts) {
    auto of_chunks = ShiftLoadingsOfChunks(spans_, evidence, selected);
    if (!of_chunks) return Fail(of_chunks.error());
    shift_loadings = std::move(*of_chunks);
  }
  const bool completes = (options.completion || shifts) && !selection->rows.empty();
  const std::size_t computed = selection->rows.size() + fresh_tokens_;
  LayerHook complete;
  if (completes) {
    complete = [&](const LayerView& view) {
      // Layer 0 is exact: it does not depend on context. With several ubatches, in the last: only
      // once all selected rows are there.
      if (view.layer == 0 || view.positions.size() < computed) return;
      const std::int64_t complete_ns = clock.NowNs();
      for (std::size_t i = 0; i < spans_.size(); ++i) {
        if (shifts) {
          Shift(view, i, selected[i], shift_loadings[i], report);
        } else {
          Complete(view, i, selected[i], report);
        }
      }
      report.complete_ms += MsSince(clock, complete_ns);
    };
  }
  engine_.SetLayerHook(HookThatAwaits(stream, std::move(complete)));
  const Status done = engine_.Run(prompt_.tokens, RunsOfPass(fresh_, selection->rows));
  engine_.SetLayerHook({});
  KVC_FAIL_IF_ERROR(done);
  KVC_ASSERT(engine_.computed_rows() == computed);
  report.recomputed = static_cast<std::uint32_t>(selection->rows.size());
  if (stream != nullptr) {
    KVC_FAIL_IF_ERROR(stream->Finish());
    for (const double us : stream->stall_us()) report.stall_ms.push_back(us / 1e3);
  }
  if (completes) {
    const double numbers = 2.0 * engine_.profile().kv_head_count * engine_.profile().head_dim *
                           (request.layer_count - 1);
    for (std::size_t i = 0; i < spans_.size(); ++i) {
      const auto rows = static_cast<double>(selected[i].size());
      report.deviation.push_back(rows > 0 ? std::sqrt(measured_[i] / (rows * numbers)) : 0);
    }
  }
  report.compute_ms = MsSince(clock, compute_ns) - (StalledUs(stream) - stalled_us) / 1e3;
  report.ttft_ms = report.look_ms + report.place_ms + report.select_ms + report.compute_ms +
                   StallTotalMs(report.stall_ms);
  report.charged = ChargedBudget(request, *selection);
  return report;
}

}  // namespace kvcommons
