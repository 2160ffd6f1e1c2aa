#include "align/complete/loadings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

// Rows whose deviations behind a preface are one common vector times the row's own share.
struct OneFactor {
  static constexpr std::uint32_t kPrefaces = 8, kElements = 24;

  explicit OneFactor(std::uint64_t seed, double noise, std::uint32_t row_count = 40)
      : row_count_(row_count) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    std::vector<double> mean(row_count_ * kElements);
    for (double& x : mean) x = normal(random);
    for (auto* planes : {&keys, &values}) {
      std::vector<double>& share = planes == &keys ? key_share : value_share;
      for (std::uint32_t row = 0; row < row_count_; ++row) share.push_back(normal(random));
      for (std::uint32_t preface = 0; preface < kPrefaces; ++preface) {
        std::vector<double> common(kElements);
        for (double& x : common) x = normal(random);
        for (std::uint32_t row = 0; row < row_count_; ++row) {
          for (std::uint32_t e = 0; e < kElements; ++e) {
            planes->push_back(static_cast<float>(mean[row * kElements + e] +
                                                 share[row] * common[e] + noise * normal(random)));
          }
        }
      }
    }
    rows.preface_count = kPrefaces;
    rows.row_count = row_count_;
    rows.row_elements = kElements;
    rows.keys = keys;
    rows.values = values;
  }
  const std::uint32_t row_count_;
  std::vector<double> key_share, value_share;  // of each row; keys and values err otherwise
  std::vector<float> keys, values;
  PrefaceRows rows;
};

TEST(LearnLoadingsTest, FindsHowMuchEachRowTakesInKeysAndValuesApart) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const OneFactor sample(seed, 0.02);
  const auto loadings = LearnLoadings(sample.rows);
  ASSERT_TRUE(loadings.has_value()) << loadings.error().ToString();
  for (const bool keys : {true, false}) {
    const PlaneLoadings& plane = keys ? loadings->keys : loadings->values;
    const std::vector<double>& share = keys ? sample.key_share : sample.value_share;
    ASSERT_EQ(plane.rank, kLoadingsRank);
    // The first factor is the row's share, up to one scale for all rows.
    double product = 0, own = 0, theirs = 0;
    for (std::uint32_t row = 0; row < sample.row_count_; ++row) {
      const double u = plane.u[row * plane.rank];
      product += u * share[row];
      own += u * u;
      theirs += share[row] * share[row];
    }
    EXPECT_GT(std::abs(product) / std::sqrt(own * theirs), 0.999);
    EXPECT_LT(plane.residue, 0.01);
  }
}

TEST(LearnLoadingsTest, TheVarianceOfAllRowsIsKeptOrInTheResidue) {
  // A plane is divided by its root mean square, and a mean over D prefaces takes 1/D away.
  const OneFactor sample(5, 0.5);
  const auto loadings = LearnLoadings(sample.rows);
  ASSERT_TRUE(loadings.has_value());
  for (const PlaneLoadings& plane : {loadings->keys, loadings->values}) {
    double variance = sample.row_count_ * static_cast<double>(plane.residue);
    for (const float u : plane.u) variance += double{u} * u;
    const double wanted = sample.row_count_ * 8.0 / 7.0;
    EXPECT_NEAR(variance, wanted, 1e-3 * wanted);
  }
}

// What learning does is defined by C; here C comes from its formula, in double, one number at a
// time.
TEST(LearnLoadingsTest, LoadingsAreTheLargestEigenvectorsForFewRowsAndForMany) {
  for (const std::uint32_t row_count : {20U, 70U, 150U}) {
    const std::uint64_t seed = row_count;
    SCOPED_TRACE("seed and rows " + std::to_string(seed));
    const OneFactor sample(seed, 0.4, row_count);
    const auto loadings = LearnLoadings(sample.rows);
    ASSERT_TRUE(loadings.has_value());
    const std::size_t n = row_count, elements = OneFactor::kElements,
                      prefaces = OneFactor::kPrefaces;
    for (const bool keys : {true, false}) {
      const PlaneLoadings& plane = keys ? loadings->keys : loadings->values;
      const std::vector<float>& sampled = keys ? sample.keys : sample.values;
      std::vector<double> deviation(sampled.begin(), sampled.end());
      double squares = 0;
      for (std::size_t i = 0; i < n * elements; ++i) {
        double mean = 0;
        for (std::size_t p = 0; p < prefaces; ++p) mean += deviation[p * n * elements + i];
        for (std::size_t p = 0; p < prefaces; ++p) {
          double& x = deviation[p * n * elements + i];
          x -= mean / static_cast<double>(prefaces);
          squares += x * x;
        }
      }
      const double scale = static_cast<double>(deviation.size()) / squares /
                           static_cast<double>((prefaces - 1) * elements);
      std::vector<double> c(n * n, 0);
      for (std::size_t p = 0; p < prefaces; ++p) {
        for (std::size_t a = 0; a < n; ++a) {
          for (std::size_t b = 0; b < n; ++b) {
            for (std::size_t e = 0; e < elements; ++e) {
              c[a * n + b] += scale * deviation[(p * n + a) * elements + e] *
                              deviation[(p * n + b) * elements + e];
            }
          }
        }
      }
      double before = INFINITY;
      for (std::uint32_t k = 0; k < plane.rank; ++k) {
        double value = 0, error = 0;
        const auto u = [&](std::size_t row) { return double{plane.u[row * plane.rank + k]}; };
        for (std::size_t row = 0; row < n; ++row) value += u(row) * u(row);
        for (std::size_t a = 0; a < n; ++a) {
          double image = 0;
          for (std::size_t b = 0; b < n; ++b) image += c[a * n + b] * u(b);
          error += std::pow(image - value * u(a), 2);
        }
        EXPECT_LT(std::sqrt(error), 0.02 * value * std::sqrt(value)) << "factor " << k;
        EXPECT_LE(value, before * (1 + 1e-6));
        before = value;
      }
    }
  }
}

