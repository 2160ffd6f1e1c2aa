// `kvcommons-engine bench prefill`: what the callback, the sequences and the checks cost, and what
// filling up small passes saves.

#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "agents/engine/commands.h"
#include "agents/engine/llama_log.h"

namespace kvcommons {
namespace {

constexpr double kGoal = 0.98;

// libllama as an ordinary program uses it: one sequence, no callback.
class PlainLlama {
 public:
  static Result<std::unique_ptr<PlainLlama>> Open(const EngineOptions& options,
                                                  const Engine& like) {
    std::unique_ptr<PlainLlama> plain(new PlainLlama);
    llama_model_params model = llama_model_default_params();
    model.n_gpu_layers = 0;
    plain->model_.reset(llama_model_load_from_file(options.model_path.c_str(), model));
    if (plain->model_ == nullptr) return Fail(Corrupted(TakeLlamaComplaint()));
    llama_context_params context = llama_context_default_params();
    context.n_ctx = like.context_tokens();
    context.n_batch = like.context_tokens();
    context.n_ubatch = std::min(options.ubatch_tokens, like.context_tokens());
    const auto threads = static_cast<std::int32_t>(
        options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency()));
    context.n_threads = threads;
    context.n_threads_batch = threads;
    context.type_k = options.kv_type == ElementType::kFp32 ? GGML_TYPE_F32 : GGML_TYPE_F16;
    context.type_v = context.type_k;
    context.flash_attn_type = like.profile().numeric_class.find("/fa1") != std::string::npos
                                  ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                                  : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    context.no_perf = true;
    plain->context_.reset(llama_init_from_model(plain->model_.get(), context));
    if (plain->context_ == nullptr) return Fail(Exhausted(TakeLlamaComplaint()));
    return plain;
  }

  // The rows from `first` on.
  bool Prefill(std::vector<TokenId>& tokens, std::size_t first) {
    llama_memory_seq_rm(llama_get_memory(context_.get()), 0, static_cast<llama_pos>(first), -1);
    const llama_batch batch = llama_batch_get_one(tokens.data() + first,
                                                  static_cast<std::int32_t>(tokens.size() - first));
    const bool done = llama_decode(context_.get(), batch) == 0;
    return done && llama_get_logits_ith(context_.get(), -1) != nullptr;
  }

 private:
  PlainLlama() = default;
  struct Free {
    void operator()(llama_model* model) const { llama_model_free(model); }
    void operator()(llama_context* context) const { llama_free(context); }
  };
  std::unique_ptr<llama_model, Free> model_;
  std::unique_ptr<llama_context, Free> context_;
};

template <typename Work>
double Seconds(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

int RunPrefillBench(const CommonOptions& options, const PrefillBenchOptions& bench) {
  constexpr const char* kName = "bench prefill";
  Result<EngineOptions> engine_options = ToEngineOptions(options);
  if (!engine_options) return FailCommand(kName, engine_options.error());
  engine_options->measure_costs = false;
  const Result<std::unique_ptr<Engine>> engine = Engine::Open(*engine_options);
  if (!engine) return FailCommand(kName, engine.error());
  const std::uint32_t context = (*engine)->context_tokens();
  if (bench.tokens < 1 || bench.tokens > context) {
    return FailCommand(kName, InvalidArgument("--tokens is " + std::to_string(bench.tokens) +
                                              "; the limit is 1 to " + std::to_string(context)));
  }
  if (bench.behind > context - bench.tokens) {
    return FailCommand(
        kName, InvalidArgument("--behind is " + std::to_string(bench.behind) +
                               "; the limit is 0 to " + std::to_string(context - bench.tokens)));
  }
  if (bench.repeats < 1 || bench.repeats > 1000) {
    return FailCommand(kName, InvalidArgument("--repeats is " + std::to_string(bench.repeats) +
                                              "; the limit is 1 to 1000"));
  }
  const auto plain = PlainLlama::Open(*engine_options, **engine);
  if (!plain) return FailCommand(kName, plain.error());
  std::vector<TokenId> tokens;
  for (std::uint32_t i = 0; i < bench.behind + bench.tokens; ++i) {
    tokens.push_back(static_cast<TokenId>((i * 7919U + 1009U) % (*engine)->vocabulary_size()));
  }
  std::vector<double> ours;
  std::vector<double> theirs;
  Status status;
  bool plain_done = true;
  const auto run_ours = [&] {
    status = (*engine)->RemoveFrom(static_cast<Position>(bench.behind));
    if (status.ok()) status = (*engine)->RunRest(tokens);
  };
  const auto run_theirs = [&] { plain_done = (*plain)->Prefill(tokens, bench.behind); };
  if (bench.behind > 0) {
    std::vector<TokenId> before(tokens.begin(), tokens.begin() + bench.behind);
    status = (*engine)->RunRest(before);
    plain_done = (*plain)->Prefill(before, 0);
    if (!status.ok()) return FailCommand(kName, status);
  }
  run_ours();  // The first pass of a size builds its graph.
  run_theirs();
  for (std::uint32_t i = 0; i < bench.repeats && status.ok() && plain_done; ++i) {
    // Turn by turn, each first every other time: a machine's drift hits both.
    if (i % 2 == 0) ours.push_back(Seconds(run_ours));
    theirs.push_back(Seconds(run_theirs));
    if (i % 2 == 1) ours.push_back(Seconds(run_ours));
  }
  if (!status.ok()) return FailCommand(kName, status);
  if (!plain_done)
    return FailCommand(kName, Internal("plain libllama failed: " + TakeLlamaComplaint()));
  const double value = bench.tokens / Median(ours);
  const double bound = bench.tokens / Median(theirs);
  // Of each turn's two, then the middle: a busy machine drifts more between turns than within one.
  std::vector<double> ratios;
  for (std::size_t i = 0; i < ours.size(); ++i) ratios.push_back(theirs[i] / ours[i]);
  const double ratio = Median(ratios);
  if (options.json_path.empty()) {
    std::printf(
        "prefill of %u tokens behind %u: %.1f tokens/s, plain libllama %.1f, ratio %.3f (goal "
        "%.2f)\n",
        bench.tokens, bench.behind, value, bound, ratio, kGoal);
    return 0;
  }
  const nlohmann::json row = {{"name", bench.behind == 0 ? "prefill" : "prefill_behind"},
                              {"value", value},
                              {"unit", "tokens/s"},
                              {"bound", bound},
                              {"bound_name", "plain libllama"},
                              {"ratio", ratio},
                              {"spread",
                               {{"ratio_min", *std::min_element(ratios.begin(), ratios.end())},
                                {"ratio_max", *std::max_element(ratios.begin(), ratios.end())},
                                {"turns", ratios.size()}}},
                              {"goal", kGoal},
                              {"better", "higher"},
                              {"batch_blocks", nullptr}};
  const Status written = WriteJson(options.json_path, nlohmann::json::array({row}));
  return written.ok() ? 0 : FailCommand(kName, written);
}

}  // namespace kvcommons
