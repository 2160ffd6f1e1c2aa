// The bench that the tables in docs/fidelity.md come from, on one small case.

#include "agents/rag/fidelity_bench.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <map>

#include "agents/engine/engine_testing.h"

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

std::vector<TokenId> Piece(std::size_t first, std::size_t count) {
  const std::span<const TokenId> text = LongText();
  const auto begin = text.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

FidelityOptions Small() {
  FidelityOptions options;
  options.prefaces = 2;
  options.passages = 1;
  options.preface_tokens = 24;
  options.forced_tokens = 4;
  options.completion = "both";
  return options;
}

TEST(FidelityBenchTest, EveryVariantIsMeasuredAndAllRowsEqualFullPrefill) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExactFlash);
  FidelityOptions options = Small();
  options.rules = {"all", "boundary"};
  options.budgets = {"0.5"};
  options.variants = {"sink", "system", "mean", "near", "together"};
  auto bench = FidelityBench::Create(engine, options);
  ASSERT_TRUE(bench) << bench.error().ToString();
  RagCase rag_case;
  rag_case.id = "one";
  rag_case.chunks = {Piece(200, 20), Piece(300, 24), Piece(400, 30)};
  rag_case.related = {Piece(500, 20), Piece(600, 24)};
  rag_case.tail = Piece(700, 9);
  const auto line = bench->Measure(rag_case);
  ASSERT_TRUE(line) << line.error().ToString();
  EXPECT_EQ(line->at("tokens").get<std::size_t>() - line->at("reused").get<std::size_t>(),
            bench->format().opening().size() + 20 + 9);
  std::map<std::string, int> completed, plain;
  for (const auto& row : line->at("rows")) {
    const std::string variant = row.at("variant");
    ++(row.at("completion").get<bool>() ? completed : plain)[variant];
    if (row.at("rule") == "all") {
      EXPECT_LT(row.at("kl").get<double>(), 1e-5) << row.dump();
      EXPECT_GT(row.at("cosine").get<double>(), 0.9999) << row.dump();
    }
    if (row.at("rule") == "none") {
      EXPECT_GT(row.at("kl").get<double>(), 1e-4) << row.dump();
    }
  }
  // One that is behind a single preface has nothing to complete with: a hole, not a failure.
  EXPECT_EQ(completed, (std::map<std::string, int>{{"mean", 2}, {"near", 2}, {"together", 2}}));
  for (const std::string& variant : options.variants) EXPECT_EQ(plain[variant], 3) << variant;
}

TEST(FidelityBenchTest, RowsThatAreKnownAreNotMadeAgainNorAreTheirChunks) {
  KVC_NEEDS_MODEL();
  FidelityOptions options = Small();
  options.rules = {"boundary"};
  options.budgets = {"0.5"};
  options.variants = {"mean", "near"};
  options.ranks = {0, 1};
  auto bench = FidelityBench::Create(SharedEngine(TestEngine::kExactFlash), options);
  ASSERT_TRUE(bench) << bench.error().ToString();
  RagCase rag_case;
  rag_case.chunks = {Piece(200, 20), Piece(300, 24)};
  rag_case.tail = Piece(700, 9);  // nothing is related: near is not there
  const auto line = bench->Measure(rag_case);
  ASSERT_TRUE(line) << line.error().ToString();
  std::set<FidelityKey> known;
  for (const auto& row : line->at("rows")) known.insert(KeyOf(row));
  for (const auto& row : line->at("refused")) known.insert(KeyOf(row));
  // Two controls, and of each rank one for nothing, one with completion and one without.
  EXPECT_EQ(line->at("rows").size(), 2U + 2 * 3);
  ASSERT_TRUE(bench->Measure(rag_case, known)->is_null());
  known.erase({"mean-r1", "boundary", true, 0.5});
  const auto rest = bench->Measure(rag_case, known);
  ASSERT_TRUE(rest) << rest.error().ToString();
  ASSERT_EQ(rest->at("rows").size(), 1U);
  EXPECT_EQ(rest->at("rows")[0].at("variant"), "mean-r1");
  EXPECT_EQ(rest->at("prep_ms").size(), 1U) << rest->at("prep_ms").dump();
  for (const auto& row : line->at("rows")) {
    if (row.at("variant") == "mean-r1" && row.at("completion").get<bool>()) {
      EXPECT_EQ(row.at("kl"), rest->at("rows")[0].at("kl"));
    }
  }
  // A completion that has nothing to go by is a hole that is known from then on.
  // So is a variant that the case has nothing for: near, above.
  EXPECT_EQ(line->at("refused").size(), 2U * 3);
  options.variants = {"system"};
  options.ranks = {0};
  bench = FidelityBench::Create(SharedEngine(TestEngine::kExactFlash), options);
  const auto refused = bench->Measure(rag_case);
  ASSERT_TRUE(refused) << refused.error().ToString();
  ASSERT_EQ(refused->at("refused").size(), 1U);
  EXPECT_EQ(KeyOf(refused->at("refused")[0]), (FidelityKey{"system", "boundary", true, 0.5}));
}

