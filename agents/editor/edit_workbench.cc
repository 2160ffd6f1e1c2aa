#include "agents/editor/edit_workbench.h"

#include <utility>

namespace kvcommons {

Result<std::unique_ptr<EditWorkbench>> EditWorkbench::Open(const EditCommandOptions& options,
                                                           bool with_daemon) {
  auto policy = ParsePolicy(options.policy);
  if (!policy.has_value()) return Fail(policy.error());
  std::unique_ptr<EditWorkbench> bench(new EditWorkbench(options));
  bench->policy_ = *policy;

  auto engine_options = ToEngineOptions(options.common);
  if (!engine_options.has_value()) return Fail(engine_options.error());
  auto engine = Engine::Open(*engine_options);
  if (!engine.has_value()) return Fail(engine.error());
  bench->engine_ = std::move(*engine);

  if (with_daemon) {
    auto gate = bench->engine_->RunGate();
    if (!gate.has_value()) return Fail(gate.error());
    bench->gate_ = *gate;
    auto client =
        Client::Connect({.socket_path = options.common.socket_path, .name = "kvcommons-engine"});
    if (!client.has_value()) {
      return Fail(Status(
          client.error().code(),
          client.error().message() + "; start kvcommonsd, or use --policy off to go without"));
    }
    bench->client_ = std::move(*client);
    const ModelProfile& profile = bench->engine_->profile();
    auto model = bench->client_->OpenModel(profile, bench->gate_);
    if (!model.has_value()) return Fail(model.error());
    bench->model_ = std::move(*model);
    if (options.compare) {
      auto baseline = bench->client_->OpenModel(BaselineProfile(profile), bench->gate_);
      if (!baseline.has_value()) return Fail(baseline.error());
      bench->baseline_ = std::move(*baseline);
    }
  }
  bench->runner_ = std::make_unique<EditRunner>(*bench->engine_, bench->model_.get(),
                                                bench->baseline_.get(), bench->clock_);
  return bench;
}

Result<EditResult> EditWorkbench::Run(const std::string& document, const std::string& before,
                                      const std::string& after, std::uint32_t after_rows,
                                      const EditResult* compared) {
  EditRunOptions run;
  run.policy = policy_;
  run.compare = options_.compare;
  run.max_tokens = options_.max_tokens;
  run.ask = options_.ask;
  run.edit.after_rows = after_rows;
  run.edit.min_run = options_.min_run;
  run.compared = compared;
  run.generate = options_.generate;
  run.ack = options_.held_only ? UploadAck::kHeld : UploadAck::kDurable;
  return runner_->Run(document, before, after, run);
}

}  // namespace kvcommons
