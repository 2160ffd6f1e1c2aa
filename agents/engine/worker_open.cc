// Engine::Open: load, find where the cache lies, prove that rows written there are what llama.cpp
// reads.

#include <ggml-cpu.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>

#include "agents/engine/gguf_profile.h"
#include "agents/engine/llama_log.h"
#include "agents/engine/llama_worker.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kDefaultContext = 8192;
constexpr std::uint32_t kMaxContext = 1U << 24;
constexpr std::uint32_t kSequences = 2;  // the rows that are kept, and padding

Status CheckOptions(const EngineOptions& options) {
  if (options.context_tokens > kMaxContext) {
    return InvalidArgument("context_tokens is " + std::to_string(options.context_tokens) +
                           "; the limit is " + std::to_string(kMaxContext));
  }
  if (options.threads > 1024) {
    return InvalidArgument("threads is " + std::to_string(options.threads) + "; the limit is 1024");
  }
  if (options.kv_type != ElementType::kFp16 && options.kv_type != ElementType::kFp32) {
    return InvalidArgument("kv_type is " + std::string(ElementTypeName(options.kv_type)) +
                           "; known are fp16 and fp32");
  }
  if (options.ubatch_tokens < 1 || options.ubatch_tokens > 65536) {
    return InvalidArgument("ubatch_tokens is " + std::to_string(options.ubatch_tokens) +
                           "; the limit is 1 to 65536");
  }
  return Status();
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options) {
  return LlamaWorker::Open(options);
}

Result<std::unique_ptr<Engine>> LlamaWorker::Open(const EngineOptions& options) {
  KVC_FAIL_IF_ERROR(CheckOptions(options));
  StartLlama();
  std::unique_ptr<LlamaWorker> worker(new LlamaWorker);
  KVC_FAIL_IF_ERROR(worker->Load(options));
  KVC_FAIL_IF_ERROR(worker->CaptureCache());
  worker->in_memory_ = options.place_via != PlaceVia::kStateBlob;
  Status proved = worker->ProveCache();
  if (!proved.ok() && options.place_via == PlaceVia::kAuto) {
    worker->in_memory_ = false;
    proved = worker->ProveCache();
  }
  KVC_FAIL_IF_ERROR(proved);
  if (options.measure_costs) worker->MeasureCosts();
  return std::unique_ptr<Engine>(std::move(worker));
}

Status LlamaWorker::Load(const EngineOptions& options) {
  const Result<GgufFile> file = GgufFile::Open(options.model_path);
  if (!file) return file.error();
  TakeLlamaComplaint();
  llama_model_params parameters = llama_model_default_params();
  parameters.n_gpu_layers = 0;
  model_.reset(llama_model_load_from_file(options.model_path.c_str(), parameters));
  if (model_ == nullptr) {
    return Corrupted("llama.cpp cannot load " + options.model_path + ": " + TakeLlamaComplaint());
  }
  vocabulary_ = llama_model_get_vocab(model_.get());
  KVC_RETURN_IF_ERROR(CheckServable(*file, model_.get()));

  bool flash = options.flash != FlashAttention::kOff;
  Status made = MakeContext(options, flash);
  if (!made.ok() && options.flash == FlashAttention::kAuto) {
    flash = false;
    made = MakeContext(options, flash);
  }
  KVC_RETURN_IF_ERROR(made);
  ProfileOptions profile_options;
  profile_options.kv_type = options.kv_type;
  profile_options.flash = flash;
  profile_options.block_tokens = options.block_tokens;
  profile_options.context_tokens = llama_n_ctx(context_.get());
  Result<ModelProfile> profile = ProfileOf(*file, model_.get(), profile_options);
  if (!profile) return profile.error();
  profile_ = std::move(*profile);
  cell_of_position_.assign(profile_.context_tokens, -1);
  ticket_of_position_.assign(profile_.context_tokens, -1);
  const auto heads = static_cast<std::uint64_t>(std::max(1, llama_model_n_head(model_.get())));
  padding_model_ = {llama_model_n_params(model_.get()),
                    heads * profile_.layer_count * profile_.head_dim, ggml_cpu_has_amx_int8() != 0};
  return Status();
}

