#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "client/command/bench_data.h"
#include "client/command/bench_result.h"
#include "client/command/plain_file.h"

namespace kvcommons {
namespace {

BenchResult Rate(double value, double bound) {
  BenchResult result;
  result.name = "upload";
  result.unit = "GB/s";
  result.values = {value};
  result.bounds = {bound};
  result.bound_name = "memcpy";
  result.goal = 0.9;
  return result;
}

TEST(BenchResultTest, MedianIsTheMiddleOrTheMeanOfTheTwoMiddles) {
  EXPECT_EQ(MedianOf({5}), 5);
  EXPECT_EQ(MedianOf({9, 1, 5}), 5);
  EXPECT_EQ(MedianOf({4, 1, 3, 100}), 3.5);
}

TEST(BenchResultTest, RatioGoalIsReachedAtTheGoalAndMissedBelow) {
  EXPECT_TRUE(Rate(9, 10).reached());
  EXPECT_FALSE(Rate(8.99, 10).reached());
}

TEST(BenchResultTest, DifferenceGoalAllowsThatMuchAboveTheBound) {
  BenchResult result = Rate(115, 100);
  result.goal = 15;
  result.goal_of = GoalOf::kDifference;
  result.better = Better::kLower;
  EXPECT_TRUE(result.reached());
  result.values = {115.1};
  EXPECT_FALSE(result.reached());
}

TEST(BenchResultTest, WithoutABoundItIsNullInJson) {
  BenchResult result = Rate(0.5, 0);
  result.bounds.clear();
  result.goal = 1;
  result.goal_of = GoalOf::kValue;
  result.better = Better::kLower;
  EXPECT_TRUE(result.reached());
  const nlohmann::json object = ToJson(result);
  EXPECT_TRUE(object["bound"].is_null());
  EXPECT_TRUE(object["ratio"].is_null());
  EXPECT_EQ(object["better"], "lower");
  for (const char* key : {"name", "value", "unit", "bound", "bound_name", "ratio", "goal", "better",
                          "batch_blocks"}) {
    EXPECT_TRUE(object.contains(key)) << key;
  }
}

TEST(BenchResultTest, TableShowsMedianSpreadAndVerdict) {
  BenchResult result = Rate(9, 10);
  result.values = {8, 9, 12};
  std::ostringstream out;
  PrintTable({result}, out);
  EXPECT_THAT(out.str(), testing::HasSubstr("8.000..12.000"));
  EXPECT_THAT(out.str(), testing::HasSubstr("reached"));
}

class BenchDataTest : public testing::Test {
 protected:
  BenchDataTest() : data_(ThinProfile(), 100, 7), prompt_(data_.NewPrompt(100)), block_(64 * 256) {
    data_.WriteRows(prompt_, 0, 64, block_.data());
    span_.begin = 3;
    span_.end = 64;
    span_.kind = SpanKind::kExact;
    span_.block = block_.data();
    span_.block_tokens = 64;
    span_.first_row = 3;
  }

  BenchData data_;
  BenchPrompt prompt_;
  std::vector<std::byte> block_;
  PlannedSpan span_;
};

TEST_F(BenchDataTest, UploadedRowsAreRecognised) {
  EXPECT_TRUE(data_.CheckSpan(prompt_, span_).ok());
}

TEST_F(BenchDataTest, OneFlippedBitAnywhereIsFound) {
  for (const std::size_t byte : {3u * 128, 64u * 128 - 1, 64u * 128 + 3 * 128, 64u * 256 - 1}) {
    block_[byte] ^= std::byte{1};
    EXPECT_EQ(data_.CheckSpan(prompt_, span_).code(), Code::kCorrupted) << byte;
    block_[byte] ^= std::byte{1};
  }
  block_[0] ^= std::byte{1};  // before the span
  EXPECT_TRUE(data_.CheckSpan(prompt_, span_).ok());
}

TEST_F(BenchDataTest, RowsOfAnotherPromptAreFound) {
  EXPECT_EQ(data_.CheckSpan(data_.NewPrompt(100), span_).code(), Code::kCorrupted);
}

TEST(PlainFileTest, ReadsWhatItAppended) {
  auto file = PlainFile::Create(std::filesystem::temp_directory_path().string());
  ASSERT_TRUE(file) << file.error().ToString();
  BenchBuffer written(16384), read(8192);
  std::memset(written.data() + 8192, 5, 8192);
  ASSERT_TRUE(file->AppendAndSync(written.data(), 16384).ok());
  ASSERT_TRUE(file->ReadDirect(8192, read.data(), 8192).ok());
  EXPECT_EQ(std::memcmp(read.data(), written.data() + 8192, 8192), 0);
  EXPECT_EQ(file->ReadDirect(16384, read.data(), 4096).code(), Code::kUnavailable);
}

TEST(PlainFileTest, MissingFolderSaysWhichOptionNamesAnother) {
  const auto file = PlainFile::Create("/no/such/folder");
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message(), testing::HasSubstr("--scratch"));
}

}  // namespace
}  // namespace kvcommons