TEST(FidelityBenchTest, ADecodeStageRepairsForForcedTokensAndForTheAnswer) {
  KVC_NEEDS_MODEL();
  FidelityOptions options = Small();
  options.rules = {"dhd"};
  options.budgets = {"0.3"};
  options.completion = "off";
  options.variants = {"sink"};
  options.answers = true;
  auto bench = FidelityBench::Create(SharedEngine(TestEngine::kExactFlash), options);
  ASSERT_TRUE(bench) << bench.error().ToString();
  RagCase rag_case;
  rag_case.chunks = {Piece(200, 20), Piece(300, 40)};
  rag_case.tail = Piece(700, 9);
  rag_case.answers = {"anything"};
  const auto line = bench->Measure(rag_case);
  ASSERT_TRUE(line) << line.error().ToString();
  int seen = 0;
  for (const auto& row : line->at("rows")) {
    const bool dhd = row.at("rule") == "dhd";
    EXPECT_EQ(row.at("repaired"), dhd ? 9 : 0) << "three a token, behind the first";
    EXPECT_TRUE(row.contains("f1"));
    seen += dhd ? 1 : 0;
  }
  EXPECT_EQ(seen, 1);
}

TEST(FidelityBenchTest, ChunksThatAreKeptGiveTheSameRowsAndAreNotMadeAgain) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExactFlash);
  FidelityOptions options = Small();
  options.chunks_path = ::testing::TempDir() + "fidelity_bench_chunks";
  std::filesystem::remove_all(options.chunks_path);
  RagCase rag_case;
  rag_case.id = "musique/one#1";
  rag_case.chunks = {Piece(200, 20), Piece(300, 24)};
  rag_case.tail = Piece(700, 9);
  const auto measure = [&] {
    auto bench = FidelityBench::Create(engine, options);
    EXPECT_TRUE(bench) << bench.error().ToString();
    return *bench->Measure(rag_case);
  };
  const auto made = measure(), kept = measure();
  EXPECT_TRUE(made.at("prep_ms").contains("mean"));
  EXPECT_TRUE(kept.at("prep_ms").empty()) << "no time that is another run's";
  ASSERT_EQ(made.at("rows").size(), kept.at("rows").size());
  for (std::size_t i = 0; i < made.at("rows").size(); ++i) {
    EXPECT_EQ(made.at("rows")[i].at("kl"), kept.at("rows")[i].at("kl")) << i;
  }
  // Made behind another text, under the same name: made again.
  rag_case.chunks[0] = Piece(500, 20);
  EXPECT_TRUE(measure().at("prep_ms").contains("mean"));
  // A folder that cannot be written to keeps nothing, and the case is measured.
  auto bench = FidelityBench::Create(engine, options);
  ASSERT_TRUE(bench);
  std::filesystem::remove_all(options.chunks_path);
  const auto alone = bench->Measure(rag_case);
  ASSERT_TRUE(alone) << alone.error().ToString();
  EXPECT_TRUE(alone->contains("not_kept"));
  std::filesystem::remove_all(options.chunks_path);
}

TEST(FidelityBenchTest, AChunkThatIsLongerThanTheContextIsRefusedBeforeAnythingRuns) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExactFlash);
  auto bench = FidelityBench::Create(engine, Small());
  ASSERT_TRUE(bench) << bench.error().ToString();
  RagCase rag_case;
  rag_case.id = "long";
  rag_case.chunks = {Piece(200, 20), std::vector<TokenId>(engine.context_tokens(), 1)};
  rag_case.tail = Piece(700, 9);
  const auto line = bench->Measure(rag_case);
  ASSERT_FALSE(line);
  EXPECT_EQ(line.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(line.error().message(), HasSubstr("case long needs "));
  EXPECT_THAT(line.error().message(),
              HasSubstr("the context holds " + std::to_string(engine.context_tokens())));
}

TEST(FidelityBenchTest, WhatItDoesNotKnowIsRefusedByName) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kExactFlash);
  FidelityOptions variant = Small(), rule = Small(), budget = Small(), completion = Small();
  variant.variants = {"median"};
  rule.rules = {"best"};
  budget.budgets = {"1.01"};
  completion.completion = "maybe";
  const auto message = [&](const FidelityOptions& options) {
    const auto bench = FidelityBench::Create(engine, options);
    return bench ? std::string("accepted") : bench.error().ToString();
  };
  EXPECT_THAT(message(variant), HasSubstr("known are sink, system, mean, near, together"));
  EXPECT_THAT(message(rule), HasSubstr("design"));
  EXPECT_THAT(message(budget), HasSubstr("budget is '1.01'; use auto or a number from 0 to 1"));
  budget.budgets = {"0.17", "auto"};
  EXPECT_THAT(message(budget), HasSubstr("--budget is 'auto', which needs --daemon"));
  EXPECT_THAT(message(completion), HasSubstr("use on, off or both"));
}

}  // namespace
}  // namespace kvcommons
