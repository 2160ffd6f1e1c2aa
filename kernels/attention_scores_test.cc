#include "kernels/attention_scores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/rotate.h"
#include "kernels/scalar_rotation.h"

namespace kvcommons {
namespace {

TEST(AttentionScores, AreTheDotProductsOnEveryInstructionSet) {
  constexpr std::uint32_t kSeed = 3;
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  for (const char* target : RotateTargets()) {
    ForceRotateTarget(target);
    for (const ElementType type : {ElementType::kFp16, ElementType::kFp32}) {
      for (const std::size_t dim :
           {std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{80}}) {
        SCOPED_TRACE(testing::Message() << target << " dim " << dim << " seed " << kSeed);
        // Rows of two heads; the query's is the second.
        const std::size_t stride = 2 * dim * ElementBytes(type);
        constexpr std::size_t kCells = 5;
        std::vector<std::byte> keys(kCells * stride);
        std::vector<std::vector<double>> numbers(kCells, std::vector<double>(dim));
        for (std::size_t cell = 0; cell < kCells; ++cell) {
          for (std::size_t e = 0; e < 2 * dim; ++e) {
            float value = normal(random);
            std::byte* at = keys.data() + cell * stride + e * ElementBytes(type);
            if (type == ElementType::kFp16) {
              const std::uint16_t half = scalar::FloatToFp16(value);
              value = scalar::Fp16ToFloat(half);
              std::memcpy(at, &half, sizeof half);
            } else {
              std::memcpy(at, &value, sizeof value);
            }
            if (e >= dim) numbers[cell][e - dim] = value;
          }
        }
        std::vector<float> query(dim);
        for (float& q : query) q = normal(random);
        const std::vector<std::int32_t> cells{4, -1, 0, 2, 2};
        std::vector<float> scores(cells.size(), 9);
        AttentionScores(type, query, keys.data() + dim * ElementBytes(type), stride, cells, 0.25F,
                        scores);
        for (std::size_t i = 0; i < cells.size(); ++i) {
          if (cells[i] < 0) {
            EXPECT_EQ(scores[i], -INFINITY);
            continue;
          }
          double sum = 0, size = 0;
          for (std::size_t e = 0; e < dim; ++e) {
            const double product =
                double{query[e]} * numbers[static_cast<std::size_t>(cells[i])][e];
            sum += product;
            size += std::abs(product);
          }
          EXPECT_NEAR(scores[i], 0.25 * sum, 1e-6 * (size + 1));
        }
      }
    }
  }
  ForceRotateTarget("");
}

}  // namespace
}  // namespace kvcommons
