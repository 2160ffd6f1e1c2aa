#include "agents/rag/fidelity_samples.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "agents/rag/fidelity_bench.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

Json Row(const char* rule, double budget) {
  return {{"variant", "near"}, {"rule", rule}, {"completion", true}, {"budget", budget}};
}

Json Line(const char* id, std::vector<Json> rows) {
  return {{"setting", "s"}, {"id", id}, {"revision", kFidelityRevision}, {"rows", std::move(rows)}};
}

class FidelitySamplesTest : public testing::Test {
 protected:
  void SetUp() override { std::remove(path_.c_str()); }
  void TearDown() override { std::remove(path_.c_str()); }
  void Write(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }

  std::string path_ = testing::TempDir() + "samples-" +
                      testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl";
};

TEST_F(FidelitySamplesTest, WhatSeveralRunsAddedIsKnownTogether) {
  FidelitySamples first = FidelitySamples::Read(path_, {}), second = first;
  ASSERT_TRUE(first.Add(Line("a", {Row("design", 0.1)})).ok());
  ASSERT_TRUE(second.Add(Line("a", {Row("design", 0.2)})).ok());
  ASSERT_TRUE(second.Add(Line("b", {Row("design", 0.1)})).ok());
  const FidelitySamples all = FidelitySamples::Read(path_, {});
  EXPECT_EQ(all.lines().size(), 3U);
  EXPECT_EQ(all.left_out(), 0U);
  EXPECT_EQ(all.Known("s", "a"),
            (std::set<FidelityKey>{{"near", "design", true, 0.1}, {"near", "design", true, 0.2}}));
  EXPECT_EQ(all.Known("s", "b").size(), 1U);
  EXPECT_TRUE(all.Known("t", "a").empty()) << "of another setting";
  // What a run adds it knows itself.
  EXPECT_EQ(second.Known("s", "b").size(), 1U);
  EXPECT_EQ(second.lines().size(), 2U);
}

TEST_F(FidelitySamplesTest, RowsThatWereRefusedAreNotAskedForAgain) {
  Json line = Line("a", {});
  line["refused"] = {Row("query", 0.05)};
  Write(line.dump() + "\n");
  EXPECT_EQ(FidelitySamples::Read(path_, {}).Known("s", "a"),
            (std::set<FidelityKey>{{"near", "query", true, 0.05}}));
}

TEST_F(FidelitySamplesTest, LinesThatSayNothingAboutThisRunAreLeftOutAndCounted) {
  const auto changed = [](const char* field, const Json& value) {
    Json line = Line("a", {Row("design", 0.1)});
    line[field] = value;
    return line.dump() + "\n";
  };
  Write(changed("revision", kFidelityRevision - 1) + changed("seed", 2) + changed("model", "m2") +
        changed("method", "of 7 prefaces"));
  Write(changed("rows", Json::array({1})) + changed("setting", 3));
  Write("no json\n[1]\n{}\n");
  const std::string whole = changed("model", "m1");
  Write(whole.substr(0, whole.size() / 2));  // cut off by a kill
  FidelitySamples samples = FidelitySamples::Read(path_, {.model = "m1", .method = "of 8"});
  EXPECT_EQ(samples.left_out(), 10U);
  EXPECT_TRUE(samples.lines().empty());
  EXPECT_TRUE(samples.Known("s", "a").empty());
  // The line behind the one that was cut off is whole.
  ASSERT_TRUE(samples.Add(Line("a", {Row("design", 0.1)})).ok());
  samples = FidelitySamples::Read(path_, {.model = "m1", .method = "of 8"});
  EXPECT_EQ(samples.left_out(), 10U);
  EXPECT_EQ(samples.Known("s", "a").size(), 1U);
}

TEST_F(FidelitySamplesTest, RowsWithoutAnswersOrTimesAreMadeAgainWhereThoseAreWanted) {
  Json timed = Line("a", {Row("design", 0.1)});
  timed["timed"] = true;
  Json answered = Line("a", {Row("design", 0.2)});
  answered["rows"][0]["f1"] = 0.5;
  Write(timed.dump() + "\n" + answered.dump() + "\n");
  const auto known = [&](const FidelitySamples::Wanted& wanted) {
    return FidelitySamples::Read(path_, wanted).Known("s", "a");
  };
  EXPECT_EQ(known({}).size(), 2U);
  EXPECT_EQ(known({.timed = true}), (std::set<FidelityKey>{{"near", "design", true, 0.1}}));
  EXPECT_EQ(known({.answers = true}), (std::set<FidelityKey>{{"near", "design", true, 0.2}}));
}

TEST_F(FidelitySamplesTest, WithoutAFileNothingIsKnownAndWhatIsAddedIsKept) {
  FidelitySamples samples = FidelitySamples::Read("", {});
  ASSERT_TRUE(samples.Add(Line("a", {Row("design", 0.1)})).ok());
  EXPECT_EQ(samples.Known("s", "a").size(), 1U);
  FidelitySamples nowhere = FidelitySamples::Read("/nowhere/at/all.jsonl", {});
  EXPECT_EQ(nowhere.Add(Line("a", {})).code(), Code::kUnavailable);
  EXPECT_TRUE(nowhere.lines().empty());
}

}  // namespace
}  // namespace kvcommons
