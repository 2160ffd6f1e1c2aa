#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "align/select/rule.h"

namespace kvcommons {
namespace {

using ::testing::ElementsAre;

constexpr std::uint32_t kLayers = 3;

// Attention per row, as the question gives it in every layer that `rule` looks at.
std::vector<float> Seen(std::string_view rule, const std::vector<float>& rows) {
  std::vector<float> attention;
  const std::size_t layers = (*MakeSelectRule(rule))->Needs(kLayers).question_layers.size();
  for (std::size_t layer = 0; layer < layers; ++layer) {
    attention.insert(attention.end(), rows.begin(), rows.end());
  }
  return attention;
}

SelectRequest RequestOf(std::span<const SelectChunk> chunks, double budget) {
  SelectRequest request;
  request.chunks = chunks;
  request.layer_count = kLayers;
  request.budget = budget;
  return request;
}

TEST(DesignRuleTest, WithoutLoadingsItIsQueryAttention) {
  const std::vector<SelectChunk> chunks{{0, 60}, {60, 120}};
  std::vector<float> rows(120, 0.01F);
  for (const std::size_t row : {43U, 117U, 118U}) rows[row] = 1;
  const std::vector<float> attention = Seen("design", rows);
  const std::vector<ChunkLoadings> none(2);
  SelectEvidence evidence;
  evidence.question_attention = attention;
  evidence.loadings = none;
  const auto selection =
      (*MakeSelectRule("design"))->Select(RequestOf(chunks, 3.0 / 120), evidence);
  ASSERT_TRUE(selection.has_value()) << selection.error().ToString();
  EXPECT_THAT(selection->rows, ElementsAre(43, 117, 118));
}

TEST(DesignRuleTest, WithoutALookAllRowsCountAlikeAndTheWholeBudgetBuysRows) {
  const std::vector<SelectChunk> chunks{{0, 4}};
  const std::vector<float> values{1, 0, 0.1F, 3};
  const std::vector<ChunkLoadings> loadings{{1, values, 0.01F}};
  SelectEvidence evidence;
  evidence.loadings = loadings;
  SelectRequest request = RequestOf(chunks, 2.0 / 4);
  request.question_cost_row_layers = 1e6;  // nobody looked, so it is not charged
  const auto selection = (*MakeSelectRule("design"))->Select(request, evidence);
  ASSERT_TRUE(selection.has_value()) << selection.error().ToString();
  EXPECT_THAT(selection->rows, ElementsAre(0, 3))
      << "the first one, and that of the largest variance";
  EXPECT_EQ(selection->extra_row_layers, 0);
}

TEST(DesignRuleTest, RowsThatAreAlikeAreTakenFromTheBeginningOfEveryChunk) {
  const std::vector<SelectChunk> chunks{{0, 40}, {50, 90}};
  const std::vector<float> values(40, 0);
  const std::vector<ChunkLoadings> loadings{{1, values, 0.01F}, {1, values, 0.01F}};
  SelectEvidence evidence;
  evidence.loadings = loadings;
  const auto selection = (*MakeSelectRule("design"))->Select(RequestOf(chunks, 6.0 / 80), evidence);
  ASSERT_TRUE(selection.has_value()) << selection.error().ToString();
  EXPECT_THAT(selection->rows, ElementsAre(0, 1, 2, 50, 51, 52));
}

TEST(DesignRuleTest, ALaterRowIsTakenBeforeFirstOnesWhereItErrsFarMore) {
  const std::vector<SelectChunk> chunks{{0, 40}};
  std::vector<float> values(40, 0.1F);
  values[30] = 2;  // 400 times the variance of the others, whose first one errs by eleven times it
  const std::vector<ChunkLoadings> loadings{{1, values, 0.01F}};
  SelectEvidence evidence;
  evidence.loadings = loadings;
  const auto selection = (*MakeSelectRule("design"))->Select(RequestOf(chunks, 2.0 / 40), evidence);
  ASSERT_TRUE(selection.has_value()) << selection.error().ToString();
  EXPECT_THAT(selection->rows, ElementsAre(0, 30));
}

TEST(DesignRuleTest, BehindALookFirstRowsAreRowsLikeOthers) {
  const std::vector<SelectChunk> chunks{{0, 40}};
  std::vector<float> seen(40, 0.5F);
  seen[20] = 1;
  const std::vector<float> values(40, 0), attention = Seen("design", seen);
  const std::vector<ChunkLoadings> loadings{{1, values, 0.01F}};
  SelectEvidence evidence;
  evidence.loadings = loadings;
  const auto select = [&] {
    return (*MakeSelectRule("design"))->Select(RequestOf(chunks, 1.0 / 40), evidence)->rows;
  };
  EXPECT_THAT(select(), ElementsAre(0));
  evidence.question_attention = attention;
  EXPECT_THAT(select(), ElementsAre(20));
}

TEST(DesignRuleTest, LooksWhereThatCostsLittleOfTheBudgetAndLittleInAll) {
  const std::vector<SelectChunk> chunks{{0, 100}};
  const SelectNeeds needs = (*MakeSelectRule("design"))->Needs(kLayers);
  for (const double budget : {0.1, 0.5}) {
    SelectRequest request = RequestOf(chunks, budget);
    request.question_cost_row_layers =
        0.999 * std::min(kMaxQuestionShare * budget, kMaxQuestionBudget) * 100 * kLayers;
    EXPECT_TRUE(PaysToLookAtQuestion(request, needs));
    request.question_cost_row_layers *= 1.01;
    EXPECT_FALSE(PaysToLookAtQuestion(request, needs));
    EXPECT_TRUE(PaysToLookAtQuestion(request, (*MakeSelectRule("query"))->Needs(kLayers)))
        << "it has nothing else to go by";
    EXPECT_FALSE(PaysToLookAtQuestion(request, (*MakeSelectRule("boundary"))->Needs(kLayers)));
  }
}

TEST(DesignRuleTest, RowsThatErrTogetherAreMeasuredOnce) {
  // The last three rows count. Two of them err together and are attended to most; the third, on its
  // own, a little less. One of the pair tells about the other, so the second choice is the third.
  constexpr Position kPair = 40, kOther = 42;
  const std::vector<SelectChunk> chunks{{0, kOther + 1}};
  std::vector<float> values(2 * chunks[0].end, 0), seen(chunks[0].end, 0);
  values[2 * kPair] = values[2 * kPair + 2] = values[2 * kOther + 1] = 1;
  seen[kPair] = seen[kPair + 1] = 1;
  seen[kOther] = 0.8F;
  const std::vector<float> attention = Seen("design", seen);
  const std::vector<ChunkLoadings> loadings{{2, values, 0.01F}};
  SelectEvidence evidence;
  evidence.question_attention = attention;
  evidence.loadings = loadings;
  const auto selection =
      (*MakeSelectRule("design"))->Select(RequestOf(chunks, 2.0 / (kOther + 1)), evidence);
  ASSERT_TRUE(selection.has_value()) << selection.error().ToString();
  EXPECT_THAT(selection->rows, ElementsAre(kPair, kOther));
}

// Attention-weighted variance of all rows once `rows` are known, by solving with the selected rows'
// whole covariance: another way than the rule's updates.
double PosteriorVariance(const std::vector<double>& covariance, std::size_t n, double noise,
                         const std::vector<double>& attention, const std::vector<Position>& rows) {
  const std::size_t k = rows.size();
  double total = 0;
  for (std::size_t t = 0; t < n; ++t) {
    std::vector<double> a(k * (k + 1));
    for (std::size_t i = 0; i < k; ++i) {
      const auto s = static_cast<std::size_t>(rows[i]);
      for (std::size_t j = 0; j < k; ++j) {
        a[i * (k + 1) + j] =
            covariance[s * n + static_cast<std::size_t>(rows[j])] + (i == j ? noise : 0);
      }
      a[i * (k + 1) + k] = covariance[s * n + t];
    }
    for (std::size_t p = 0; p < k; ++p) {  // Gauss-Jordan; the matrix is positive definite
      for (std::size_t i = 0; i < k; ++i) {
        if (i == p) continue;
        const double share = a[i * (k + 1) + p] / a[p * (k + 1) + p];
        for (std::size_t j = p; j <= k; ++j) a[i * (k + 1) + j] -= share * a[p * (k + 1) + j];
      }
    }
    double known = 0;
    for (std::size_t i = 0; i < k; ++i) {
      known += covariance[static_cast<std::size_t>(rows[i]) * n + t] * a[i * (k + 1) + k] /
               a[i * (k + 1) + i];
    }
    total += attention[t] * (covariance[t * n + t] - known);
  }
  return total;
}

// Blocks that err in pairs: attention alone measures both of a pair, which says the same twice.
TEST(DesignRuleTest, LeavesLessVarianceThanQueryAttention) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  constexpr std::size_t kRows = 96, kPairs = 6;
  const std::vector<SelectChunk> chunks{{0, kRows}};
  double design_sum = 0, query_sum = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<float> values(kRows * kPairs, 0), attention(kRows);
    std::vector<double> covariance(kRows * kRows, 0), weight(kRows), share(kRows), of_pair(kPairs);
    for (double& x : of_pair) x = std::exp(normal(random));
    const auto pair_of = [](std::size_t row) { return row / 8 % kPairs; };
    for (std::size_t row = 0; row < kRows; ++row) {
      share[row] = 1 + 0.2 * normal(random);
      weight[row] = of_pair[pair_of(row)];
      attention[row] = static_cast<float>(weight[row]);
      values[row * kPairs + pair_of(row)] = static_cast<float>(share[row]);
    }
    for (std::size_t t = 0; t < kRows; ++t) {
      for (std::size_t s = 0; s < kRows; ++s) {
        if (pair_of(t) == pair_of(s)) covariance[t * kRows + s] = share[t] * share[s];
      }
    }
    const std::vector<ChunkLoadings> loadings{{kPairs, values, 0.05F}};
    SelectEvidence evidence;
    evidence.loadings = loadings;
    const SelectRequest request = RequestOf(chunks, 0.25);
    const auto left = [&](std::string_view name) {
      const std::vector<float> seen = Seen(name, attention);
      evidence.question_attention = seen;
      return PosteriorVariance(covariance, kRows, 0.05, weight,
                               (*MakeSelectRule(name))->Select(request, evidence)->rows);
    };
    design_sum += left("design");
    query_sum += left("query");
  }
  EXPECT_LT(design_sum, 0.9 * query_sum);
}

TEST(DesignRuleTest, LoadingsOfAnotherShapeAreRefused) {
  const std::vector<SelectChunk> chunks{{0, 4}};
  const std::vector<float> attention = Seen("design", std::vector<float>(4, 1)),
                           values(4 * 2 - 1, 1);
  const std::vector<ChunkLoadings> loadings{{2, values, 1}};
  SelectEvidence evidence;
  evidence.question_attention = attention;
  evidence.loadings = loadings;
  const auto selection = (*MakeSelectRule("design"))->Select(RequestOf(chunks, 0.5), evidence);
  ASSERT_FALSE(selection.has_value());
  EXPECT_THAT(selection.error().message(), testing::HasSubstr("loadings.values has 7 values"));
}

}  // namespace
}  // namespace kvcommons