TEST(LearnLoadingsTest, EqualRowsGiveNoLoadingsAndTheLeastResidue) {
  const std::vector<float> same(3 * 5 * 2, 1.5F);
  PrefaceRows rows{3, 5, 2, same, same};
  const auto loadings = LearnLoadings(rows);
  ASSERT_TRUE(loadings.has_value());
  for (const PlaneLoadings& plane : {loadings->keys, loadings->values}) {
    EXPECT_EQ(plane.rank, 5U);
    EXPECT_THAT(plane.u, testing::Each(0));
    EXPECT_GT(plane.residue, 0);
  }
}

TEST(LearnLoadingsTest, TheSameRowsGiveTheSameBytes) {
  const OneFactor sample(9, 0.3);
  const auto once = LearnLoadings(sample.rows), again = LearnLoadings(sample.rows);
  EXPECT_EQ(once->keys.u, again->keys.u);
  EXPECT_EQ(once->values.u, again->values.u);
}

TEST(FirstRowVariancesTest, FallToAThirdInSixRowsAndToNothingByTheThirtieth) {
  const std::vector<float> alike(2 * 40, 1);
  const std::vector<double> variances = FirstRowVariances(alike, 2, 40, 0.5);
  EXPECT_EQ(variances[0], kFirstRowDoubt * 2.5);
  EXPECT_NEAR(variances[6], variances[0] / std::exp(1), 0.01 * variances[0]);
  EXPECT_TRUE(std::is_sorted(variances.rbegin(), variances.rend()));
  EXPECT_LT(variances[30], 0.01 * variances[0]);
}

TEST(FirstRowVariancesTest, AreInProportionToARowsOwn) {
  EXPECT_THAT(FirstRowVariances(std::vector<float>{2, 0}, 1, 2, 1),
              testing::ElementsAre(kFirstRowDoubt * 5, kFirstRowDoubt * kFirstRowDecay));
  EXPECT_THAT(FirstRowVariances({}, 0, 1, 3), testing::ElementsAre(kFirstRowDoubt * 3));
  EXPECT_TRUE(FirstRowVariances({}, 4, 0, 1).empty());
}

TEST(MeanLoadingsTest, IsTheMeanCovarianceOfKeysAndValuesWithoutTheFirstFifthOfLayers) {
  // Rank one of two rows in every plane. What u keeps of keys and values, and the residues, are
  // both halved; layer 0 of five does not count.
  const auto layer = [](float key, float value) {
    return LayerLoadings{{1, {key, 0}, 0.5F}, {1, {0, value}, 0.25F}};
  };
  const std::vector<LayerLoadings> layers{layer(100, 100), layer(2, 1), layer(2, 1), layer(2, 1),
                                          layer(2, 1)};
  const auto mean = MeanLoadings(layers);
  ASSERT_TRUE(mean.has_value());
  ASSERT_EQ(mean->rank, 1U);
  // C = diag(4, 1) ÷ 2: the larger one is kept, half of the other is left for each row.
  EXPECT_NEAR(mean->u[0], std::sqrt(2.0), 1e-6);
  EXPECT_NEAR(mean->u[1], 0, 1e-6);
  EXPECT_NEAR(mean->residue, 0.25 + (0.5 + 0.25) / 2, 1e-6);
}

TEST(LearnLoadingsTest, WhatIsOutOfItsLimitsIsRefusedByName) {
  const std::vector<float> numbers(2 * 3 * 4, 1);
  PrefaceRows rows{2, 3, 4, numbers, numbers};
  EXPECT_TRUE(LearnLoadings(rows).has_value());
  rows.preface_count = 1;
  EXPECT_THAT(LearnLoadings(rows).error().message(), HasSubstr("preface_count is 1"));
  rows.preface_count = 2;
  rows.row_count = kMaxLoadingsRows + 1;
  EXPECT_THAT(LearnLoadings(rows).error().message(), HasSubstr("row_count is 4097"));
  rows.row_count = 3;
  rows.keys = rows.keys.first(23);
  EXPECT_THAT(LearnLoadings(rows).error().message(), HasSubstr("23 and 24"));
  std::vector<float> infinite = numbers;
  infinite[7] = INFINITY;
  rows.keys = infinite;
  EXPECT_THAT(LearnLoadings(rows).error().message(), HasSubstr("not finite"));
}

}  // namespace
}  // namespace kvcommons
