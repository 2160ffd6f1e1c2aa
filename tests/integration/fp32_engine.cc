#include "tests/integration/fp32_engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "agents/engine/convert.h"

namespace kvcommons {

std::string TestModelPath() {
  const char* const model = std::getenv("KVCOMMONS_MODEL");
  return model == nullptr ? "" : model;
}

// Never destroyed: at exit ggml's own statics are gone before ours.
Engine& Fp32Engine() {
  static Engine* const engine = [] {
    const std::string path = (std::filesystem::temp_directory_path() /
                              ("kvcommons-fp32-test-" + std::to_string(getpid()) + ".gguf"))
                                 .string();
    const Status converted = ConvertWeights(TestModelPath(), path, WeightType::kFp32);
    EXPECT_TRUE(converted.ok()) << converted.ToString();
    EngineOptions options;
    options.model_path = path;
    options.context_tokens = kTestContextTokens;
    options.ubatch_tokens = kTestContextTokens;
    options.kv_type = ElementType::kFp32;
    options.flash = FlashAttention::kOff;  // It computes in fp16.
    options.measure_costs = false;
    std::unique_ptr<Engine> opened = Engine::Open(options).value();
    std::filesystem::remove(path);  // It stays mapped.
    return opened.release();
  }();
  return *engine;
}

const GateReport& Fp32Gate() {
  static const GateReport gate = Fp32Engine().RunGate().value();
  return gate;
}

}  // namespace kvcommons
