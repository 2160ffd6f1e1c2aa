#include "agents/editor/peer_llama_shift.h"

#include <llama.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "align/diff.h"
#include "base/clock.h"

namespace kvcommons {
namespace {

constexpr llama_seq_id kMain = 0;
constexpr llama_seq_id kParked = 1;

class LlamaShiftPeerImpl final : public LlamaShiftPeer {
 public:
  LlamaShiftPeerImpl(llama_model* model, llama_context* context)
      : model_(model),
        context_(context),
        batch_(llama_batch_init(static_cast<int>(llama_n_ctx(context)), 0, 1)) {}
  ~LlamaShiftPeerImpl() override {
    llama_batch_free(batch_);
    llama_free(context_);
    llama_model_free(model_);
  }
  LlamaShiftPeerImpl(const LlamaShiftPeerImpl&) = delete;
  LlamaShiftPeerImpl& operator=(const LlamaShiftPeerImpl&) = delete;

  Result<Outcome> Run(std::span<const TokenId> before, std::span<const TokenId> prompt,
                      std::span<const TokenId> forced) override {
    auto kept = DiffTokens(before, prompt);
    if (!kept.has_value()) return Fail(kept.error());
    llama_memory_t memory = llama_get_memory(context_);
    llama_memory_clear(memory, false);
    KVC_FAIL_IF_ERROR(Decode(before, 0, 0));

    Outcome outcome;
    const std::int64_t start_ns = clock_.NowNs();
    // At the top of the loop sequence 0 holds the new text up to `done`, and behind it the old text
    // from `old_done`, already at its place.
    Position done = 0;
    Position old_done = 0;
    for (const KeptRun& run : *kept) {
      const Position inserted = run.b_begin - done;
      const Position removed = run.a_begin - old_done;
      if (inserted > 0 || removed > 0) {
        // Old rows behind the edit lie at their old position plus the shifts so far, which is done
        // - old_done.
        llama_memory_seq_cp(memory, kMain, kParked, done + removed, -1);
        llama_memory_seq_rm(memory, kMain, done, -1);
        llama_memory_seq_add(memory, kParked, done + removed, -1, inserted - removed);
        if (inserted > 0) {
          KVC_FAIL_IF_ERROR(Decode(
              prompt.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(inserted)),
              done, 0));
          outcome.computed += static_cast<std::uint32_t>(inserted);
        }
        llama_memory_seq_cp(memory, kParked, kMain, -1, -1);
        llama_memory_seq_rm(memory, kParked, -1, -1);
      }
      done = run.b_end();
      old_done = run.a_end();
    }
    // What is left of the old text goes; what is left of the prompt is computed, at least its last
    // token.
    done = std::min(done, static_cast<Position>(prompt.size()) - 1);
    llama_memory_seq_rm(memory, kMain, done, -1);
    const auto rest = prompt.subspan(static_cast<std::size_t>(done));
    KVC_FAIL_IF_ERROR(Decode(rest, done, 1));
    outcome.computed += static_cast<std::uint32_t>(rest.size());
    outcome.ttft_ms = static_cast<double>(clock_.NowNs() - start_ns) / 1e6;
    Collect(outcome);
    if (forced.size() > 1) {
      KVC_FAIL_IF_ERROR(Decode(forced.first(forced.size() - 1),
                               static_cast<Position>(prompt.size()), forced.size() - 1));
      Collect(outcome);
    }
    return outcome;
  }

 private:
  Status Decode(std::span<const TokenId> tokens, Position begin, std::size_t logit_rows) {
    const std::size_t count = tokens.size();
    if (count == 0) return Status();
    if (count > llama_n_batch(context_)) {
      return InvalidArgument("a pass has " + std::to_string(count) + " tokens; the limit is " +
                             std::to_string(llama_n_batch(context_)));
    }
    for (std::size_t i = 0; i < count; ++i) {
      batch_.token[i] = tokens[i];
      batch_.pos[i] = begin + static_cast<Position>(i);
      batch_.n_seq_id[i] = 1;
      batch_.seq_id[i][0] = kMain;
      batch_.logits[i] = i + logit_rows >= count ? 1 : 0;
    }
    batch_.n_tokens = static_cast<int>(count);
    logit_rows_ = std::min(logit_rows, count);
    const int code = llama_decode(context_, batch_);
    if (code != 0) return Internal("llama_decode returned " + std::to_string(code));
    llama_synchronize(context_);
    return Status();
  }

  void Collect(Outcome& outcome) {
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model_));
    for (std::size_t i = static_cast<std::size_t>(batch_.n_tokens) - logit_rows_;
         i < static_cast<std::size_t>(batch_.n_tokens); ++i) {
      const float* row = llama_get_logits_ith(context_, static_cast<int>(i));
      outcome.logits.emplace_back(row, row + vocabulary);
    }
  }

  llama_model* model_;
  llama_context* context_;
  llama_batch batch_;
  std::size_t logit_rows_ = 0;
  SystemClock clock_;
};

}  // namespace

Result<std::unique_ptr<LlamaShiftPeer>> LlamaShiftPeer::Open(const std::string& model_path,
                                                             std::uint32_t context_tokens,
                                                             std::uint32_t threads) {
  llama_model_params model_parameters = llama_model_default_params();
  llama_model* model = llama_model_load_from_file(model_path.c_str(), model_parameters);
  if (model == nullptr) return Fail(InvalidArgument("llama.cpp cannot load " + model_path));
  llama_context_params parameters = llama_context_default_params();
  parameters.n_ctx = parameters.n_batch = context_tokens;
  parameters.n_seq_max = 2;
  parameters.kv_unified = true;
  parameters.no_perf = true;
  parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
  parameters.n_threads = parameters.n_threads_batch =
      static_cast<int>(threads != 0 ? threads : std::max(1U, std::thread::hardware_concurrency()));
  llama_context* context = llama_init_from_model(model, parameters);
  if (context == nullptr) {
    llama_model_free(model);
    return Fail(
        Internal("llama.cpp made no context of " + std::to_string(context_tokens) + " tokens"));
  }
  return std::make_unique<LlamaShiftPeerImpl>(model, context);
}

}  // namespace kvcommons
