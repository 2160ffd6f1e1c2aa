#include "align/select/decode_stage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace kvcommons {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DecodeStageTest : public testing::Test {
 protected:
  DecodeStageTest() {
    request_.chunks = chunks_;
    request_.layer_count = 4;
  }
  const std::vector<SelectChunk> chunks_{{2, 5}, {8, 10}};
  const std::vector<float> deviation_{1, 2, 3, 4, 5};
  SelectRequest request_;
};

TEST_F(DecodeStageTest, RowsThatPrefillComputedInAllLayersAreNotStale) {
  Selection selection;
  selection.rows = {3, 8};
  selection.depth = {4, 4};
  const auto stale = StaleAfterPrefill(request_, deviation_, selection);
  ASSERT_TRUE(stale.has_value());
  EXPECT_THAT(stale->rows, ElementsAre(2, 4, 9));
  EXPECT_THAT(stale->deviation, ElementsAre(1, 3, 5));
}

TEST_F(DecodeStageTest, ARowComputedInTheFirstLayersOnlyIsStaleStill) {
  Selection selection;
  selection.rows = {3, 8};
  selection.depth = {3, 4};
  EXPECT_THAT(StaleAfterPrefill(request_, deviation_, selection)->rows, ElementsAre(2, 3, 4, 9));
}

TEST_F(DecodeStageTest, ASelectionOfAnotherRequestIsRefused) {
  Selection selection;
  selection.rows = {3, 6};
  selection.depth = {4, 4};
  const auto stale = StaleAfterPrefill(request_, deviation_, selection);
  ASSERT_FALSE(stale.has_value());
  EXPECT_THAT(stale.error().message(), HasSubstr("selection.rows[1] is 6"));
  selection.depth = {4};
  EXPECT_FALSE(StaleAfterPrefill(request_, deviation_, selection).has_value());
  EXPECT_FALSE(StaleAfterPrefill(request_, std::vector<float>(4), Selection()).has_value());
}

TEST_F(DecodeStageTest, ChosenIsWhatTheTokenReadsMostWrongly) {
  const StaleRows stale{{2, 3, 4, 8, 9}, deviation_};
  // Scores 5, 8, 3, 0.4, 6.
  const std::vector<float> attention{5, 4, 1, 0.1F, 1.2F};
  EXPECT_THAT(*ChooseAtDecode(stale, attention), ElementsAre(2, 3, 9));
  EXPECT_THAT(*ChooseAtDecode(stale, attention, 1), ElementsAre(3));
  EXPECT_THAT(*ChooseAtDecode(stale, attention, 0), IsEmpty());
}

TEST_F(DecodeStageTest, ARowThatIsNotReadOrDoesNotErrIsNotChosen) {
  const StaleRows stale{{2, 3, 4}, {0, 7, 2}};
  EXPECT_THAT(*ChooseAtDecode(stale, std::vector<float>{9, 0, 1}), ElementsAre(4));
}

TEST_F(DecodeStageTest, EqualScoresGoToTheLowerPosition) {
  const StaleRows stale{{2, 3, 4, 8}, {1, 2, 4, 1}};
  EXPECT_THAT(*ChooseAtDecode(stale, std::vector<float>{4, 2, 1, 4}, 2), ElementsAre(2, 3));
}

TEST_F(DecodeStageTest, NoRowIsComputedTwiceAndAllThatErrAreInTheEnd) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  StaleRows stale;
  for (Position row = 0; row < 50; ++row) {
    stale.rows.push_back(row);
    stale.deviation.push_back(static_cast<float>(1 + random() % 100));
  }
  std::vector<Position> computed;
  for (int token = 0; token < 17; ++token) {
    std::vector<float> attention;
    for (std::size_t i = 0; i < stale.rows.size(); ++i) {
      attention.push_back(static_cast<float>(1 + random() % 100));
    }
    const auto rows = ChooseAtDecode(stale, attention);
    ASSERT_TRUE(rows.has_value());
    EXPECT_EQ(rows->size(), std::min<std::size_t>(3, stale.rows.size()));
    // None that was left scores above one that was chosen: every pair compared.
    const auto score = [&](std::size_t i) { return double{attention[i]} * stale.deviation[i]; };
    for (std::size_t in = 0; in < stale.rows.size(); ++in) {
      if (!std::binary_search(rows->begin(), rows->end(), stale.rows[in])) continue;
      for (std::size_t out = 0; out < stale.rows.size(); ++out) {
        if (std::binary_search(rows->begin(), rows->end(), stale.rows[out])) continue;
        EXPECT_GE(score(in), score(out));
      }
    }
    computed.insert(computed.end(), rows->begin(), rows->end());
    stale = Computed(stale, *rows);
  }
  std::sort(computed.begin(), computed.end());
  EXPECT_EQ(std::unique(computed.begin(), computed.end()), computed.end());
  EXPECT_EQ(computed.size(), 50U);
  EXPECT_THAT(stale.rows, IsEmpty());
  EXPECT_THAT(*ChooseAtDecode(stale, {}), IsEmpty());
}

TEST_F(DecodeStageTest, CountAndAttentionHaveLimits) {
  const StaleRows stale{{2, 3}, {1, 1}};
  const std::vector<float> attention{1, 1};
  EXPECT_TRUE(ChooseAtDecode(stale, attention, kMaxDecodeRows).has_value());
  EXPECT_THAT(ChooseAtDecode(stale, attention, kMaxDecodeRows + 1).error().message(),
              HasSubstr("count is 257; the limit is 0 to 256"));
  EXPECT_THAT(ChooseAtDecode(stale, std::vector<float>{1}).error().message(),
              HasSubstr("attention has 1 values; this request needs 2"));
  EXPECT_FALSE(ChooseAtDecode(stale, std::vector<float>{1, NAN}).has_value());
}

}  // namespace
}  // namespace kvcommons
