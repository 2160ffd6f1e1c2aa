#include "align/complete/loadings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
    for (std::uint32_t row = 0; row < row_count_; ++row) share.push_back(normal(random));
    std::vector<double> mean(row_count_ * kElements);
    for (double& x : mean) x = normal(random);
    for (auto* planes : {&keys, &values}) {
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
  std::vector<double> share;
  std::vector<float> keys, values;
  PrefaceRows rows;
};

TEST(LearnLoadingsTest, FindsHowMuchEachRowTakesIn) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const OneFactor sample(seed, 0.02);
  const auto loadings = LearnLoadings(sample.rows);
  ASSERT_TRUE(loadings.has_value()) << loadings.error().ToString();
  ASSERT_EQ(loadings->rank, kLoadingsRank);
  // The first factor is the row's share, up to one scale for all rows.
  double product = 0, own = 0, theirs = 0;
  for (std::uint32_t row = 0; row < sample.row_count_; ++row) {
    const double u = loadings->values[row * loadings->rank];
    product += u * sample.share[row];
    own += u * u;
    theirs += sample.share[row] * sample.share[row];
  }
  EXPECT_GT(std::abs(product) / std::sqrt(own * theirs), 0.999);
  EXPECT_LT(loadings->residue, 0.01);
}

TEST(LearnLoadingsTest, TheVarianceOfAllRowsIsKeptOrInTheResidue) {
  // K and V are divided by their root mean square, and a mean over D prefaces takes 1/D away.
  const OneFactor sample(5, 0.5);
  const auto loadings = LearnLoadings(sample.rows);
  ASSERT_TRUE(loadings.has_value());
  double variance = sample.row_count_ * static_cast<double>(loadings->residue);
  for (const float u : loadings->values) variance += double{u} * u;
  const double wanted = sample.row_count_ * 8.0 / 7.0;
  EXPECT_NEAR(variance, wanted, 1e-3 * wanted);
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
    std::vector<double> c(n * n, 0);
    for (const auto* plane : {&sample.keys, &sample.values}) {
      std::vector<double> deviation(plane->begin(), plane->end());
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
                           static_cast<double>(2 * (prefaces - 1) * elements);
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
    }
    double before = INFINITY;
    for (std::uint32_t k = 0; k < loadings->rank; ++k) {
      double value = 0, error = 0;
      const auto u = [&](std::size_t row) {
        return double{loadings->values[row * loadings->rank + k]};
      };
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

TEST(LearnLoadingsTest, EqualRowsGiveNoLoadingsAndTheLeastResidue) {
  const std::vector<float> same(3 * 5 * 2, 1.5F);
  PrefaceRows rows{3, 5, 2, same, same};
  const auto loadings = LearnLoadings(rows);
  ASSERT_TRUE(loadings.has_value());
  EXPECT_EQ(loadings->rank, 5U);
  for (const float u : loadings->values) EXPECT_EQ(u, 0);
  EXPECT_GT(loadings->residue, 0);
}

TEST(LearnLoadingsTest, TheSameRowsGiveTheSameBytes) {
  const OneFactor sample(9, 0.3);
  EXPECT_EQ(LearnLoadings(sample.rows)->values, LearnLoadings(sample.rows)->values);
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
