#include "align/complete/complete.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

std::vector<float> Normal(std::mt19937_64& random, std::size_t count, double scale = 1) {
  std::normal_distribution<double> normal(0, scale);
  std::vector<float> numbers(count);
  for (float& x : numbers) x = static_cast<float>(normal(random));
  return numbers;
}

CompletionInput InputOf(std::uint32_t rank, const std::vector<float>& loadings, float residue,
                        std::uint32_t columns, const std::vector<float>& residuals,
                        double shrinkage) {
  CompletionInput input;
  input.rank = rank;
  input.loadings = loadings;
  input.residue = residue;
  input.columns = columns;
  input.stride = columns;
  input.residuals = residuals;
  input.shrinkage = shrinkage;
  return input;
}

TEST(CompleteResidualsTest, AResidualOfRankOneIsRecoveredFromTwoRows) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  constexpr std::uint32_t kColumns = 7;
  const std::vector<float> context = Normal(random, kColumns);
  const std::vector<float> loadings{0.8F, -1.3F};
  std::vector<float> residuals;
  for (const float u : loadings) {
    for (const float g : context) residuals.push_back(u * g);
  }
  const auto completion = CompleteResiduals(InputOf(1, loadings, 1e-12F, kColumns, residuals, 0));
  ASSERT_TRUE(completion.has_value());
  ASSERT_EQ(completion->outcome, CompletionOutcome::kApplied);
  for (std::uint32_t c = 0; c < kColumns; ++c) {
    EXPECT_NEAR(completion->gain[c], context[c], 1e-4 * (1 + std::abs(context[c])));
  }
  EXPECT_LT(completion->left_out_error, 1e-6);
}

// The formula of §I as it stands there, |S| × |S|, by elimination.
std::vector<double> ByTheLargeForm(std::uint32_t rank, const std::vector<float>& u, double residue,
                                   std::uint32_t columns, const std::vector<float>& r,
                                   double shrinkage) {
  const std::size_t rows = u.size() / rank, width = rows + columns;
  double trace = 0;
  for (const float x : u) trace += double{x} * x;
  std::vector<double> a(rows * width, 0);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < rows; ++j) {
      for (std::size_t k = 0; k < rank; ++k) {
        a[i * width + j] += double{u[i * rank + k]} * u[j * rank + k];
      }
    }
    a[i * width + i] += residue + shrinkage * trace / static_cast<double>(rows);
    for (std::size_t c = 0; c < columns; ++c) a[i * width + rows + c] = r[i * columns + c];
  }
  for (std::size_t p = 0; p < rows; ++p) {
    for (std::size_t i = 0; i < rows; ++i) {
      if (i == p) continue;
      const double share = a[i * width + p] / a[p * width + p];
      for (std::size_t j = p; j < width; ++j) a[i * width + j] -= share * a[p * width + j];
    }
  }
  std::vector<double> gain(rank * columns, 0);
  for (std::size_t k = 0; k < rank; ++k) {
    for (std::size_t c = 0; c < columns; ++c) {
      for (std::size_t i = 0; i < rows; ++i) {
        gain[k * columns + c] += u[i * rank + k] * a[i * width + rows + c] / a[i * width + i];
      }
    }
  }
  return gain;
}

TEST(CompleteResidualsTest, EqualsTheFormulaOverMeasuredRows) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (const std::uint32_t rows : {2U, 3U, 20U}) {
    constexpr std::uint32_t kRank = 5, kColumns = 6;
    const std::vector<float> u = Normal(random, rows * kRank);
    // Mostly what the loadings say, so that the guard lets it through.
    const std::vector<float> g = Normal(random, kRank * kColumns, 3);
    std::vector<float> r = Normal(random, rows * kColumns, 0.01);
    for (std::uint32_t i = 0; i < rows; ++i) {
      for (std::uint32_t c = 0; c < kColumns; ++c) {
        for (std::uint32_t k = 0; k < kRank; ++k) {
          r[i * kColumns + c] += u[i * kRank + k] * g[k * kColumns + c];
        }
      }
    }
    const auto completion = CompleteResiduals(InputOf(kRank, u, 0.02F, kColumns, r, 0.1));
    ASSERT_TRUE(completion.has_value());
    if (completion->outcome == CompletionOutcome::kWorse) continue;  // two or three rows may be
    const auto wanted = ByTheLargeForm(kRank, u, 0.02, kColumns, r, 0.1);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_NEAR(completion->gain[i], wanted[i], 1e-4 * (1 + std::abs(wanted[i])));
    }
  }
}

