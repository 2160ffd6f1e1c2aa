// Opening: profile, gate, conversion, limits.

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "agents/engine/convert.h"
#include "agents/engine/engine_testing.h"
#include "agents/engine/gguf_profile.h"

namespace kvcommons {
namespace {

TEST(Profile, SaysWhatTheFileIs) {
  KVC_NEEDS_MODEL();
  const auto profile = ProfileOf(TestModel(), ProfileOptions{});
  ASSERT_TRUE(profile) << profile.error().ToString();
  EXPECT_EQ(profile->layer_count, 30U);
  EXPECT_EQ(profile->kv_head_count, 3U);
  EXPECT_EQ(profile->head_dim, 64U);
  EXPECT_EQ(profile->rotary_dim, 64U);
  EXPECT_EQ(profile->pair_layout, PairLayout::kInterleaved);
  EXPECT_EQ(profile->context_tokens, 8192U);
  EXPECT_EQ(profile->vocabulary_size, 49152U);
  ASSERT_EQ(profile->omega.size(), 32U);
  EXPECT_FLOAT_EQ(profile->omega[0], 1.0F);
  EXPECT_NEAR(profile->omega[16], 0.0031622776F, 1e-8F);
  EXPECT_THAT(profile->numeric_class, testing::MatchesRegex("llama.cpp-.*/cpu(-amx)?/fp16/fa1"));

  ProfileOptions other;
  other.flash = false;
  EXPECT_NE(FingerprintOf(*ProfileOf(TestModel(), other)), FingerprintOf(*profile));
  EXPECT_EQ(FingerprintOf(SharedEngine(TestEngine::kWorker).profile()), FingerprintOf(*profile))
      << "the running engine's profile is the file's";
}

TEST(Gate, PassesOnTheModelsOwnLayout) {
  KVC_NEEDS_MODEL();
  for (const TestEngine kind : {TestEngine::kWorker, TestEngine::kExact, TestEngine::kExactFlash,
                                TestEngine::kExactSmallUbatch, TestEngine::kExactByState}) {
    const auto report = SharedEngine(kind).RunGate();
    ASSERT_TRUE(report) << report.error().ToString();
    EXPECT_TRUE(report->passed) << report->reason;
    EXPECT_EQ(report->worst_value_error, 0) << "tokens that see only themselves differ in nothing";
    EXPECT_GT(report->weakest_control, 20 * report->worst_key_error);
  }
}

// The same rows judged as if the pairs lay the other way.
TEST(Gate, FailsForHalfSplitPairs) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExact);
  const std::vector<TokenId> token{LongText()[7]};
  // Layer 0's key of one token depends on its position alone.
  ASSERT_TRUE(engine.RunRest(token).ok());
  const std::vector<std::byte> at_zero = Rows(engine, 0, 1);
  std::vector<TokenId> later(8, LongText()[3]);
  later.back() = token[0];
  engine.Clear();
  ASSERT_TRUE(engine.RunRest(later).ok());
  const std::vector<std::byte> at_seven = Rows(engine, 7, 1);
  const auto key_zero = RowOf(engine, at_zero, 1, 0, false, 0);
  const auto key_seven = RowOf(engine, at_seven, 1, 0, false, 0);
  const auto value_zero = RowOf(engine, at_zero, 1, 0, true, 0);
  const auto value_seven = RowOf(engine, at_seven, 1, 0, true, 0);
  const GateProbe probe{0, 7, key_zero, key_seven, value_zero, value_seven};
  ModelProfile profile = engine.profile();
  profile.layer_count = 1;  // all that is probed
  EXPECT_TRUE(EvaluateGate(profile, std::span(&probe, 1)).passed);
  profile.pair_layout = PairLayout::kHalfSplit;
  const GateReport report = EvaluateGate(profile, std::span(&probe, 1));
  EXPECT_FALSE(report.passed);
  EXPECT_GT(report.worst_key_error, 0.1);
}

TEST(Convert, KeepsValuesAndMetadata) {
  KVC_NEEDS_MODEL();
  const auto before = GgufFile::Open(TestModel());
  const auto after = GgufFile::Open(TestModelFp32());
  ASSERT_TRUE(before);
  ASSERT_TRUE(after) << after.error().ToString();
  EXPECT_EQ(after->TokenizerHash(), before->TokenizerHash());
  EXPECT_NE(after->WeightsHash(), before->WeightsHash());
  EXPECT_EQ(after->Number("block_count"), 30.0);
  EXPECT_EQ(after->Number("general.file_type"), 0.0);
  EXPECT_EQ(after->Floats("output_norm.weight"), before->Floats("output_norm.weight"));
  EXPECT_EQ(after->Floats("blk.3.attn_k.weight")->size(), 576U * 192U);
  EXPECT_EQ(ConvertWeights(TestModel(), TestModelFp32(), WeightType::kFp16).code(),
            Code::kAlreadyExists);
  EXPECT_EQ(ConvertWeights(TestModel(), "/no/such/folder/x.gguf", WeightType::kFp16).code(),
            Code::kInvalidArgument);
}

TEST(OpenRefuses, OptionsOutOfRangeAndFilesThatAreNoModels) {
  EngineOptions options;
  options.model_path = "/no/such/model.gguf";
  EXPECT_EQ(Engine::Open(options).error().code(), Code::kNotFound);
  options.kv_type = ElementType::kBf16;
  EXPECT_EQ(Engine::Open(options).error().code(), Code::kInvalidArgument);
  options.kv_type = ElementType::kFp16;
  options.context_tokens = (1U << 24) + 1;
  EXPECT_EQ(Engine::Open(options).error().code(), Code::kInvalidArgument);
  options.context_tokens = 0;
  options.threads = 1025;
  EXPECT_EQ(Engine::Open(options).error().code(), Code::kInvalidArgument);
}

TEST(OpenRefuses, AModelOfWhichOnlyAPartIsThere) {
  KVC_NEEDS_MODEL();
  const std::filesystem::path part =
      std::filesystem::temp_directory_path() / ("kvcommons-part-" + std::to_string(getpid()));
  std::filesystem::copy_file(TestModel(), part, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::resize_file(part, std::filesystem::file_size(part) - 4096);
  EngineOptions options;
  options.model_path = part;
  const auto engine = Engine::Open(options);
  std::filesystem::remove(part);
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().code(), Code::kCorrupted);
  EXPECT_THAT(engine.error().message(), testing::HasSubstr("beyond the file"));
}

}  // namespace
}  // namespace kvcommons
