#include "agents/engine/gguf_profile.h"

#include <ggml-cpu.h>
#include <llama.h>

#include <memory>

#include "agents/engine/llama_log.h"
#include "align/rope.h"

namespace kvcommons {
namespace {

std::uint32_t Count(const GgufFile& file, std::string_view key, std::uint32_t otherwise) {
  const std::optional<double> value = file.Number(key);
  return value ? static_cast<std::uint32_t>(*value) : otherwise;
}

// ω of the file's rotary settings, as llama.cpp applies them.
Result<std::vector<float>> OmegaOf(const GgufFile& file, std::uint32_t rotary_dim) {
  RopeConfig config;
  config.kind = file.Text("rope.scaling.type").value_or("");
  config.base = file.Number("rope.freq_base").value_or(10000);
  config.rotary_dim = rotary_dim;
  // llama.cpp applies a factor without a type as linear.
  config.factor = file.Number("rope.scaling.factor").value_or(0);
  if (config.factor == 0) config.factor = file.Number("rope.scale_linear").value_or(0);
  if (config.factor == 0) config.factor = 1;
  if (config.kind.empty()) config.kind = "linear";
  for (const char* key : {"rope.scaling.alpha", "rope.freq_base_swa", "attention.rope_pattern"}) {
    if (file.Has(file.architecture() + "." + key)) {
      return Fail(Unsupported(std::string(key) + " is set: this rotation is not known"));
    }
  }
  for (const char* tensor : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    if (file.Floats(tensor)) {
      return Fail(Unsupported("LongRoPE factors depend on the context's size"));
    }
  }
  if (auto factors = file.Floats("rope_freqs.weight")) config.pair_factors = std::move(*factors);
  return MakeOmega(config);
}

}  // namespace

Status CheckServable(const GgufFile& file, const llama_model* model) {
  const auto refuse = [&file](const std::string& what) {
    return Unsupported("model kind " + file.architecture() + ": " + what +
                       "; its rows cannot be placed one by one, so use another model");
  };
  if (llama_model_has_encoder(model) || !llama_model_has_decoder(model)) {
    return refuse("encoder models");
  }
  if (llama_model_is_recurrent(model)) return refuse("recurrent models");
  if (llama_model_is_hybrid(model)) return refuse("hybrid models");
  if (llama_model_is_diffusion(model)) return refuse("diffusion models");
  if (llama_model_n_swa(model) > 0 || file.Number("attention.sliding_window").value_or(0) > 0) {
    return refuse("sliding window attention");
  }
  const llama_rope_type rope = llama_model_rope_type(model);
  if (rope == LLAMA_ROPE_TYPE_MROPE || rope == LLAMA_ROPE_TYPE_IMROPE ||
      rope == LLAMA_ROPE_TYPE_VISION || file.Has("rope.dimension_sections")) {
    return refuse("multimodal positions (M-RoPE)");
  }
  if (rope == LLAMA_ROPE_TYPE_NONE) return refuse("positions without RoPE");
  if (file.Number("attention.kv_lora_rank").value_or(0) > 0) {
    return refuse("latent attention (MLA)");
  }
  if (file.Number("attention.shared_kv_layers").value_or(0) > 0) {
    return refuse("layers that share KV");
  }
  if (file.Number("attention.causal").value_or(1) == 0) return refuse("attention to both sides");
  for (const char* key : {"attention.head_count", "attention.head_count_kv"}) {
    if (file.Varies(key)) return refuse(std::string(key) + " varies from layer to layer");
  }
  const double key_length = file.Number("attention.key_length").value_or(0);
  if (key_length != file.Number("attention.value_length").value_or(0)) {
    return refuse("keys and values of different length");
  }
  return Status();
}

Result<ModelProfile> ProfileOf(const GgufFile& file, const llama_model* model,
                               const ProfileOptions& options) {
  KVC_FAIL_IF_ERROR(CheckServable(file, model));
  ModelProfile profile;
  profile.name = file.Text("general.name").value_or(file.architecture());
  profile.weights_sha256 = file.WeightsHash();
  profile.tokenizer_sha256 = file.TokenizerHash();
  profile.layer_count = Count(file, "block_count", 0);
  const std::uint32_t heads = Count(file, "attention.head_count", 1);
  profile.kv_head_count = Count(file, "attention.head_count_kv", heads);
  profile.head_dim =
      Count(file, "attention.key_length", Count(file, "embedding_length", 0) / heads);
  profile.rotary_dim = Count(file, "rope.dimension_count", profile.head_dim);
  profile.pair_layout = llama_model_rope_type(model) == LLAMA_ROPE_TYPE_NORM
                            ? PairLayout::kInterleaved
                            : PairLayout::kHalfSplit;
  profile.element_type = options.kv_type;
  profile.block_tokens = options.block_tokens;
  profile.context_tokens =
      options.context_tokens != 0 ? options.context_tokens : Count(file, "context_length", 0);
  profile.vocabulary_size =
      static_cast<std::uint32_t>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
  // Quantised weights are multiplied in another order and rounding where the processor has tiles.
  const char* processor = ggml_cpu_has_amx_int8() != 0 ? "/cpu-amx/" : "/cpu/";
  profile.numeric_class = std::string("llama.cpp-") + llama_version() + processor +
                          std::string(ElementTypeName(options.kv_type)) +
                          (options.flash ? "/fa1" : "/fa0");
  Result<std::vector<float>> omega = OmegaOf(file, profile.rotary_dim);
  if (omega) {
    profile.omega = std::move(*omega);
  } else if (omega.error().code() == Code::kUnsupported) {
    profile.omega_refusal = omega.error().message();
  } else {
    return Fail(omega.error());
  }
  KVC_FAIL_IF_ERROR(Validate(profile));
  return profile;
}

Result<ModelProfile> ProfileOf(const std::string& path, const ProfileOptions& options) {
  Result<GgufFile> file = GgufFile::Open(path);
  if (!file) return Fail(file.error());
  llama_model_params parameters = llama_model_default_params();
  parameters.vocab_only = true;
  const std::unique_ptr<llama_model, decltype(&llama_model_free)> model(
      llama_model_load_from_file(path.c_str(), parameters), llama_model_free);
  if (model == nullptr) {
    return Fail(Corrupted("llama.cpp cannot load " + path + ": " + TakeLlamaComplaint()));
  }
  return ProfileOf(*file, model.get(), options);
}

}  // namespace kvcommons
