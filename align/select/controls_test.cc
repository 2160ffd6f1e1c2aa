#include <gtest/gtest.h>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

SelectRequest RequestOf(std::span<const SelectChunk> chunks, double budget) {
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = 10;
  request.budget = budget;
  return request;
}

TEST(ControlRuleTest, AllIsAllWhateverTheBudget) {
  const std::vector<SelectChunk> chunks{{2, 5}, {9, 11}};
  const auto selection = (*MakeSelectRule("all"))->Select(RequestOf(chunks, 0), {});
  ASSERT_TRUE(selection.has_value());
  EXPECT_EQ(selection->rows, (std::vector<Position>{2, 3, 4, 9, 10}));
}

TEST(ControlRuleTest, RandomDependsOnItsSeedAndMeetsEveryRowAlike) {
  const std::vector<SelectChunk> chunks{{0, 40}};
  SelectRequest request = RequestOf(chunks, 0.25);
  std::vector<int> hits(40);
  for (request.seed = 1; request.seed <= 4000; ++request.seed) {
    const auto selection = (*MakeSelectRule("random"))->Select(request, {});
    ASSERT_EQ(selection->rows.size(), 10U);
    for (const Position row : selection->rows) ++hits[static_cast<std::size_t>(row)];
  }
  // Binomial(4000, 1/4): six standard deviations are 164.
  for (const int count : hits) EXPECT_NEAR(count, 1000, 164);
}

}  // namespace
}  // namespace kvcommons
