// The worker against an independent forward pass in numpy (testdata/golden.json).

#include <gmock/gmock.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agents/engine/engine_testing.h"

namespace kvcommons {
namespace {

std::vector<float> Floats(const nlohmann::json& json) { return json.get<std::vector<float>>(); }

void ExpectNear(const std::vector<float>& wanted, std::span<const float> got, float tolerance,
                const std::string& what) {
  ASSERT_LE(wanted.size(), got.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(wanted[i], got[i], tolerance) << what << ", element " << i;
  }
}

std::vector<float> Head(const std::vector<float>& row, std::size_t head) {
  return {row.begin() + static_cast<std::ptrdiff_t>(head * 64),
          row.begin() + static_cast<std::ptrdiff_t>(head * 64 + 64)};
}

TEST(Golden, TokenIdsEqualTheReference) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExact);
  for (const auto& prompt : Golden()["prompts"]) {
    const auto ids = engine.Tokenize(prompt["text"].get<std::string>(), true);
    ASSERT_TRUE(ids);
    EXPECT_EQ(*ids, Ids(prompt["ids"]));
    EXPECT_EQ(*engine.Detokenize(*ids), prompt["text"].get<std::string>());
  }
}

TEST(Golden, LogitsGreedyTokensAndRowsEqualTheReference) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExact);
  for (const auto& prompt : Golden()["prompts"]) {
    engine.Clear();
    const std::vector<TokenId> ids = Ids(prompt["ids"]);
    ASSERT_TRUE(engine.RunRest(ids).ok());
    const std::vector<float> logits = Copy(engine.Logits(0));
    for (std::size_t i = 0; i < 10; ++i) {
      const auto token = prompt["top10_ids"][i].get<std::size_t>();
      EXPECT_NEAR(logits[token], prompt["top10_logits"][i].get<float>(), 2e-3F);
    }
    const auto count = static_cast<std::uint32_t>(ids.size());
    const std::vector<std::byte> rows = Rows(engine, 0, count);
    const auto head = [&](std::uint32_t layer, bool value, std::size_t index) {
      return Head(RowOf(engine, rows, count, layer, value, count - 1), index);
    };
    ExpectNear(Floats(prompt["k_layer0_head0_last"]), head(0, false, 0), 2e-3F, "K of layer 0");
    ExpectNear(Floats(prompt["v_layer0_head0_last"]), head(0, true, 0), 2e-3F, "V of layer 0");
    ExpectNear(Floats(prompt["k_layer29_head2_last"]), head(29, false, 2), 5e-3F, "K of layer 29");
    ExpectNear(Floats(prompt["v_layer29_head2_last"]), head(29, true, 2), 5e-3F, "V of layer 29");

    // The reference goes on after an end-of-generation token; Generate() stops there.
    std::vector<TokenId> greedy{engine.Greedy()};
    while (greedy.size() < 8) {
      ASSERT_TRUE(engine.RunToken(greedy.back()).ok());
      greedy.push_back(engine.Greedy());
    }
    EXPECT_EQ(greedy, Ids(prompt["greedy8"]));
  }
}

TEST(Golden, AMovedKeyEqualsTheReference) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExact);
  const auto& golden = Golden()["rerotation"];
  const std::vector<TokenId> ids = Ids(Golden()["prompts"][0]["ids"]);
  ASSERT_TRUE(engine.RunRest(ids).ok());
  const std::vector<std::byte> row = Rows(engine, 10, 1);
  ExpectNear(Floats(golden["before"]), Head(RowOf(engine, row, 1, 7, false, 0), 1), 2e-3F,
             "before");
  for (const Position delta : {1, -10, 1000}) {
    const PlaceSpan span{10 + delta, 1, delta, row.data(), 1, 0};
    ASSERT_TRUE(engine.Place(std::span(&span, 1)).ok());
    const std::vector<std::byte> moved = Rows(engine, 10 + delta, 1);
    ExpectNear(Floats(golden["deltas"][std::to_string(delta)]),
               Head(RowOf(engine, moved, 1, 7, false, 0), 1), 3e-3F,
               "moved by " + std::to_string(delta));
    EXPECT_EQ(RowOf(engine, moved, 1, 7, true, 0), RowOf(engine, row, 1, 7, true, 0));
  }
}

