#include "agents/engine/engine_testing.h"

#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "agents/engine/cache_memory.h"
#include "agents/engine/convert.h"
#include "base/assert.h"

namespace kvcommons {
namespace {

// A folder for this process's converted model; removed at exit.
class TemporaryModel {
 public:
  TemporaryModel() {
    folder_ = std::filesystem::temp_directory_path() /
              ("kvcommons-engine-test-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    path_ = folder_ / "model-f32.gguf";
    const Status status = ConvertWeights(TestModel(), path_, WeightType::kFp32);
    if (!status.ok()) ADD_FAILURE() << status.ToString();
  }
  ~TemporaryModel() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::filesystem::path folder_;
  std::string path_;
};

nlohmann::json Load(const char* name) {
  std::ifstream file(std::string(KVCOMMONS_ENGINE_TESTDATA) + "/" + name);
  return nlohmann::json::parse(file);
}

}  // namespace

std::string TestModel() {
  const char* path = std::getenv("KVCOMMONS_MODEL");
  return path == nullptr ? "" : path;
}

std::string TestModelFp32() {
  static const TemporaryModel model;
  return model.path();
}

Engine& SharedEngine(TestEngine kind) {
  // Never destroyed: at exit ggml's own statics are gone before ours.
  static auto* engines = new std::array<std::unique_ptr<Engine>, 6>;
  std::unique_ptr<Engine>& engine = (*engines)[static_cast<std::size_t>(kind)];
  if (engine == nullptr) {
    EngineOptions options;
    options.measure_costs = false;
    options.threads = 1;  // the same sums on every machine
    const bool worker = kind == TestEngine::kWorker || kind == TestEngine::kByState;
    if (kind == TestEngine::kByState || kind == TestEngine::kExactByState) {
      options.place_via = PlaceVia::kStateBlob;
    }
    options.model_path = worker ? TestModel() : TestModelFp32();
    options.kv_type = worker ? ElementType::kFp16 : ElementType::kFp32;
    options.flash =
        worker || kind == TestEngine::kExactFlash ? FlashAttention::kOn : FlashAttention::kOff;
    options.context_tokens = worker ? 8192 : 2048;
    options.ubatch_tokens = kind == TestEngine::kExactSmallUbatch ? 16 : 512;
    Result<std::unique_ptr<Engine>> opened = Engine::Open(options);
    if (!opened) ADD_FAILURE() << opened.error().ToString();
    KVC_ASSERT(opened);
    engine = std::move(*opened);
  }
  engine->SetLayerHook({});
  engine->Clear();
  return *engine;
}

const nlohmann::json& Golden() {
  static const nlohmann::json golden = Load("golden.json");
  return golden;
}

std::vector<TokenId> Ids(const nlohmann::json& json) { return json.get<std::vector<TokenId>>(); }

double Kl(std::span<const float> a, std::span<const float> b) {
  const auto normaliser = [](std::span<const float> x) {
    double peak = -INFINITY;
    for (const float v : x) peak = std::max(peak, static_cast<double>(v));
    double sum = 0;
    for (const float v : x) sum += std::exp(static_cast<double>(v) - peak);
    return peak + std::log(sum);
  };
  const double of_a = normaliser(a);
  const double of_b = normaliser(b);
  double kl = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double log_a = static_cast<double>(a[i]) - of_a;
    kl += std::exp(log_a) * (log_a - (static_cast<double>(b[i]) - of_b));
  }
  return kl;
}

std::vector<float> Copy(std::span<const float> values) { return {values.begin(), values.end()}; }

std::vector<std::byte> Rows(const Engine& engine, Position begin, std::uint32_t count) {
  std::vector<std::byte> block(engine.profile().planes().BlockBytes(count));
  const Status status = engine.ReadRows(begin, count, block.data());
  if (!status.ok()) ADD_FAILURE() << status.ToString();
  return block;
}

std::vector<float> RowOf(const Engine& engine, const std::vector<std::byte>& block,
                         std::uint32_t count, std::uint32_t layer, bool value,
                         std::uint32_t token) {
  const ModelProfile& profile = engine.profile();
  const PlaneLayout planes = profile.planes();
  const std::size_t plane = 2 * std::size_t{layer} + (value ? 1 : 0);
  std::vector<float> row(std::size_t{profile.kv_head_count} * profile.head_dim);
  LoadRow(profile.element_type,
          block.data() + planes.PlaneOffset(plane, count) + token * planes.row_bytes[plane],
          ElementBytes(profile.element_type), row);
  return row;
}

const std::vector<TokenId>& LongText() {
  static const std::vector<TokenId> text = [] {
    const std::vector<TokenId> ids = Ids(Load("teacher_forced.json")["ids"]);
    std::vector<TokenId> twice = ids;
    twice.insert(twice.end(), ids.begin(), ids.end());
    return twice;
  }();
  return text;
}

}  // namespace kvcommons