TEST(CompleteResidualsTest, OneMeasuredRowLeavesAChunkAlone) {
  const std::vector<float> u{1, 2}, r{3, 4, 5};
  const auto completion = CompleteResiduals(InputOf(2, u, 0.1F, 3, r, 0.1));
  ASSERT_TRUE(completion.has_value());
  EXPECT_EQ(completion->outcome, CompletionOutcome::kTooFewRows);
  EXPECT_TRUE(completion->gain.empty());
}

TEST(CompleteResidualsTest, RowsThatErrOtherwiseThanLearnedLeaveAChunkAlone) {
  // The loadings say that both err alike; they err against each other.
  const std::vector<float> u{1, 1}, r{1, -1};
  const auto completion = CompleteResiduals(InputOf(1, u, 0.01F, 1, r, 0.1));
  ASSERT_TRUE(completion.has_value());
  EXPECT_EQ(completion->outcome, CompletionOutcome::kWorse);
  EXPECT_TRUE(completion->gain.empty());
  EXPECT_GT(completion->left_out_error, 1);
}

TEST(CompleteResidualsTest, TheLeftOutErrorIsThatOfSolvingAgainWithoutTheRow) {
  std::mt19937_64 random(3);
  constexpr std::uint32_t kRank = 2, kColumns = 4, kRows = 9;
  const std::vector<float> u = Normal(random, kRows * kRank), r = Normal(random, kRows * kColumns);
  // Without shrinkage σ is the residue alone, the same with a row less.
  const auto completion = CompleteResiduals(InputOf(kRank, u, 0.5F, kColumns, r, 0));
  ASSERT_TRUE(completion.has_value());
  double error = 0, all = 0;
  for (std::uint32_t out = 0; out < kRows; ++out) {
    std::vector<float> fewer_u, fewer_r;
    for (std::uint32_t i = 0; i < kRows; ++i) {
      if (i == out) continue;
      fewer_u.insert(fewer_u.end(), u.begin() + i * kRank, u.begin() + (i + 1) * kRank);
      fewer_r.insert(fewer_r.end(), r.begin() + i * kColumns, r.begin() + (i + 1) * kColumns);
    }
    const auto gain = ByTheLargeForm(kRank, fewer_u, 0.5, kColumns, fewer_r, 0);
    for (std::uint32_t c = 0; c < kColumns; ++c) {
      double predicted = 0;
      for (std::uint32_t k = 0; k < kRank; ++k) {
        predicted += u[out * kRank + k] * gain[k * kColumns + c];
      }
      error += std::pow(r[out * kColumns + c] - predicted, 2);
      all += std::pow(r[out * kColumns + c], 2);
    }
  }
  EXPECT_NEAR(completion->left_out_error, error / all, 1e-5);
}

TEST(CompleteResidualsTest, NoErrorNeedsNoCorrection) {
  const std::vector<float> u{1, 1}, r{0, 0};
  const auto completion = CompleteResiduals(InputOf(1, u, 0.1F, 1, r, 0.1));
  ASSERT_TRUE(completion.has_value());
  EXPECT_EQ(completion->outcome, CompletionOutcome::kApplied);
  EXPECT_EQ(completion->gain, std::vector<float>{0});
}

TEST(CompleteResidualsTest, WhatDoesNotMatchIsRefusedByName) {
  const std::vector<float> u{1, 1}, r{1, 1};
  EXPECT_THAT(CompleteResiduals(InputOf(0, u, 0, 1, r, 0)).error().message(),
              HasSubstr("rank is 0"));
  EXPECT_THAT(CompleteResiduals(InputOf(65, u, 0, 1, r, 0)).error().message(),
              HasSubstr("rank is 65"));
  EXPECT_THAT(CompleteResiduals(InputOf(1, u, 0, 2, r, 0)).error().message(),
              HasSubstr("do not match"));
  EXPECT_THAT(CompleteResiduals(InputOf(1, u, 0, 1, r, -1)).error().message(),
              HasSubstr("shrinkage is -1"));
  CompletionInput outside = InputOf(1, u, 0, 1, r, 0);
  outside.first_column = 1;
  EXPECT_THAT(CompleteResiduals(outside).error().message(), HasSubstr("columns is 1 from 1 on"));
  const std::vector<float> bad{1, NAN};
  EXPECT_THAT(CompleteResiduals(InputOf(1, u, 0, 1, bad, 0)).error().message(),
              HasSubstr("not finite"));
}