// Two chunks behind a preface: the first exact, the second canonical behind another preface, moved.
class Composition : public testing::Test {
 protected:
  void SetUp() override { KVC_NEEDS_MODEL(); }

  // Rows of `chunk` computed behind `preface`.
  static std::vector<std::byte> Canonical(Engine& engine, std::vector<TokenId> preface,
                                          const std::vector<TokenId>& chunk) {
    engine.Clear();
    const auto begin = static_cast<Position>(preface.size());
    preface.insert(preface.end(), chunk.begin(), chunk.end());
    const Status status = engine.RunRest(preface);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return Rows(engine, begin, static_cast<std::uint32_t>(chunk.size()));
  }

  static std::vector<float> Compose(Engine& engine, const std::string& name, bool rotate) {
    const auto& golden = Golden()["compose"];
    const std::vector<TokenId> pre = Ids(golden["pre"]);
    const std::vector<TokenId> chunks[] = {Ids(golden["chunk0"]), Ids(golden["chunk1"])};
    const std::vector<TokenId> tail = Ids(golden["tail"]);
    const std::vector<TokenId> preface = name == "bos_sink"          ? std::vector<TokenId>{1}
                                         : name == "naive_unrotated" ? std::vector<TokenId>{}
                                                                     : pre;
    std::vector<TokenId> prompt = pre;
    prompt.insert(prompt.end(), chunks[0].begin(), chunks[0].end());
    const std::vector<std::byte> exact = Canonical(engine, {}, prompt);
    const auto exact_count = static_cast<std::uint32_t>(prompt.size());
    const auto second = static_cast<Position>(prompt.size());
    EXPECT_EQ(second, golden["start_chunk1"].get<Position>());
    const std::vector<std::byte> moved = Canonical(engine, preface, chunks[1]);
    const auto moved_count = static_cast<std::uint32_t>(chunks[1].size());
    prompt.insert(prompt.end(), chunks[1].begin(), chunks[1].end());
    const auto tail_begin = static_cast<Position>(prompt.size());
    prompt.insert(prompt.end(), tail.begin(), tail.end());

    const auto origin = static_cast<Position>(preface.size());
    const std::vector<PlaceSpan> spans{
        {0, exact_count, 0, exact.data(), exact_count, 0},
        {second, moved_count, rotate ? second - origin : 0, moved.data(), moved_count, 0}};
    EXPECT_TRUE(engine.Place(spans).ok());
    std::vector<TokenRun> runs;
    for (const Position row : golden[name]["rows"].get<std::vector<Position>>()) {
      runs.push_back({row, row + 1});
    }
    runs.push_back({tail_begin, static_cast<Position>(prompt.size())});
    const Status status = engine.Run(prompt, runs);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return Copy(engine.Logits(0));
  }

  static void ExpectGolden(Engine& engine, const std::string& name, bool rotate, float tolerance) {
    const auto& golden = Golden()["compose"][name];
    const std::vector<float> logits = Compose(engine, name, rotate);
    ASSERT_EQ(logits.size(), 49152U);
    for (std::size_t i = 0; i < 10; ++i) {
      const auto token = golden["top10_ids"][i].get<std::size_t>();
      EXPECT_NEAR(logits[token], golden["top10_logits"][i].get<float>(), tolerance)
          << name << ", token " << token;
    }
  }
};

TEST_F(Composition, EqualsTheReferenceForEveryPreface) {
  Engine& engine = SharedEngine(TestEngine::kExact);
  ExpectGolden(engine, "sys_sink", true, 3e-3F);
  ExpectGolden(engine, "bos_sink", true, 3e-3F);
  ExpectGolden(engine, "naive_unrotated", false, 3e-3F);
}