Status LlamaWorker::MakeContext(const EngineOptions& options, bool flash) {
  const auto trained =
      static_cast<std::uint32_t>(std::max(1, llama_model_n_ctx_train(model_.get())));
  std::uint32_t context =
      options.context_tokens != 0 ? options.context_tokens : std::min(trained, kDefaultContext);
  context = (context + 255) / 256 * 256;
  const std::uint32_t threads =
      options.threads != 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency());

  watch_ = std::make_unique<GraphWatch>();
  llama_context_params parameters = llama_context_default_params();
  parameters.n_ctx = context;
  parameters.n_batch = context;  // a longer batch would abort the process
  parameters.n_ubatch = std::min(options.ubatch_tokens, context);
  parameters.n_seq_max = kSequences;
  parameters.kv_unified = true;  // one stream: both share cells
  parameters.n_threads = static_cast<std::int32_t>(threads);
  parameters.n_threads_batch = static_cast<std::int32_t>(threads);
  parameters.type_k = options.kv_type == ElementType::kFp32 ? GGML_TYPE_F32 : GGML_TYPE_F16;
  parameters.type_v = parameters.type_k;
  parameters.flash_attn_type =
      flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  parameters.no_perf = true;
  parameters.cb_eval = GraphWatch::Callback;
  parameters.cb_eval_user_data = watch_.get();
  TakeLlamaComplaint();
  context_.reset(llama_init_from_model(model_.get(), parameters));
  if (context_ == nullptr) {
    return Exhausted("llama.cpp cannot make a context of " + std::to_string(context) +
                     " tokens: " + TakeLlamaComplaint() + "; use a smaller --context");
  }
  memory_ = llama_get_memory(context_.get());
  return Status();
}

Status LlamaWorker::CaptureCache() {
  llama_token token = 0;
  llama_pos position = 0;
  std::int32_t sequences = 1;
  llama_seq_id sequence = 0;
  llama_seq_id* list = &sequence;
  std::int8_t wants = 1;
  llama_batch batch{};
  batch.n_tokens = 1;
  batch.token = &token;
  batch.pos = &position;
  batch.n_seq_id = &sequences;
  batch.seq_id = &list;
  batch.logits = &wants;
  watch_->BeginCapture();
  const std::int32_t code = llama_decode(context_.get(), batch);
  cache_ = watch_->EndCapture(profile_.head_dim);
  Clear();
  if (code != 0) return Internal("llama_decode of one token returned " + std::to_string(code));
  const KeyRowFormat row = profile_.key_row();
  if (cache_.layers.size() != profile_.layer_count ||
      cache_.cell_count != profile_.context_tokens || cache_.row_bytes() != row.row_bytes() ||
      cache_.type != profile_.element_type) {
    return Unsupported(
        "this llama.cpp does not show one K and one V cache of every layer in host "
        "memory; use the pinned version, built for the processor");
  }
  return claim_.Reserve(cache_);
}

// Places a pattern, and asks llama.cpp what it holds there.
Status LlamaWorker::ProveCache() {
  const Status refused = Unsupported(
      "rows written into this llama.cpp's cache are not what it reads; use the pinned version");
  const std::uint32_t counts[] = {3, 4};
  const Position begins[] = {0, 7};
  std::vector<std::vector<std::byte>> blocks;
  std::vector<PlaceSpan> spans;
  const PlaneLayout planes = profile_.planes();
  std::uint32_t seed = 1;
  for (int i = 0; i < 2; ++i) {
    std::vector<std::byte> block(planes.BlockBytes(counts[i]));
    for (std::byte& byte : block) {
      seed = seed * 1664525U + 1013904223U;
      byte = static_cast<std::byte>(seed >> 24);
    }
    blocks.push_back(std::move(block));
    spans.push_back({begins[i], counts[i], 0, blocks.back().data(), counts[i], 0});
  }
  KVC_RETURN_IF_ERROR(Place(spans));
  const Result<CellClaim::Held> held = claim_.Read(context_.get());
  Clear();
  if (!held) return held.error();
  if (held->positions != std::vector<Position>{0, 1, 2, 7, 8, 9, 10}) return refused;
  // Byte by byte, not by the functions that wrote them.
  const std::size_t cells = held->positions.size();
  const std::size_t row_bytes = cache_.row_bytes();
  const std::size_t element = cache_.element_bytes();
  for (std::size_t plane = 0; plane < 2 * cache_.layers.size(); ++plane) {
    const bool value = plane % 2 == 1;
    const CacheMemory::Layer& layer = held->rows.layers[plane / 2];
    const std::byte* const rows = value ? layer.value : layer.key;
    for (std::size_t cell = 0; cell < cells; ++cell) {
      const std::size_t block = cell < 3 ? 0 : 1;
      const std::byte* row = blocks[block].data() + planes.PlaneOffset(plane, counts[block]) +
                             (cell - (block == 0 ? 0 : 3)) * row_bytes;
      for (std::size_t e = 0; e < cache_.row_elements; ++e) {
        const bool transposed = value && cache_.value_transposed;
        const std::size_t index = transposed ? e * cells + cell : cell * cache_.row_elements + e;
        if (std::memcmp(rows + index * element, row + e * element, element) != 0) return refused;
      }
    }
  }
  return Status();
}

}  // namespace kvcommons