// Keys and values lie beside each other in a row of residuals; each plane is its own problem.
TEST(CompleteResidualsTest, ReadsThePlanesOwnColumnsAlone) {
  std::mt19937_64 random(11);
  constexpr std::uint32_t kRank = 2, kRows = 6, kColumns = 3, kStride = 8, kFirst = 4;
  const std::vector<float> u = Normal(random, kRows * kRank);
  const std::vector<float> g = Normal(random, kRank * kColumns, 3);
  std::vector<float> plane(kRows * kColumns, 0), wide = Normal(random, kRows * kStride, 100);
  for (std::uint32_t i = 0; i < kRows; ++i) {
    for (std::uint32_t c = 0; c < kColumns; ++c) {
      for (std::uint32_t k = 0; k < kRank; ++k) {
        plane[i * kColumns + c] += u[i * kRank + k] * g[k * kColumns + c];
      }
      wide[i * kStride + kFirst + c] = plane[i * kColumns + c];
    }
  }
  CompletionInput input = InputOf(kRank, u, 0.1F, kColumns, wide, 0.1);
  input.first_column = kFirst;
  input.stride = kStride;
  const auto of_wide = CompleteResiduals(input);
  const auto of_plane = CompleteResiduals(InputOf(kRank, u, 0.1F, kColumns, plane, 0.1));
  ASSERT_TRUE(of_wide.has_value() && of_plane.has_value());
  ASSERT_EQ(of_plane->outcome, CompletionOutcome::kApplied);
  EXPECT_EQ(of_wide->gain, of_plane->gain);
}

TEST(CompleteResidualsTest, ARowThatErrsOnItsOwnIsBelievedLess) {
  const std::vector<float> u{1, 1, 1}, r{8, 1, 1};
  const auto all_alike = CompleteResiduals(InputOf(1, u, 1, 1, r, 0));
  CompletionInput input = InputOf(1, u, 1, 1, r, 0);
  const std::vector<double> own{3, 0, 0};
  input.own_variance = own;
  const auto doubted = CompleteResiduals(input);
  ASSERT_TRUE(all_alike.has_value() && doubted.has_value());
  ASSERT_EQ(doubted->outcome, CompletionOutcome::kApplied);
  // (Σ w u r) ÷ (Σ w u² + 1) with w = 1 and, of the first row, 1 ÷ (1 + 3).
  EXPECT_NEAR(all_alike->gain[0], 10.0 / 4, 1e-6);
  EXPECT_NEAR(doubted->gain[0], (2 + 2) / (2.25 + 1), 1e-6);
  const std::vector<double> few{3, 0};
  input.own_variance = few;
  EXPECT_THAT(CompleteResiduals(input).error().message(), HasSubstr("own_variance has 2 rows"));
}

TEST(KeyShareTest, KeysAreGivenMoreTheMoreRowsWereMeasured) {
  EXPECT_EQ(KeyShare(0), 0);
  EXPECT_EQ(KeyShare(10), 0.5F);
  EXPECT_EQ(KeyShare(30), 0.75F);
}

TEST(WildRowsTest, AreThoseOfMoreThanTenTimesTheMedianRowsVariance) {
  // Variances 1, 4, 9.9, 0, 1 and 10.1 of rank 2; the median is 4, then 1.
  const std::vector<float> loadings{1, 0, 0, 2, 3, 0.9487F, 0, 0, 0, 1, 3, 1.05F};
  const std::vector<float> none(loadings.size(), 0);
  EXPECT_THAT(WildRows(loadings, none, 2), testing::Each(0));
  std::vector<float> calmer = loadings;
  calmer[3] = 1;
  EXPECT_THAT(WildRows(calmer, none, 2), testing::ElementsAre(0, 0, 0, 0, 0, 1));
  EXPECT_THAT(WildRows(none, calmer, 2), testing::ElementsAre(0, 0, 0, 0, 0, 1));
  EXPECT_TRUE(WildRows({}, {}, 3).empty());
  EXPECT_THAT(WildRows(none, none, 2), testing::Each(0));
}

TEST(WildRowsTest, CountKeysAndValuesTogether) {
  const std::vector<float> keys{1, 1, 1, 3}, values{1, 1, 1, 3.5F};
  EXPECT_THAT(WildRows(keys, {values.begin(), values.end()}, 1), testing::ElementsAre(0, 0, 0, 1));
  EXPECT_THAT(WildRows(keys, std::vector<float>(4, 1), 1), testing::Each(0));
}

}  // namespace
}  // namespace kvcommons