TEST_F(Composition, EqualsTheReferenceWithRecomputedRows) {
  for (const TestEngine kind : {TestEngine::kExact, TestEngine::kExactSmallUbatch}) {
    Engine& engine = SharedEngine(kind);
    ExpectGolden(engine, "full", true, 3e-3F);
    ExpectGolden(engine, "sys_sink_first4", true, 3e-3F);
    ExpectGolden(engine, "sys_sink_scattered", true, 3e-3F);
  }
}

TEST_F(Composition, WithFlashAttentionIsCloseToTheReference) {
  Engine& engine = SharedEngine(TestEngine::kExactFlash);
  ExpectGolden(engine, "sys_sink_scattered", true, 0.15F);
}

TEST(Golden, PredictsWhatTheReferencePredictsAtAThousandPositions) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExact);
  std::ifstream file(std::string(KVCOMMONS_ENGINE_TESTDATA) + "/teacher_forced.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  const std::vector<TokenId> ids = Ids(reference["ids"]);
  ASSERT_EQ(ids.size(), 1000U);
  ASSERT_TRUE(engine.RunRest(ids, 1000).ok());
  int equal = 0;
  double kl = 0;
  for (std::uint32_t row = 0; row < 1000; ++row) {
    const std::span<const float> logits = engine.Logits(row);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - 20);
    const double normaliser = 20 + std::log(sum);
    double rest_wanted = 1;
    double rest_got = 1;
    float peak = -INFINITY;
    std::size_t best = 0;
    for (std::size_t token = 0; token < logits.size(); ++token) {
      if (logits[token] > peak) {
        peak = logits[token];
        best = token;
      }
    }
    equal += best == reference["top_ids"][row][0].get<std::size_t>() ? 1 : 0;
    // The four best tokens and all others together: a lower bound of the divergence.
    for (std::size_t i = 0; i < 4; ++i) {
      const auto token = reference["top_ids"][row][i].get<std::size_t>();
      const double wanted = reference["top_log_probabilities"][row][i].get<double>();
      const double got = static_cast<double>(logits[token]) - normaliser;
      kl += std::exp(wanted) * (wanted - got) / 1000;
      rest_wanted -= std::exp(wanted);
      rest_got -= std::exp(got);
    }
    if (rest_wanted > 1e-6 && rest_got > 1e-6) {
      kl += rest_wanted * std::log(rest_wanted / rest_got) / 1000;
    }
  }
  EXPECT_GE(equal, 999);
  EXPECT_LE(kl, 1e-6);
  RecordProperty("top1_equal_of_1000", equal);
  RecordProperty("mean_kl", std::to_string(kl));
}

// The same over whole distributions: 200 MB of reference logits, which
// testdata/make_teacher_forced.py makes.
TEST(Golden, AThousandDistributionsEqualTheReferences) {
  KVC_NEEDS_MODEL();
  const char* const path = std::getenv("KVCOMMONS_TEACHER_LOGITS");
  if (path == nullptr) {
    GTEST_SKIP() << "KVCOMMONS_TEACHER_LOGITS names no file of testdata/make_teacher_forced.py";
  }
  Engine& engine = SharedEngine(TestEngine::kExact);
  std::ifstream file(std::string(KVCOMMONS_ENGINE_TESTDATA) + "/teacher_forced.json");
  const std::vector<TokenId> ids = Ids(nlohmann::json::parse(file)["ids"]);
  ASSERT_TRUE(engine.RunRest(ids, 1000).ok());
  std::ifstream logits_file(path, std::ios::binary);
  std::vector<float> wanted(engine.vocabulary_size());
  double kl = 0;
  for (std::uint32_t row = 0; row < 1000; ++row) {
    ASSERT_TRUE(logits_file.read(reinterpret_cast<char*>(wanted.data()),
                                 static_cast<std::streamsize>(wanted.size() * sizeof(float))));
    kl += Kl(wanted, engine.Logits(row)) / 1000;
  }
  EXPECT_LE(kl, 1e-6);
  std::printf("mean KL over 1,000 positions: %.3e\n", kl);
}

}  // namespace
}  // namespace kvcommons
