// What these tests hold completion to: every implementation equals the reference bit for bit over
// one table of cases; the reference equals arithmetic in double within one rounding; no correction
// is plain placement; nothing but the listed cells is written; measuring gives back what was added.

#include "kernels/complete.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

#include "kernels/test_rows.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kChunkRows = 24;
constexpr std::size_t kCells = 80;

enum class Where { kInOneRun, kEveryThird, kBackwards, kWithGaps, kMisaligned, kTransposed };
constexpr Where kEverywhere[] = {Where::kInOneRun, Where::kEveryThird, Where::kBackwards,
                                 Where::kWithGaps, Where::kMisaligned, Where::kTransposed};

std::vector<float> Numbers(std::size_t count, std::uint32_t salt) {
  std::mt19937 random(kSeed + salt);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

// One chunk, an update, and a cache that it goes into.
class Work {
 public:
  // `count`: how many rows are written, spread over the chunk.
  Work(const KeyRowFormat& format, std::int64_t delta, std::uint32_t rank, std::size_t count,
       Where where)
      : omega_(Omega(format.rotary_dim / 2, 5e5)),
        table(omega_, delta),
        rotations(omega_, kChunkRows),
        keys_(kChunkRows * format.row_bytes()),
        values_(kChunkRows * format.row_bytes()),
        cache_bytes_(kCells * (format.row_bytes() + kGapBytes)),
        misaligned_(where == Where::kMisaligned ? 4 : 0) {
    FillWithKeys(format, kChunkRows, keys_.data());
    FillWithKeys(format, kChunkRows, values_.data());
    rows.format = format;
    loadings = Numbers(std::size_t{2} * kChunkRows * rank, 1);
    // Rows of the gain end in numbers that do not count.
    update.gain_stride = 2 * rows.row_elements() + rank % 3;
    gain = Numbers(update.gain_stride * rank, 2);
    for (std::uint32_t i = 0; i < count; ++i) {
      // A stretch and gaps.
      rows_.push_back(i < count / 2 ? i : kChunkRows - static_cast<std::uint32_t>(count) + i);
      cells_.push_back(where == Where::kEveryThird  ? 3 * i + 1
                       : where == Where::kBackwards ? 40 - i
                                                    : 17 + i);
    }
    const std::size_t element = ElementBytes(format.type);
    rows.key_stride_bytes = format.row_bytes() + (where == Where::kWithGaps ? kGapBytes : 0);
    rows.value_stride_bytes = where == Where::kTransposed ? element : rows.key_stride_bytes;
    rows.value_element_stride_bytes = where == Where::kTransposed ? kCells * element : element;
    rows.stored_keys = keys_.data();
    rows.stored_values = values_.data();
    rows.rows = rows_.data();
    rows.cells = cells_.data();
    rows.row_count = count;
    update.rank = rank;
  }

  // The cache's keys and values after `complete`.
  template <typename Complete>
  std::vector<std::byte> Run(Complete complete) {
    Buffer keys(cache_bytes_, misaligned_), values(cache_bytes_, misaligned_);
    rows.keys = keys.data();
    rows.values = values.data();
    update.key_loadings = loadings.data();
    update.value_loadings = loadings.data() + loadings.size() / 2;
    update.gain = gain.data();
    complete(table, rotations, rows, update);
    std::vector<std::byte> bytes = keys.bytes();
    const std::vector<std::byte> behind = values.bytes();
    bytes.insert(bytes.end(), behind.begin(), behind.end());
    return bytes;
  }

  // U_t g in one column, exact.
  double Correction(std::size_t row, std::size_t column) const {
    const std::size_t rank = update.rank;
    const bool of_value = column >= rows.row_elements();
    const float* u = loadings.data() + (of_value ? loadings.size() / 2 : 0) + row * rank;
    double sum = 0;
    for (std::size_t k = 0; k < rank; ++k)
      sum += double{u[k]} * gain[k * update.gain_stride + column];
    return sum;
  }

  std::byte* stored_keys() { return keys_.data(); }
  std::byte* stored_values() { return values_.data(); }
  std::size_t stored_bytes() const { return kChunkRows * rows.format.row_bytes(); }
  std::span<const float> omega() const { return omega_; }

 private:
  static constexpr std::size_t kGapBytes = 64;
  std::vector<float> omega_;

 public:
  RotationTable table;
  RowRotations rotations;
  ChunkRows rows;
  CompletionUpdate update;
  std::vector<float> loadings;  // the keys', then the values'
  std::vector<float> gain;

 private:
  Buffer keys_, values_;
  std::vector<std::uint32_t> rows_, cells_;
  std::size_t cache_bytes_;
  std::size_t misaligned_;
};

class CompleteTest : public testing::Test {
 protected:
  void TearDown() override { ForceRotateTarget(""); }
};

TEST_F(CompleteTest, EveryTargetEqualsTheReferenceBitForBitAndWritesNothingElse) {
  for (const KeyRowFormat& format : Formats()) {
    for (const std::uint32_t rank : {1u, 4u, 8u, 16u, 17u, kCompletionRankMax}) {
      // The reference takes its time with the widest.
      if (rank == kCompletionRankMax && format.head_count * format.head_dim > 256) continue;
      std::size_t turn = rank;  // Not every delta and count with every rank.
      for (const Where where : kEverywhere) {
        constexpr std::int64_t kDeltas[] = {0, 1, -10, 1000, 131071};
        constexpr std::size_t kCounts[] = {1, 8, 13, kChunkRows};
        const std::int64_t delta = kDeltas[turn % std::size(kDeltas)];
        const std::size_t count = kCounts[turn++ % std::size(kCounts)];
        Work work(format, delta, rank, count, where);
        const auto expected = work.Run(CompleteRowsReference);
        OnEveryTarget([&] {
          ASSERT_TRUE(work.Run(CompleteRows) == expected)
              << Describe(format) << ", rank " << rank << ", delta " << delta << ", " << count
              << " rows, place " << static_cast<int>(where) << ", seed " << kSeed;
        });
      }
    }
  }
}

TEST_F(CompleteTest, WithoutACorrectionRowsArePlacedBitForBit) {
  for (const KeyRowFormat& format : Formats()) {
    for (const bool zero_gain : {false, true}) {
      for (const std::int64_t delta : {0, 33}) {
        for (const Where where : {Where::kInOneRun, Where::kTransposed}) {
          Work work(format, delta, 4, kChunkRows, where);
          // Any bits at all, those that are not numbers included; zeros of either sign.
          std::mt19937 random(kSeed);
          for (std::size_t i = 0; i < work.stored_bytes(); ++i) {
            work.stored_keys()[i] = static_cast<std::byte>(random());
            work.stored_values()[i] = static_cast<std::byte>(random());
          }
          auto& zeros = zero_gain ? work.gain : work.loadings;
          for (std::size_t i = 0; i < zeros.size(); ++i) zeros[i] = i % 2 == 0 ? 0.0F : -0.0F;
          if (zero_gain) work.gain.back() = 1;  // Behind the last row's end.
          const auto place = [&](const RotationTable& table, const RowRotations&,
                                 const ChunkRows& rows, const CompletionUpdate&) {
            const std::size_t element = ElementBytes(format.type);
            for (std::size_t i = 0; i < rows.row_count; ++i) {
              const std::size_t at = rows.rows[i] * format.row_bytes();
              RotateRows(format, table, rows.stored_keys + at,
                         rows.keys + rows.cells[i] * rows.key_stride_bytes, 1, format.row_bytes());
              for (std::size_t e = 0; e < rows.row_elements(); ++e) {
                std::memcpy(rows.values + rows.cells[i] * rows.value_stride_bytes +
                                e * rows.value_element_stride_bytes,
                            rows.stored_values + at + e * element, element);
              }
            }
          };
          const auto expected = work.Run(place);
          EXPECT_TRUE(work.Run(CompleteRowsReference) == expected) << Describe(format);
          OnEveryTarget(
              [&] { ASSERT_TRUE(work.Run(CompleteRows) == expected) << Describe(format); });
        }
      }
    }
  }
}

TEST_F(CompleteTest, ARowWithoutLoadingsAmongOthersIsPlacedAndTheOthersAreCorrected) {
  for (const KeyRowFormat& format : Formats()) {
    Work work(format, 5, 3, kChunkRows, Where::kInOneRun);
    for (const std::size_t row : {0u, 1u, 7u, 9u, 22u, 23u}) {
      std::fill_n(work.loadings.begin() + static_cast<std::ptrdiff_t>(3 * row), 3, 0.0F);
      std::fill_n(work.loadings.begin() + static_cast<std::ptrdiff_t>(3 * (kChunkRows + row)), 3,
                  0.0F);
      std::memset(work.stored_values() + row * format.row_bytes(), 0xFF, format.row_bytes());
    }
    const auto expected = work.Run(CompleteRowsReference);
    OnEveryTarget([&] { ASSERT_TRUE(work.Run(CompleteRows) == expected) << Describe(format); });
  }
}

// One of its planes alone has loadings: the other one's bytes stay as they are in value, whatever
// they pass through.
TEST_F(CompleteTest, LoadingsOfKeysAloneLeaveValuesAndTheOtherWayRound) {
  for (const bool keys : {true, false}) {
    for (const KeyRowFormat& format : Formats()) {
      for (const Where where : {Where::kInOneRun, Where::kTransposed}) {
        Work work(format, 5, 3, kChunkRows, where), none(format, 5, 3, kChunkRows, where);
        const auto half = static_cast<std::ptrdiff_t>(work.loadings.size() / 2);
        std::fill_n(work.loadings.begin() + (keys ? half : 0), half, 0.0F);
        std::fill(none.loadings.begin(), none.loadings.end(), 0.0F);
        const auto expected = work.Run(CompleteRowsReference);
        const auto placed = none.Run(CompleteRowsReference);
        const auto middle = static_cast<std::ptrdiff_t>(placed.size() / 2);
        EXPECT_EQ(std::equal(placed.begin(), placed.begin() + middle, expected.begin()), !keys);
        EXPECT_EQ(std::equal(placed.begin() + middle, placed.end(), expected.begin() + middle),
                  keys)
            << Describe(format);
        OnEveryTarget([&] { ASSERT_TRUE(work.Run(CompleteRows) == expected) << Describe(format); });
      }
    }
  }
}

TEST_F(CompleteTest, NanInfinityZeroAndSubnormalPassAsInTheReference) {
  using Limits = std::numeric_limits<float>;
  for (const KeyRowFormat& format : Formats()) {
    for (const std::int64_t delta : {0, -4097}) {
      Work work(format, delta, 2, kChunkRows, Where::kInOneRun);
      const std::size_t bytes = ElementBytes(format.type);
      const float specials[] = {Limits::infinity(),
                                -Limits::infinity(),
                                0.0F,
                                -0.0F,
                                Limits::denorm_min(),
                                0x1p-24F,
                                65504,
                                -65504,
                                Limits::max(),
                                Limits::quiet_NaN(),
                                -1e-7F};
      std::mt19937 random(kSeed);
      for (std::size_t i = 0; i < kChunkRows * work.rows.row_elements(); i += 3) {
        for (std::byte* plane : {work.stored_keys(), work.stored_values()}) {
          const auto bits = static_cast<std::uint32_t>(random());
          std::memcpy(plane + i * bytes, &bits, bytes);
          if (i == 0) continue;
          WriteElement(format.type, specials[i / 3 % std::size(specials)], plane + (i - 1) * bytes);
        }
      }
      // Corrections too small for the type, too large for it, and not numbers.
      work.gain[0] = 1e-30F;
      work.gain[work.rows.row_elements()] = Limits::max();
      work.gain[2 * work.rows.row_elements() - 1] = Limits::quiet_NaN();
      const auto expected = work.Run(CompleteRowsReference);
      OnEveryTarget([&] {
        ASSERT_TRUE(work.Run(CompleteRows) == expected) << Describe(format) << ", seed " << kSeed;
      });
    }
  }
}

TEST_F(CompleteTest, RankOneByHand) {
  for (const PairLayout layout : kLayouts) {
    const KeyRowFormat format{1, 2, 2, 0, layout, ElementType::kFp32};
    const float quarter = static_cast<float>(std::numbers::pi / 4);
    const RotationTable half_turn(std::span(&quarter, 1), 4);
    const RowRotations rotations(std::span(&quarter, 1), 3);
    const float keys[] = {0, 0, 0, 0, 3, 4};
    const float values[] = {0, 0, 0, 0, 1, 2};
    const float key_loadings[] = {9, 9, 0.5F};
    const float value_loadings[] = {9, 9, 0.25F};
    const float gain[] = {2, -1, 16, 12};
    const std::uint32_t row = 2;  // A quarter turn: (1, -0.5) becomes (0.5, 1).
    const std::uint32_t cell = 1;
    float key[4] = {7, 7, 7, 7};
    float value[4] = {7, 7, 7, 7};
    ChunkRows rows;
    rows.format = format;
    rows.stored_keys = reinterpret_cast<const std::byte*>(keys);
    rows.stored_values = reinterpret_cast<const std::byte*>(values);
    rows.rows = &row;
    rows.cells = &cell;
    rows.row_count = 1;
    rows.keys = reinterpret_cast<std::byte*>(key);
    rows.values = reinterpret_cast<std::byte*>(value);
    rows.key_stride_bytes = rows.value_stride_bytes = 8;
    rows.value_element_stride_bytes = 4;
    OnEveryTarget([&] {
      CompleteRows(half_turn, rotations, rows, {1, key_loadings, value_loadings, gain, 4});
      EXPECT_NEAR(key[2], -3.5F, 2e-6F);
      EXPECT_NEAR(key[3], -5.0F, 2e-6F);
      EXPECT_EQ(value[2], 5);
      EXPECT_EQ(value[3], 5);
      EXPECT_EQ(key[1], 7);
      EXPECT_EQ(value[1], 7);
      float residuals[4];
      MeasureResiduals(half_turn, rotations, rows, residuals);
      const float expected[] = {1, -0.5F, 4, 3};
      for (std::size_t e = 0; e < 4; ++e) EXPECT_NEAR(residuals[e], expected[e], 2e-6F);
    });
  }
}

// R(position) x of one head, in double.
std::vector<double> Turned(const KeyRowFormat& format, std::span<const float> omega,
                           std::vector<double> x, double position) {
  const std::size_t pair_count = format.rotary_dim / 2;
  for (std::size_t c = 0; c < pair_count; ++c) {
    const bool half_split = format.layout == PairLayout::kHalfSplit;
    double& a = x[format.rotary_offset + (half_split ? c : 2 * c)];
    double& b = x[format.rotary_offset + (half_split ? c + pair_count : 2 * c + 1)];
    const double angle = position * static_cast<double>(omega[c]);
    const double first = a;
    a = first * std::cos(angle) - b * std::sin(angle);
    b = first * std::sin(angle) + b * std::cos(angle);
  }
  return x;
}

TEST_F(CompleteTest, TheReferenceIsTheOtherFormOfTheFormulaWithinOneRounding) {
  constexpr double kUlp[] = {0x1p-11, 0x1p-8, 0x1p-23};
  constexpr std::uint32_t kRank = 16;
  constexpr std::int64_t kDelta = 1000;
  for (const KeyRowFormat& format : Formats()) {
    Work work(format, kDelta, kRank, kChunkRows, Where::kInOneRun);
    const auto cache = work.Run(CompleteRowsReference);
    const std::size_t element = ElementBytes(format.type);
    const std::size_t elements = work.rows.row_elements();
    const double ulp = kUlp[static_cast<std::size_t>(format.type)];
    const auto near = [&](double got, double truth, double norm) {
      return std::abs(got - truth) <= ulp * std::abs(truth) + 0x1p-19 * norm + 0x1p-25;
    };
    for (std::size_t row = 0; row < kChunkRows; ++row) {
      std::vector<double> correction;
      for (std::size_t e = 0; e < 2 * elements; ++e) correction.push_back(work.Correction(row, e));
      const std::byte* key = cache.data() + (17 + row) * format.row_bytes();
      const std::byte* value = key + cache.size() / 2;
      for (std::size_t head = 0; head < format.head_count; ++head) {
        const std::size_t begin = head * format.head_dim;
        std::vector<double> stored(format.head_dim), added(stored);
        for (std::size_t e = 0; e < format.head_dim; ++e) {
          const std::size_t at = (row * elements + begin + e) * element;
          stored[e] = ReadElement(format.type, work.stored_keys() + at);
          added[e] = correction[begin + e];
          const double truth = ReadElement(format.type, work.stored_values() + at) +
                               correction[elements + begin + e];
          EXPECT_TRUE(near(ReadElement(format.type, value + (begin + e) * element), truth, 64))
              << Describe(format);
        }
        stored = Turned(format, work.omega(), stored, static_cast<double>(kDelta));
        added = Turned(format, work.omega(), added,
                       static_cast<double>(kDelta) + static_cast<double>(row));
        for (std::size_t e = 0; e < format.head_dim; ++e) {
          const double got = ReadElement(format.type, key + (begin + e) * element);
          ASSERT_TRUE(near(got, stored[e] + added[e], 64))
              << Describe(format) << ", row " << row << ", element " << e << ": " << got << ", not "
              << stored[e] + added[e];
        }
      }
    }
  }
}

TEST_F(CompleteTest, EveryTargetMeasuresTheReferencesResiduals) {
  for (const KeyRowFormat& format : Formats()) {
    for (const Where where : kEverywhere) {
      Work work(format, -77, 4, 11, where);
      // One row's stored key and value are not numbers.
      std::memset(work.stored_keys() + format.row_bytes(), 0xFF, format.row_bytes());
      const std::size_t count = 11 * 2 * work.rows.row_elements();
      std::vector<float> expected(count), measured(count);
      work.Run([&](const auto& table, const auto& rotations, const auto& rows, const auto& update) {
        CompleteRowsReference(table, rotations, rows, update);
        MeasureResidualsReference(table, rotations, rows, expected.data());
        OnEveryTarget([&] {
          std::fill(measured.begin(), measured.end(), 1e9F);
          MeasureResiduals(table, rotations, rows, measured.data());
          ASSERT_EQ(std::memcmp(measured.data(), expected.data(), count * sizeof(float)), 0)
              << Describe(format) << ", place " << static_cast<int>(where);
        });
      });
    }
  }
}

TEST_F(CompleteTest, MeasuringGivesBackWhatWasAdded) {
  constexpr std::uint32_t kRank = 4;
  for (const KeyRowFormat& format : Formats()) {
    if (format.type != ElementType::kFp32) continue;
    Work work(format, 4096, kRank, kChunkRows, Where::kBackwards);
    const std::size_t columns = 2 * work.rows.row_elements();
    std::vector<float> residuals(kChunkRows * columns);
    work.Run([&](const auto& table, const auto& rotations, const auto& rows, const auto& update) {
      CompleteRows(table, rotations, rows, update);
      MeasureResiduals(table, rotations, rows, residuals.data());
    });
    for (std::size_t row = 0; row < kChunkRows; ++row) {
      for (std::size_t e = 0; e < columns; ++e) {
        ASSERT_NEAR(residuals[row * columns + e], work.Correction(row, e), 5e-5)
            << Describe(format);
      }
    }
  }
}

TEST_F(CompleteTest, AnglesOfARowAreThoseOfItsPosition) {
  const std::vector<float> omega = Omega(32, 5e5);
  const RowRotations rotations(omega, 300);
  for (const std::uint32_t row : {0u, 1u, 299u}) {
    const RotationTable table(omega, row);
    for (std::size_t c = 0; c < 32; ++c) {
      EXPECT_EQ(rotations.cos()[row * 32 + c], table.cos()[c]);
      EXPECT_EQ(rotations.sin()[row * 32 + c], table.sin()[c]);
    }
  }
}

TEST_F(CompleteTest, NoRowsIsNoWork) {
  Work work(Formats()[0], 1, 1, 0, Where::kInOneRun);
  for (const std::byte byte : work.Run(CompleteRows)) ASSERT_EQ(byte, std::byte{0xEE});
}

TEST_F(CompleteTest, RowsAndRanksOutOfRangeAreABug) {
  Work work({1, 16, 16, 0, PairLayout::kInterleaved, ElementType::kFp16}, 1, 1, 2,
            Where::kInOneRun);
  const auto with_rank = [](std::uint32_t rank) {
    return [rank](const auto& table, const auto& rotations, const auto& rows, auto update) {
      update.rank = rank;
      CompleteRows(table, rotations, rows, update);
    };
  };
  EXPECT_DEATH(work.Run(with_rank(0)), "rank");
  EXPECT_DEATH(work.Run(with_rank(kCompletionRankMax + 1)), "rank");
  work.update.gain_stride = 2 * work.rows.row_elements() - 1;
  EXPECT_DEATH(work.Run(CompleteRows), "gain_stride");
  work.update.gain_stride += 1;
  const std::uint32_t past_the_end[] = {0, kChunkRows};
  work.rows.rows = past_the_end;
  EXPECT_DEATH(work.Run(CompleteRows), "row_count");
}

}  // namespace
}  // namespace kvcommons
