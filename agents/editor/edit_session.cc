#include "agents/editor/edit_session.h"

#include <utility>

#include "agents/engine/plan_rows.h"

namespace kvcommons {

Result<PrefillReport> EditSession::Prefill(std::span<const TokenId> prompt,
                                           const Options& options) {
  PrefillReport report;
  report.total = static_cast<std::uint32_t>(prompt.size());
  plan_.reset();
  engine_.Clear();

  const std::int64_t start_ns = clock_.NowNs();
  if (model_ != nullptr && options.policy != Policy::kOff) {
    PlanRequest request;
    request.tokens = prompt;
    request.policy = options.policy;
    request.document = options.document;
    request.store_tokens = options.store_tokens;
    request.costs = engine_.costs();
    request.edit = options.edit;
    auto plan = model_->Plan(request);
    report.plan_ms = MsSince(start_ns);
    if (plan.has_value()) {
      plan_ = std::move(*plan);
      if (Status status = CarryOut(prompt, *plan_, report); !status.ok()) {
        report.fallback = status.ToString();
        plan_.reset();
      }
    } else {
      report.fallback = plan.error().ToString();
    }
  } else {
    report.fallback = model_ == nullptr ? "no daemon" : "policy off";
  }

  if (plan_ == nullptr) {
    engine_.Clear();
    report.exact = report.moved = 0;
    report.computed = report.total;
    const std::int64_t compute_ns = clock_.NowNs();
    KVC_FAIL_IF_ERROR(engine_.RunRest(prompt));
    report.compute_ms = MsSince(compute_ns);
  }
  report.ttft_ms = MsSince(start_ns);
  return report;
}

Status EditSession::CarryOut(std::span<const TokenId> prompt, PlanHandle& plan,
                             PrefillReport& report) {
  const PlanRows rows = RowsOf(plan);
  const std::int64_t place_ns = clock_.NowNs();
  KVC_RETURN_IF_ERROR(PlacePlan(engine_, plan, rows.places));
  report.place_ms = MsSince(place_ns);

  const std::int64_t compute_ns = clock_.NowNs();
  KVC_RETURN_IF_ERROR(engine_.Run(prompt, rows.runs));
  report.compute_ms = MsSince(compute_ns);

  report.exact = plan.exact_rows;
  report.moved = plan.moved_rows;
  report.computed = plan.computed_rows;
  report.loaded_blocks = plan.loaded_blocks;
  report.parent_revision = plan.parent_revision;
  report.explanation = plan.explanation;
  return Status();
}

Result<CommitOutcome> EditSession::Commit(UploadAck ack) {
  if (plan_ == nullptr) return Fail(Unavailable("nothing to commit: the last prefill had no plan"));
  const std::unique_ptr<PlanHandle> plan = std::move(plan_);
  return plan->Commit(
      [this](Position begin, std::uint32_t count, std::byte* destination) {
        return engine_.ReadRows(begin, count, destination);
      },
      ack);
}

Result<Policy> ParsePolicy(std::string_view name) {
  if (name == "off") return Policy::kOff;
  if (name == "exact") return Policy::kExact;
  if (name == "edit") return Policy::kEdit;
  return Fail(InvalidArgument("policy is '" + std::string(name) + "'; use off, exact or edit"));
}

}  // namespace kvcommons
