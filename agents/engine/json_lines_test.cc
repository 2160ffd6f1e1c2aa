#include "agents/engine/json_lines.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace kvcommons {
namespace {

using Json = nlohmann::json;

TEST(JsonLines, ReadsOneByOneAndKnowsTheirNumbers) {
  std::istringstream input("{\"a\": 1}\n\n \t\r\nnothing\n[2]");
  JsonLines lines(input);
  EXPECT_EQ(**lines.Next(), Json::parse("{\"a\": 1}"));
  EXPECT_TRUE((*lines.Next())->is_discarded());
  EXPECT_EQ(lines.line(), 4u);
  EXPECT_EQ(**lines.Next(), Json::array({2}));
  EXPECT_EQ(lines.line(), 5u);
  EXPECT_EQ(*lines.Next(), std::nullopt);
}

TEST(JsonLines, ALineOverTheLimitIsRefused) {
  std::istringstream fits("1" + std::string(JsonLines::kMaxLineBytes - 1, ' ') + "\n");
  EXPECT_EQ(**JsonLines(fits).Next(), 1);
  std::istringstream too_long("1" + std::string(JsonLines::kMaxLineBytes, ' ') + "\n");
  EXPECT_EQ(JsonLines(too_long).Next().error().message(),
            "line 1 has more than 16777216 bytes, which is the limit");
}

TEST(JsonLines, WhatIsAddedBehindALineThatWasCutOffIsWhole) {
  const auto path =
      std::filesystem::temp_directory_path() / ("lines" + std::to_string(getpid()) + ".jsonl");
  std::ofstream(path) << "{\"cut";
  ASSERT_TRUE(AppendJsonLine(path, {{"text", "\xc3"}}).ok());
  ASSERT_TRUE(AppendJsonLine(path, Json::array({1})).ok());
  std::ifstream file(path);
  JsonLines lines(file);
  EXPECT_TRUE((*lines.Next())->is_discarded());
  EXPECT_EQ((**lines.Next())["text"], "\xef\xbf\xbd");
  EXPECT_EQ(**lines.Next(), Json::array({1}));
  std::filesystem::remove(path);
  EXPECT_EQ(AppendJsonLine("/nowhere/file", 1).message(), "cannot write /nowhere/file");
}

}  // namespace
}  // namespace kvcommons
