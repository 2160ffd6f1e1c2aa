// What these tests hold the rotation to: every implementation equals the reference bit for bit over
// one table of cases; the reference equals arithmetic in double within one rounding; moving is a
// group (inverse, sum) that keeps norms; what does not turn is not touched.

#include "kernels/rotate.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kernels/scalar_rotation.h"
#include "kernels/test_rows.h"
#include "kernels/testdata/moved_key.h"

namespace kvcommons {
namespace {

std::vector<std::byte> Reference(const KeyRowFormat& format, const RotationTable& table,
                                 const std::byte* source, std::size_t row_count) {
  std::vector<std::byte> moved(row_count * format.row_bytes());
  RotateRowsReference(format, table, source, moved.data(), row_count, format.row_bytes());
  return moved;
}

class RotateTest : public testing::Test {
 protected:
  void TearDown() override { ForceRotateTarget(""); }
};

TEST_F(RotateTest, EveryTargetEqualsTheReferenceBitForBit) {
  for (const KeyRowFormat& format : Formats()) {
    for (const std::size_t row_count : {0u, 1u, 2u, 3u, 4u, 5u, 63u, 64u, 65u}) {
      Buffer source(row_count * format.row_bytes());
      FillWithKeys(format, row_count, source.data());
      for (const std::int64_t delta : {0, 1, -1, 7, -10, 1000, 131071, -1000000000}) {
        const RotationTable table = TableFor(format, delta);
        const auto expected = Reference(format, table, source.data(), row_count);
        OnEveryTarget([&] {
          // Destinations that may be streamed to, and one that may not.
          for (const std::size_t misaligned : {0, 32, 4}) {
            Buffer moved(row_count * format.row_bytes(), misaligned);
            RotateRows(format, table, source.data(), moved.data(), row_count, format.row_bytes());
            ASSERT_TRUE(moved.bytes() == expected)
                << Describe(format) << ", " << row_count << " rows, delta " << delta
                << ", destination misaligned by " << misaligned << ", seed " << kSeed;
          }
        });
      }
    }
  }
}

TEST_F(RotateTest, AStrideLeavesTheGapsAlone) {
  for (const KeyRowFormat& format : Formats()) {
    constexpr std::size_t kRows = 65;
    constexpr std::size_t kGapBytes = 64;
    const std::size_t stride = format.row_bytes() + kGapBytes;
    Buffer source(kRows * format.row_bytes());
    FillWithKeys(format, kRows, source.data());
    for (const std::int64_t delta : {0, 5}) {
      const RotationTable table = TableFor(format, delta);
      const auto moved = Reference(format, table, source.data(), kRows);
      std::vector<std::byte> expected(kRows * stride, std::byte{0xEE});
      for (std::size_t row = 0; row < kRows; ++row) {
        std::memcpy(expected.data() + row * stride, moved.data() + row * format.row_bytes(),
                    format.row_bytes());
      }
      OnEveryTarget([&] {
        Buffer destination(kRows * stride);
        RotateRows(format, table, source.data(), destination.data(), kRows, stride);
        ASSERT_TRUE(destination.bytes() == expected) << Describe(format) << ", delta " << delta;
      });
    }
  }
}

TEST_F(RotateTest, ScatterPutsEveryRowWhereTheContiguousMoveWouldGiveItsBytes) {
  constexpr std::size_t kRows = 65;
  constexpr std::size_t kCells = 200;
  std::vector<std::uint32_t> one_run(kRows);
  std::iota(one_run.begin(), one_run.end(), 17u);
  std::vector<std::uint32_t> every_third(kRows);
  for (std::uint32_t i = 0; i < kRows; ++i) every_third[i] = 3 * i;
  std::vector<std::uint32_t> backwards(one_run.rbegin(), one_run.rend());
  std::vector<std::uint32_t> pages(kRows);  // Pages of 16 cells in another order.
  for (std::uint32_t i = 0; i < kRows; ++i) pages[i] = (5 - i / 16) * 16 + i % 16;

  for (const KeyRowFormat& format : Formats()) {
    Buffer source(kRows * format.row_bytes());
    FillWithKeys(format, kRows, source.data());
    for (const std::int64_t delta : {0, -33}) {
      const RotationTable table = TableFor(format, delta);
      const auto moved = Reference(format, table, source.data(), kRows);
      for (const auto& cells : {one_run, every_third, backwards, pages, {}}) {
        std::vector<std::byte> expected(kCells * format.row_bytes(), std::byte{0xEE});
        for (std::size_t row = 0; row < cells.size(); ++row) {
          std::memcpy(expected.data() + cells[row] * format.row_bytes(),
                      moved.data() + row * format.row_bytes(), format.row_bytes());
        }
        OnEveryTarget([&] {
          Buffer destination(kCells * format.row_bytes());
          RotateRowsScatter(format, table, source.data(), destination.data(), cells);
          ASSERT_TRUE(destination.bytes() == expected) << Describe(format) << ", delta " << delta;
        });
      }
    }
  }
}

TEST_F(RotateTest, ZeroDeltaCopiesBitsEvenThoseThatAreNotNumbers) {
  for (const KeyRowFormat& format : Formats()) {
    constexpr std::size_t kRows = 64;
    Buffer source(kRows * format.row_bytes());
    std::mt19937 random(kSeed);
    for (std::size_t i = 0; i < kRows * format.row_bytes(); ++i) {
      source.data()[i] = static_cast<std::byte>(random());
    }
    OnEveryTarget([&] {
      Buffer copy(kRows * format.row_bytes());
      RotateRows(format, TableFor(format, 0), source.data(), copy.data(), kRows,
                 format.row_bytes());
      ASSERT_TRUE(copy.bytes() == source.bytes()) << Describe(format);
    });
  }
}

TEST_F(RotateTest, NanInfinityZeroAndSubnormalPassAsInTheReference) {
  using Limits = std::numeric_limits<float>;
  for (const KeyRowFormat& format : Formats()) {
    if (format.rotary_dim == 0) continue;
    constexpr std::size_t kRows = 64;
    Buffer source(kRows * format.row_bytes());
    FillWithKeys(format, kRows, source.data());
    std::mt19937 random(kSeed);
    const std::size_t bytes = ElementBytes(format.type);
    const std::size_t count = kRows * format.head_count * format.head_dim;
    // Any bits at all are numbers too; every fourth element gets some, NaN payloads included.
    for (std::size_t i = 0; i < count; i += 4) {
      const auto bits = static_cast<std::uint32_t>(random());
      std::memcpy(source.data() + i * bytes, &bits, bytes);
    }
    const float specials[] = {Limits::infinity(),
                              -Limits::infinity(),
                              0.0f,
                              -0.0f,
                              Limits::denorm_min(),
                              0x1p-24f,
                              65504,
                              -65504,
                              Limits::max(),
                              0x1.ffcp-15f,
                              Limits::quiet_NaN()};
    for (std::size_t i = 1; i < count; i += 3) {
      WriteElement(format.type, specials[i / 3 % std::size(specials)], source.data() + i * bytes);
    }
    for (const std::int64_t delta : {1, -4097}) {
      const RotationTable table = TableFor(format, delta);
      const auto expected = Reference(format, table, source.data(), kRows);
      OnEveryTarget([&] {
        Buffer moved(kRows * format.row_bytes());
        RotateRows(format, table, source.data(), moved.data(), kRows, format.row_bytes());
        ASSERT_TRUE(moved.bytes() == expected) << Describe(format) << ", seed " << kSeed;
      });
    }
  }
}

TEST_F(RotateTest, ElementsOutsideTheRotaryPartKeepTheirBits) {
  for (const KeyRowFormat& format : Formats()) {
    constexpr std::size_t kRows = 5;
    Buffer source(kRows * format.row_bytes());
    std::mt19937 random(kSeed);
    for (std::size_t i = 0; i < kRows * format.row_bytes(); ++i) {
      source.data()[i] = static_cast<std::byte>(random());
    }
    const std::size_t bytes = ElementBytes(format.type);
    OnEveryTarget([&] {
      Buffer moved(kRows * format.row_bytes());
      RotateRows(format, TableFor(format, 3), source.data(), moved.data(), kRows,
                 format.row_bytes());
      for (std::size_t i = 0; i < kRows * format.head_count * format.head_dim; ++i) {
        const std::size_t in_head = i % format.head_dim;
        if (in_head >= format.rotary_offset && in_head < format.rotary_offset + format.rotary_dim) {
          continue;
        }
        ASSERT_EQ(std::memcmp(moved.data() + i * bytes, source.data() + i * bytes, bytes), 0)
            << Describe(format) << ", element " << i;
      }
    });
  }
}

// The rest is about the reference; the others equal it.

// One head of the key at `row`, in double, moved by `delta` in double.
std::vector<double> MovedInDouble(const KeyRowFormat& format, const std::byte* head,
                                  std::span<const float> omega, std::int64_t delta) {
  const std::size_t bytes = ElementBytes(format.type);
  std::vector<double> x(format.head_dim);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = ReadElement(format.type, head + i * bytes);
  const std::size_t pair_count = format.rotary_dim / 2;
  for (std::size_t c = 0; c < pair_count; ++c) {
    const bool half_split = format.layout == PairLayout::kHalfSplit;
    double& a = x[format.rotary_offset + (half_split ? c : 2 * c)];
    double& b = x[format.rotary_offset + (half_split ? c + pair_count : 2 * c + 1)];
    const double angle = static_cast<double>(delta) * static_cast<double>(omega[c]);
    const double first = a;
    a = first * std::cos(angle) - b * std::sin(angle);
    b = first * std::sin(angle) + b * std::cos(angle);
  }
  return x;
}

// Specs: KVCOMM §15, TV1 and TV1b.
TEST_F(RotateTest, TheSpecsVectorsComeOut) {
  struct Vector {
    PairLayout layout;
    std::int64_t shift;
    std::vector<float> turned;
  };
  const Vector vectors[] = {
      {PairLayout::kHalfSplit, 3, {-1.413353F, 1.879118F, -2.828857F, 4.058191F}},
      {PairLayout::kHalfSplit, -3, {-0.566632F, 2.119082F, -3.111097F, 3.938209F}},
      {PairLayout::kHalfSplit, 7, {-1.217058F, 1.715331F, 2.918693F, 4.130090F}},
      {PairLayout::kInterleaved, 3, {-1.272233F, -1.838865F, 2.878668F, 4.088187F}}};
  const std::vector<float> omega{1, 0.01F}, row{1, 2, 3, 4};
  for (const Vector& vector : vectors) {
    const KeyRowFormat format{1, 4, 4, 0, vector.layout, ElementType::kFp32};
    std::vector<float> turned(4);
    RotateRows(format, RotationTable(omega, vector.shift),
               reinterpret_cast<const std::byte*>(row.data()),
               reinterpret_cast<std::byte*>(turned.data()), 1, format.row_bytes());
    for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(turned[i], vector.turned[i], 1e-6) << i;
  }
}

TEST_F(RotateTest, ErrorAgainstDoubleIsOneRoundingOfTheType) {
  // Relative RMS of one rounding to nearest: fp16 .00025, bf16 .00166 (specs: positional
  // re-encoding §3.1, "direct"); fp32 a few units of 2^-24.
  constexpr double kBounds[] = {.00030, .00200, 1.2e-7};
  for (const KeyRowFormat& format : Formats()) {
    if (format.rotary_dim < 64 || format.rotary_dim != format.head_dim) continue;
    constexpr std::size_t kRows = 64;
    Buffer source(kRows * format.row_bytes());
    FillWithKeys(format, kRows, source.data());
    const std::vector<float> omega = Omega(format.rotary_dim / 2, 5e5);
    for (const std::int64_t delta : {1, -10, 4000}) {
      const auto moved = Reference(format, RotationTable(omega, delta), source.data(), kRows);
      double error = 0;
      double norm = 0;
      const std::size_t bytes = ElementBytes(format.type);
      for (std::size_t head = 0; head < kRows * format.head_count; ++head) {
        const std::size_t at = head * format.head_dim * bytes;
        const auto truth = MovedInDouble(format, source.data() + at, omega, delta);
        for (std::size_t i = 0; i < truth.size(); ++i) {
          const double got = ReadElement(format.type, moved.data() + at + i * bytes);
          error += (got - truth[i]) * (got - truth[i]);
          norm += truth[i] * truth[i];
        }
      }
      EXPECT_LT(std::sqrt(error / norm), kBounds[static_cast<std::size_t>(format.type)])
          << Describe(format) << ", delta " << delta;
      EXPECT_GT(error, 0) << "a comparison with itself?";
    }
  }
}

TEST_F(RotateTest, AKeyStoredAndMovedOnceHasTheErrorOfTheSpecification) {
  // Written at position p from exact keys, stored, moved to p + δ, stored: .00032 fp16, .00225 bf16
  // (specs: positional re-encoding §3.1, "once moved"), within 20 %.
  constexpr std::pair<ElementType, double> kOnceMoved[] = {{ElementType::kFp16, .00032},
                                                           {ElementType::kBf16, .00225}};
  for (const auto& [type, bound] : kOnceMoved) {
    const KeyRowFormat exact{1, 128, 128, 0, PairLayout::kHalfSplit, ElementType::kFp32};
    const KeyRowFormat format{1, 128, 128, 0, PairLayout::kHalfSplit, type};
    const std::vector<float> omega = Omega(64, 5e5);
    constexpr std::size_t kRows = 500;
    std::vector<std::byte> keys(kRows * exact.row_bytes());
    FillWithKeys(exact, kRows, keys.data());
    std::mt19937 random(kSeed);
    std::uniform_int_distribution<std::int64_t> position(4000, 35999);
    std::uniform_int_distribution<std::int64_t> shift(-4000, 4000);
    double error = 0;
    double norm = 0;
    std::vector<std::byte> stored(format.row_bytes());
    std::vector<std::byte> moved(format.row_bytes());
    for (std::size_t row = 0; row < kRows; ++row) {
      const std::byte* key = keys.data() + row * exact.row_bytes();
      const std::int64_t from = position(random);
      const std::int64_t delta = shift(random);
      const auto written = MovedInDouble(exact, key, omega, from);
      for (std::size_t i = 0; i < 128; ++i) {
        WriteElement(type, static_cast<float>(written[i]), stored.data() + i * 2);
      }
      RotateRows(format, RotationTable(omega, delta), stored.data(), moved.data(), 1,
                 format.row_bytes());
      const auto truth = MovedInDouble(exact, key, omega, from + delta);
      for (std::size_t i = 0; i < 128; ++i) {
        const double got = ReadElement(type, moved.data() + i * 2);
        error += (got - truth[i]) * (got - truth[i]);
        norm += truth[i] * truth[i];
      }
    }
    EXPECT_NEAR(std::sqrt(error / norm), bound, 0.2 * bound) << ElementTypeName(type);
  }
}

TEST_F(RotateTest, MovingBackAndMovingTwiceAreMovesToo) {
  for (const PairLayout layout : kLayouts) {
    const KeyRowFormat format{3, 64, 64, 0, layout, ElementType::kFp32};
    constexpr std::size_t kRows = 64;
    std::vector<std::byte> keys(kRows * format.row_bytes());
    FillWithKeys(format, kRows, keys.data());
    const auto move = [&](const std::vector<std::byte>& rows, std::int64_t delta) {
      return Reference(format, TableFor(format, delta), rows.data(), kRows);
    };
    const auto there_and_back = move(move(keys, 1234), -1234);
    const auto twice = move(move(keys, 1000), 234);
    const auto once = move(keys, 1234);
    for (std::size_t i = 0; i < keys.size(); i += 8) {
      // Half-split pairs lie apart; the largest element bounds the norm of any pair.
      const float tolerance = 64.0f * 4 * 0x1p-24f;
      for (const std::size_t at : {i, i + 4}) {
        EXPECT_NEAR(ReadElement(format.type, &there_and_back[at]),
                    ReadElement(format.type, &keys[at]), tolerance);
        EXPECT_NEAR(ReadElement(format.type, &twice[at]), ReadElement(format.type, &once[at]),
                    tolerance);
      }
    }
  }
}

TEST_F(RotateTest, AMoveKeepsTheNormOfEveryPair) {
  for (const PairLayout layout : kLayouts) {
    const KeyRowFormat format{3, 64, 64, 0, layout, ElementType::kFp32};
    constexpr std::size_t kRows = 64;
    std::vector<std::byte> keys(kRows * format.row_bytes());
    FillWithKeys(format, kRows, keys.data());
    const auto moved = Reference(format, TableFor(format, 777), keys.data(), kRows);
    for (std::size_t head = 0; head < kRows * format.head_count; ++head) {
      for (std::size_t c = 0; c < 32; ++c) {
        const std::size_t a = head * 64 + (layout == PairLayout::kHalfSplit ? c : 2 * c);
        const std::size_t b = a + (layout == PairLayout::kHalfSplit ? 32 : 1);
        const auto norm = [&](const std::vector<std::byte>& rows) {
          return std::hypot(ReadElement(format.type, &rows[a * 4]),
                            ReadElement(format.type, &rows[b * 4]));
        };
        EXPECT_NEAR(norm(moved), norm(keys), 4 * 0x1p-24f * norm(keys));
      }
    }
  }
}

TEST_F(RotateTest, LayoutsAreEqualUnderThePermutationOfPairs) {
  constexpr std::size_t kPairs = 32;
  for (const ElementType type : kTypes) {
    const std::size_t bytes = ElementBytes(type);
    const KeyRowFormat half{1, 64, 64, 0, PairLayout::kHalfSplit, type};
    const KeyRowFormat interleaved{1, 64, 64, 0, PairLayout::kInterleaved, type};
    const auto permuted = [&](const std::vector<std::byte>& row) {
      std::vector<std::byte> out(row.size());
      for (std::size_t c = 0; c < kPairs; ++c) {
        std::memcpy(&out[2 * c * bytes], &row[c * bytes], bytes);
        std::memcpy(&out[(2 * c + 1) * bytes], &row[(c + kPairs) * bytes], bytes);
      }
      return out;
    };
    std::vector<std::byte> key(half.row_bytes());
    FillWithKeys(half, 1, key.data());
    const RotationTable table = TableFor(half, -55);
    EXPECT_EQ(permuted(Reference(half, table, key.data(), 1)),
              Reference(interleaved, table, permuted(key).data(), 1));
  }
}

TEST_F(RotateTest, GoldenKeyMovesAsAnIndependentForwardPassSays) {
  const KeyRowFormat format{1, 64, 64, 0, PairLayout::kInterleaved, ElementType::kFp32};
  const std::vector<float> omega = Omega(32, testdata::kMovedKeyBase);
  for (const testdata::MovedKey& expected : testdata::kMovedKeys) {
    const RotationTable table(omega, expected.delta);
    OnEveryTarget([&] {
      float moved[64];
      RotateRows(format, table, reinterpret_cast<const std::byte*>(testdata::kKeyBefore),
                 reinterpret_cast<std::byte*>(moved), 1, format.row_bytes());
      for (std::size_t i = 0; i < 64; ++i) {
        // That forward pass keeps omega in double; ours is the engine's, rounded to fp32.
        const std::size_t pair = i / 2;
        const float* before = testdata::kKeyBefore + 2 * pair;
        const double angle_error = std::abs(static_cast<double>(expected.delta)) *
                                   static_cast<double>(omega[pair]) * 0x1p-24;
        EXPECT_NEAR(moved[i], expected.key[i],
                    4e-6 + angle_error * static_cast<double>(std::hypot(before[0], before[1])))
            << "element " << i << ", delta " << expected.delta;
      }
    });
  }
}

TEST_F(RotateTest, AnglesStayExactAtLargeDelta) {
  // fp32 products would be off by tens of radians here.
  const float omega = 0.7853981f;
  for (const std::int64_t delta : {999'999'937, -999'999'937}) {
    const RotationTable table(std::span(&omega, 1), delta);
    const long double exact = static_cast<long double>(delta) * static_cast<long double>(omega);
    EXPECT_NEAR(table.cos()[0], static_cast<double>(std::cos(exact)), 1e-6);
    EXPECT_NEAR(table.sin()[0], static_cast<double>(std::sin(exact)), 1e-6);
  }
}

TEST_F(RotateTest, EveryFp16AndBf16ValueSurvivesTheWayToFp32AndBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float from_fp16 = scalar::Fp16ToFloat(half);
    const float from_bf16 = scalar::Bf16ToFloat(half);
    EXPECT_EQ(scalar::FloatToFp16(from_fp16), std::isnan(from_fp16) ? 0x7E00 : half);
    EXPECT_EQ(scalar::FloatToBf16(from_bf16), std::isnan(from_bf16) ? 0x7FC0 : half);
  }
}

TEST_F(RotateTest, RoundingIsToNearestAndTiesGoToEven) {
  // Between any two neighbours: the middle goes to the even one, a hair beside it to the nearer
  // one.
  for (std::uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const auto low = static_cast<std::uint16_t>(bits);
    const auto high = static_cast<std::uint16_t>(bits + 1);
    const float middle = (scalar::Fp16ToFloat(low) + scalar::Fp16ToFloat(high)) / 2;
    EXPECT_EQ(scalar::FloatToFp16(middle), bits % 2 == 0 ? low : high);
    EXPECT_EQ(scalar::FloatToFp16(std::nextafter(middle, 0.0f)), low);
    EXPECT_EQ(scalar::FloatToFp16(std::nextafter(middle, 1e9f)), high);
  }
  for (std::uint32_t bits = 0; bits < 0x7F7F; ++bits) {
    const float middle = std::bit_cast<float>(bits << 16 | 0x8000);
    EXPECT_EQ(scalar::FloatToBf16(middle), bits + bits % 2);
    EXPECT_EQ(scalar::FloatToBf16(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(scalar::FloatToBf16(std::bit_cast<float>(bits << 16 | 0x8001)), bits + 1);
  }
  EXPECT_EQ(scalar::FloatToFp16(65519.996f), 0x7BFF);
  EXPECT_EQ(scalar::FloatToFp16(65520.0f), 0x7C00);
  EXPECT_EQ(scalar::FloatToFp16(-1e30f), 0xFC00);
}

TEST_F(RotateTest, FormatsThatDoNotFitAreABug) {
  std::byte row[64] = {};
  KeyRowFormat format{1, 16, 16, 1, PairLayout::kInterleaved, ElementType::kFp16};
  const RotationTable table(Omega(8, 1e4), 1);
  EXPECT_DEATH(RotateRows(format, table, row, row + 32, 1, 32), "rotary_offset");
  format.rotary_offset = 0;
  const RotationTable short_table(Omega(7, 1e4), 1);
  EXPECT_DEATH(RotateRows(format, short_table, row, row + 32, 1, 32), "rotary_dim / 2");
}

TEST(CopyBytesTest, CopiesEveryByteAndNoOther) {
  OnEveryTarget([] {
    for (const std::size_t size :
         {0, 1, 63, 64, 65, 4095, 4096, 4097, 8191, 16384, 24576, 100003}) {
      for (const std::size_t misaligned : {0, 1, 32, 63}) {
        Buffer source(size, 63 - misaligned);
        std::mt19937 random(kSeed);
        for (std::size_t i = 0; i < size; ++i) source.data()[i] = static_cast<std::byte>(random());
        constexpr std::size_t kGuardBytes = 64;
        Buffer destination(size + 2 * kGuardBytes, misaligned);
        CopyBytes(source.data(), destination.data() + kGuardBytes, size);
        std::vector<std::byte> expected(size + 2 * kGuardBytes, std::byte{0xEE});
        if (size != 0) std::memcpy(expected.data() + kGuardBytes, source.data(), size);
        ASSERT_TRUE(destination.bytes() == expected) << size << " bytes, off by " << misaligned;
      }
    }
  });
}

}  // namespace
}  // namespace kvcommons
