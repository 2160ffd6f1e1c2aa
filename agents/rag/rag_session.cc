#include "agents/rag/rag_session.h"

#include <algorithm>
#include <utility>

#include "agents/engine/fidelity.h"
#include "agents/engine/sampled.h"
#include "align/select/rule.h"

namespace kvcommons {
namespace {

constexpr std::uint64_t kMeasuredDiskBytes = 1 << 20;

Status CheckOptions(const RagSession::Options& options) {
  const auto rule = MakeSelectRule(options.compose.rule);
  if (!rule) return rule.error();
  if (options.compose.auto_budget) {
    KVC_RETURN_IF_ERROR(CheckAutoBudget(*options.compose.auto_budget, options.compose.rule));
  }
  if (!(options.compose.budget >= 0 && options.compose.budget <= 1)) {
    return InvalidArgument("budget is " + std::to_string(options.compose.budget) +
                           "; the limit is 0 to 1");
  }
  if (!(options.canary_share >= 0 && options.canary_share <= 1)) {
    return InvalidArgument("canary_share is " + std::to_string(options.canary_share) +
                           "; the limit is 0 to 1");
  }
  return Status();
}

// What the caller has to change; everything else is answered by computing in full.
bool IsTheCallers(const Status& status) { return status.code() == Code::kInvalidArgument; }

}  // namespace

std::string QualityName(const std::string& rule, bool completion) {
  return completion ? rule + "-completion" : rule;
}

Result<std::unique_ptr<PlanHandle>> RagSession::MakePlan(std::span<const TokenId> prompt,
                                                         std::span<const PlanRequest::Chunk> chunks,
                                                         const Options& options) {
  PlanRequest request;
  request.tokens = prompt;
  request.store_tokens =
      static_cast<std::uint32_t>(std::min<std::size_t>(options.store_tokens, prompt.size()));
  request.costs = engine_.costs();
  if (chunks.empty()) {
    request.policy = Policy::kExact;
    return model_->Plan(request);
  }
  request.policy = Policy::kCompose;
  request.chunks.assign(chunks.begin(), chunks.end());
  request.variants = options.variants;
  request.compose.min_chunk_rows = options.min_chunk_rows;
  // Controls are carried out whatever they cost.
  if (options.compose.rule != "none" && options.compose.rule != "all") {
    request.compose.recompute_share = options.compose.auto_budget
                                          ? options.compose.auto_budget->least_ratio
                                          : options.compose.budget;
  }
  return library_->Plan(request);
}

Result<RagReport> RagSession::Compose(std::span<const TokenId> prompt,
                                      std::span<const PlanRequest::Chunk> chunks,
                                      const Options& options) {
  plan_.reset();
  sample_.reset();
  KVC_FAIL_IF_ERROR(CheckOptions(options));
  engine_.Clear();
  RagReport report;
  report.total = static_cast<std::uint32_t>(prompt.size());
  report.chunks.resize(chunks.size());

  const std::int64_t start_ns = clock_.NowNs();
  if (model_ != nullptr && library_ != nullptr) {
    auto plan = MakePlan(prompt, chunks, options);
    report.plan_ms = MsSince(start_ns);
    if (plan) {
      plan_ = std::move(*plan);
      if (const Status status = CarryOut(prompt, chunks, options, report); !status.ok()) {
        plan_.reset();
        if (IsTheCallers(status)) return Fail(status);
        report.fallback = status.ToString();
      }
    } else {
      if (IsTheCallers(plan.error())) return Fail(plan.error());
      report.fallback = plan.error().ToString();
    }
  } else {
    report.fallback = "no daemon";
  }

  if (plan_ == nullptr) {
    const double plan_ms = report.plan_ms;
    const std::string fallback = std::move(report.fallback);
    report = {};
    report.total = report.fresh = static_cast<std::uint32_t>(prompt.size());
    report.chunks.resize(chunks.size());
    report.plan_ms = plan_ms;
    report.fallback = fallback;
    engine_.Clear();
    const std::int64_t compute_ns = clock_.NowNs();
    KVC_FAIL_IF_ERROR(engine_.RunRest(prompt));
    report.compute_ms = MsSince(compute_ns);
  }
  report.ttft_ms = MsSince(start_ns);
  if (report.canonical > 0) DrawCanary(prompt, options, report);
  return report;
}

Status RagSession::CarryOut(std::span<const TokenId> prompt,
                            std::span<const PlanRequest::Chunk> chunks, const Options& options,
                            RagReport& report) {
  report.explanation = plan_->explanation;
  report.loaded_blocks = plan_->loaded_blocks;
  report.loaded_ms = plan_->loaded_us / 1e3;
  // Of a few bytes the time is a seek's.
  if (plan_->loaded_bytes >= kMeasuredDiskBytes && plan_->loaded_us > 0) {
    disk_bytes_per_us_ = static_cast<double>(plan_->loaded_bytes) / plan_->loaded_us;
  }
  PlanParts parts = PartsOf(plan_->spans, chunks);
  ComposerOptions compose = options.compose;
  if (compose.auto_budget) compose.auto_budget->disk_bytes_per_us = disk_bytes_per_us_;
  if (!parts.chunks.empty()) {
    const auto has_loadings = [](const ComposeChunk& chunk) { return chunk.rank > 0; };
    if (compose.completion &&
        std::none_of(parts.chunks.begin(), parts.chunks.end(), has_loadings)) {
      compose.completion = false;
      report.not_completed = "no chunk is served from a variant with loadings";
    }
    const auto quality = model_->QualityOf(QualityName(compose.rule, compose.completion));
    if (!quality) return quality.error();
    if (!quality->enabled) {
      const std::string name = QualityName(compose.rule, compose.completion);
      report.not_composed = "rule " + name + " is switched off: " + quality->reason +
                            "; kvcommons quality reset " + name + " --model " +
                            model_->fingerprint().ToHex() + " lets it go on";
      parts.chunks.clear();
    }
  }
  report.exact = parts.exact_rows;
  if (parts.chunks.empty()) {
    KVC_RETURN_IF_ERROR(RunExact(prompt, parts, report));
  } else {
    report.canonical = parts.canonical_rows;
    report.completion = compose.completion;
    for (const std::uint32_t index : parts.chunk_indices) {
      const PlannedChunk& planned = plan_->chunks[index];
      report.chunks[index] = {planned.variant, planned.root, planned.document, std::nullopt};
    }
    KVC_RETURN_IF_ERROR(RunComposed(prompt, chunks.back().end, std::move(parts), compose, report));
  }
  report.fresh = report.total - report.exact - report.canonical;
  return Status();
}

Status RagSession::RunExact(std::span<const TokenId> prompt, const PlanParts& parts,
                            RagReport& report) {
  const std::int64_t place_ns = clock_.NowNs();
  if (!parts.exact.empty()) {
    KVC_RETURN_IF_ERROR(engine_.Place(parts.exact));
    // Bytes of a slab whose lease is gone may be another block's.
    if (!plan_->StillHeld()) return Unavailable("the lease was lost during the copy");
  }
  report.place_ms = MsSince(place_ns);
  const std::int64_t compute_ns = clock_.NowNs();
  KVC_RETURN_IF_ERROR(engine_.RunRest(prompt));
  report.compute_ms = MsSince(compute_ns);
  return Status();
}

Status RagSession::RunComposed(std::span<const TokenId> prompt, Position question_begin,
                               PlanParts parts, ComposerOptions options, RagReport& report) {
  Composer composer(engine_, {{prompt.begin(), prompt.end()},
                              std::move(parts.exact),
                              std::move(parts.chunks),
                              question_begin});
  const auto ran = composer.Run(options);
  if (!ran) return ran.error();
  // Stored rows are read until the pass ends: completion is taken from them.
  if (!plan_->StillHeld()) return Unavailable("the lease was lost while rows were read");
  report.recomputed = ran->recomputed;
  report.charged = ran->charged;
  report.stale = ran->stale;
  report.budget_auto = ran->budget_auto;
  if (ran->budget_auto) report.explanation += ran->budget_auto->why + "\n";
  report.corrected = ran->corrected;
  report.left_few_rows = ran->left_few_rows;
  report.left_worse = ran->left_worse;
  report.left_without_loadings = ran->left_without_loadings;
  report.corrected_rows = ran->corrected_rows;
  report.left_wild_rows = ran->left_wild_rows;
  report.place_ms = ran->place_ms;
  report.look_ms = ran->look_ms;
  report.select_ms = ran->select_ms;
  report.compute_ms = ran->compute_ms;
  report.complete_ms = ran->complete_ms;
  report.stall_ms = ran->stall_ms;
  for (std::size_t i = 0; i < ran->deviation.size(); ++i) {
    report.chunks[parts.chunk_indices[i]].deviation = ran->deviation[i];
  }
  return Status();
}

void RagSession::DrawCanary(std::span<const TokenId> prompt, const Options& options,
                            const RagReport& report) {
  if (!IsSampled(options.canary_seed, composed_++, options.canary_share)) return;
  const std::span<const float> logits = engine_.Logits(0);
  sample_ = Sample{{prompt.begin(), prompt.end()},
                   {logits.begin(), logits.end()},
                   QualityName(options.compose.rule, report.completion)};
}

Result<CommitOutcome> RagSession::Commit(UploadAck ack) {
  if (plan_ == nullptr) return Fail(Unavailable("nothing to commit: the last prompt had no plan"));
  const std::unique_ptr<PlanHandle> plan = std::move(plan_);
  return plan->Commit(
      [this](Position begin, std::uint32_t count, std::byte* destination) {
        return engine_.ReadRows(begin, count, destination);
      },
      ack);
}

Result<std::optional<RagSession::Canary>> RagSession::RunCanary() {
  if (!sample_) return std::nullopt;
  const Sample sample = std::move(*sample_);
  sample_.reset();
  Canary canary;
  canary.rule = sample.rule;
  engine_.Clear();
  const std::int64_t start_ns = clock_.NowNs();
  KVC_FAIL_IF_ERROR(engine_.RunRest(sample.prompt));
  canary.full_ms = MsSince(start_ns);
  const std::span<const float> full = engine_.Logits(0);
  const Fidelity fidelity = kvcommons::Compare({{full.begin(), full.end()}}, {sample.logits});
  canary.kl = fidelity.kl_mean;
  canary.agrees = fidelity.top1_agreement == 1;
  auto quality = model_->ReportQuality(sample.rule, canary.kl, fidelity.top1_agreement);
  if (!quality) return Fail(quality.error());
  canary.quality = std::move(*quality);
  return canary;
}

}  // namespace kvcommons
