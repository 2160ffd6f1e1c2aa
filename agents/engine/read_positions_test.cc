// A model that reads positions in another place than its rotations is refused a pass over scattered
// rows, whose positions are put in for the rotations alone. Needs no model file: it writes one of
// two layers with random weights.

#include <ggml.h>
#include <gguf.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "agents/engine/llama_engine.h"

namespace kvcommons {
namespace {

constexpr unsigned kSeed = 1;
constexpr std::uint32_t kLayers = 2, kHeads = 2, kWidth = 64, kInner = 96, kVocabulary = 50;
constexpr std::uint32_t kPromptTokens = 40;

struct FreeGgml {
  void operator()(ggml_context* context) const { ggml_free(context); }
  void operator()(gguf_context* context) const { gguf_free(context); }
};

// Mistral-3 multiplies queries by a temperature that grows with the position, unless it is 0.
class TinyModel {
 public:
  explicit TinyModel(float temperature) : tensors_(ggml_init({1u << 22, nullptr, false})) {
    const auto count = [this](const std::string& key, std::uint32_t value) {
      gguf_set_val_u32(file_.get(), ("mistral3." + key).c_str(), value);
    };
    gguf_set_val_str(file_.get(), "general.architecture", "mistral3");
    gguf_set_val_str(file_.get(), "tokenizer.ggml.model", "no_vocab");
    std::vector<const char*> words(kVocabulary, "word");
    gguf_set_arr_str(file_.get(), "tokenizer.ggml.tokens", words.data(), words.size());
    gguf_set_val_f32(file_.get(), "mistral3.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_set_val_f32(file_.get(), "mistral3.attention.temperature_scale", temperature);
    count("rope.scaling.original_context_length", 16);
    count("vocab_size", kVocabulary);
    count("context_length", 256);
    count("block_count", kLayers);
    count("embedding_length", kWidth);
    count("feed_forward_length", kInner);
    count("attention.head_count", kHeads);
    count("attention.head_count_kv", kHeads);
    AddTensor("token_embd.weight", kWidth, kVocabulary);
    AddTensor("output_norm.weight", kWidth);
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      const std::string block = "blk." + std::to_string(layer) + ".";
      for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
        AddTensor(block + name + ".weight", kWidth, kWidth);
      }
      for (const char* name : {"attn_norm", "ffn_norm"})
        AddTensor(block + name + ".weight", kWidth);
      for (const char* name : {"ffn_gate", "ffn_up"}) {
        AddTensor(block + name + ".weight", kWidth, kInner);
      }
      AddTensor(block + "ffn_down.weight", kInner, kWidth);
    }
    path_ = std::filesystem::temp_directory_path() / ("tiny" + std::to_string(getpid()) + ".gguf");
    EXPECT_TRUE(gguf_write_to_file(file_.get(), path_.c_str(), false));
  }
  ~TinyModel() { std::filesystem::remove(path_); }
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  std::unique_ptr<Engine> Open() const {
    EngineOptions options;
    options.model_path = path_;
    options.threads = 1;
    options.kv_type = ElementType::kFp32;
    options.flash = FlashAttention::kOff;
    options.measure_costs = false;
    auto engine = Engine::Open(options);
    EXPECT_TRUE(engine) << engine.error().ToString();
    return engine ? std::move(*engine) : nullptr;
  }

 private:
  void AddTensor(const std::string& name, std::int64_t columns, std::int64_t rows = 1) {
    ggml_tensor* const tensor = ggml_new_tensor_2d(tensors_.get(), GGML_TYPE_F32, columns, rows);
    ggml_set_name(tensor, name.c_str());
    std::normal_distribution<float> weight(rows == 1 ? 1.0f : 0.0f, 0.1f);
    for (std::int64_t i = 0; i < columns * rows; ++i)
      ggml_get_data_f32(tensor)[i] = weight(random_);
    gguf_add_tensor(file_.get(), tensor);
  }

  std::mt19937 random_{kSeed};
  std::unique_ptr<ggml_context, FreeGgml> tensors_;
  std::unique_ptr<gguf_context, FreeGgml> file_{gguf_init_empty()};
  std::filesystem::path path_;
};

std::vector<TokenId> Prompt() {
  std::vector<TokenId> tokens(kPromptTokens);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<TokenId>(i * i % kVocabulary);
  return tokens;
}

// REQUIRES: all rows are held. Some in between are computed again.
Status RunScattered(Engine& engine) {
  const std::vector<TokenId> prompt = Prompt();
  const std::vector<TokenRun> runs = {{5, 8}, {20, 21}, {kPromptTokens - 1, kPromptTokens}};
  return engine.Run(prompt, runs);
}

TEST(ReadPositions, AModelThatReadsThemInItsRotationsAloneRunsScatteredRows) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  const auto engine = TinyModel(0).Open();
  ASSERT_NE(engine, nullptr);
  ASSERT_TRUE(engine->RunRest(Prompt()).ok());
  const auto whole = engine->Logits(0);
  const std::vector<float> expected(whole.begin(), whole.end());
  const Status status = RunScattered(*engine);
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_THAT(engine->Logits(0), testing::Pointwise(testing::FloatNear(1e-4f), expected));
}

TEST(ReadPositions, ATemperatureByPositionIsRefusedScatteredRowsByName) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  const auto engine = TinyModel(0.1f).Open();
  ASSERT_NE(engine, nullptr);
  ASSERT_TRUE(engine->RunRest(Prompt()).ok());
  const Status status = RunScattered(*engine);
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_THAT(status.message(), testing::HasSubstr("reads positions in other places"));
  // From the front on it goes.
  engine->Clear();
  EXPECT_TRUE(engine->RunRest(Prompt()).ok());
}

}  // namespace
}  // namespace kvcommons
