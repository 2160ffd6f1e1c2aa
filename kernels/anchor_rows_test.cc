// What these tests hold anchor_rows.h to: every implementation equals the reference bit for bit
// over one table of cases; the reference equals arithmetic in double; an offset that was measured
// gives the dense rows back at any place; the frames of specs: KVCOMM §15, TV7 and TV9.

#include "kernels/anchor_rows.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>
#include <limits>
#include <memory>

#include "kernels/test_rows.h"

namespace kvcommons {
namespace {

using testing::ElementsAre;
using testing::FloatNear;

std::size_t ElementsOf(const KeyRowFormat& format) {
  return std::size_t{format.head_count} * format.head_dim;
}

// `rows` rows that no other salt has.
std::unique_ptr<Buffer> Rows(const KeyRowFormat& format, std::size_t rows, unsigned salt,
                             float scale = 1) {
  auto buffer = std::make_unique<Buffer>(rows * format.row_bytes(), salt % 3 == 2 ? 4 : 0);
  std::mt19937 random(kSeed + salt);
  std::normal_distribution<float> normal(0, scale);
  for (std::size_t i = 0; i < rows * ElementsOf(format); ++i) {
    WriteElement(format.type, normal(random), buffer->data() + i * ElementBytes(format.type));
  }
  return buffer;
}

std::vector<float> Floats(std::size_t count, unsigned salt) {
  std::mt19937 random(kSeed + salt);
  std::uniform_real_distribution<float> some(0, 1);
  std::vector<float> floats(count);
  for (float& value : floats) value = some(random);
  return floats;
}

std::vector<std::byte> BytesOf(const std::vector<float>& values) {
  const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
  return {bytes, bytes + values.size() * sizeof(float)};
}

KeyRowFormat OneHead(ElementType type, std::uint32_t dim = 2) {
  return {1, dim, dim, 0, PairLayout::kHalfSplit, type};
}

class AnchorRowsTest : public testing::Test {
 protected:
  void TearDown() override { ForceRotateTarget(""); }
};

TEST_F(AnchorRowsTest, DistancesOfEveryTargetEqualTheReferences) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  for (const KeyRowFormat& format : Formats()) {
    for (const std::size_t rows : {std::size_t{1}, std::size_t{7}, std::size_t{45}}) {
      SCOPED_TRACE(Describe(format) + " rows " + std::to_string(rows));
      const auto a = Rows(format, rows, 1), b = Rows(format, rows, 2);
      const std::size_t elements = ElementsOf(format);
      const RotationTable table = TableFor(format, -17);
      const double squared =
          SquaredDistanceReference(format.type, a->data(), b->data(), rows * elements);
      std::vector<double> by_row(rows, 1.5), by_element(elements, 2.5), turned(elements, 0);
      AddRowDistancesReference(format.type, a->data(), b->data(), rows, elements, by_row.data());
      AddElementDistancesReference(format, nullptr, a->data(), b->data(), rows, by_element.data());
      AddElementDistancesReference(format, &table, a->data(), b->data(), rows, turned.data());
      OnEveryTarget([&] {
        EXPECT_EQ(SquaredDistance(format.type, a->data(), b->data(), rows * elements), squared);
        std::vector<double> row_sums(rows, 1.5), element_sums(elements, 2.5), turn(elements, 0);
        AddRowDistances(format.type, a->data(), b->data(), rows, elements, row_sums.data());
        AddElementDistances(format, nullptr, a->data(), b->data(), rows, element_sums.data());
        AddElementDistances(format, &table, a->data(), b->data(), rows, turn.data());
        EXPECT_EQ(row_sums, by_row);
        EXPECT_EQ(element_sums, by_element);
        EXPECT_EQ(turn, turned);
      });
    }
  }
}

TEST_F(AnchorRowsTest, SpansEndWhereTheReferencesDo) {
  for (const std::size_t count : {kDistanceSpan - 1, kDistanceSpan, kDistanceSpan + 1}) {
    for (const ElementType type : kTypes) {
      SCOPED_TRACE(std::string(ElementTypeName(type)) + " " + std::to_string(count));
      const KeyRowFormat one = {1, 2, 2, 0, PairLayout::kInterleaved, type};
      const auto a = Rows(one, 2 * count, 1), b = Rows(one, 2 * count, 2);
      const double squared = SquaredDistanceReference(type, a->data(), b->data(), count);
      std::vector<double> by_row(3), by_element(2);
      AddRowDistancesReference(type, a->data(), b->data(), 3, count, by_row.data());
      AddElementDistancesReference(one, nullptr, a->data(), b->data(), count, by_element.data());
      OnEveryTarget([&] {
        EXPECT_EQ(SquaredDistance(type, a->data(), b->data(), count), squared);
        std::vector<double> rows(3), elements(2);
        AddRowDistances(type, a->data(), b->data(), 3, count, rows.data());
        AddElementDistances(one, nullptr, a->data(), b->data(), count, elements.data());
        EXPECT_EQ(rows, by_row);
        EXPECT_EQ(elements, by_element);
      });
    }
  }
}

TEST_F(AnchorRowsTest, DistancesEqualArithmeticInDouble) {
  const KeyRowFormat format{8, 128, 128, 0, PairLayout::kHalfSplit, ElementType::kFp32};
  constexpr std::size_t kRows = 300;
  const auto a = Rows(format, kRows, 1), b = Rows(format, kRows, 2);
  const std::size_t elements = ElementsOf(format);
  double squared = 0;
  std::vector<double> by_row(kRows), by_element(elements);
  for (std::size_t i = 0; i < kRows * elements; ++i) {
    const double difference = double{ReadElement(format.type, a->data() + 4 * i)} -
                              double{ReadElement(format.type, b->data() + 4 * i)};
    squared += difference * difference;
    by_row[i / elements] += std::abs(difference);
    by_element[i % elements] += difference * difference;
  }
  EXPECT_NEAR(SquaredDistance(format.type, a->data(), b->data(), kRows * elements) / squared, 1,
              1e-6);
  std::vector<double> rows(kRows), columns(elements);
  AddRowDistances(format.type, a->data(), b->data(), kRows, elements, rows.data());
  AddElementDistances(format, nullptr, a->data(), b->data(), kRows, columns.data());
  for (std::size_t i = 0; i < kRows; ++i) EXPECT_NEAR(rows[i] / by_row[i], 1, 1e-6) << i;
  for (std::size_t e = 0; e < elements; ++e) {
    EXPECT_NEAR(columns[e] / by_element[e], 1, 1e-5) << e;
  }
}

TEST_F(AnchorRowsTest, BlendsOfEveryTargetEqualTheReference) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  constexpr std::size_t kRows = 21;
  std::size_t turn = 0;
  for (const KeyRowFormat& format : Formats()) {
    for (const std::size_t anchors : {std::size_t{1}, std::size_t{5}}) {
      ++turn;
      const std::size_t elements = ElementsOf(format);
      KeyRowFormat of_offsets = format;
      of_offsets.type = kTypes[turn % std::size(kTypes)];
      const bool by_element = turn % 2 == 0, is_key = turn % 3 != 0;
      SCOPED_TRACE(Describe(format) + " anchors " + std::to_string(anchors));
      const auto base = Rows(format, kRows, 1);
      std::vector<std::unique_ptr<Buffer>> planes;
      std::vector<const std::byte*> offsets;
      for (unsigned i = 0; i < anchors; ++i) {
        planes.push_back(Rows(of_offsets, kRows, 10 + i, 0.3f));
        offsets.push_back(planes.back()->data());
      }
      const std::vector<float> weights = Floats(anchors * std::max(kRows, elements), 3);
      const RotationTable move = TableFor(format, 812), start = TableFor(format, 1033);
      Buffer out(kRows * format.row_bytes());
      BlendRows job{.format = format,
                    .move = is_key ? &move : nullptr,
                    .start = is_key ? &start : nullptr,
                    .base = base->data(),
                    .out = out.data(),
                    .rows = kRows,
                    .offset_type = of_offsets.type,
                    .offsets = offsets,
                    .weights = weights.data(),
                    .weights_by_element = by_element};
      BlendReference(job);
      const std::vector<std::byte> expected = out.bytes();
      OnEveryTarget([&] {
        std::fill_n(out.data(), expected.size(), std::byte{0});
        Blend(job);
        EXPECT_EQ(out.bytes(), expected);
      });
    }
  }
}

TEST_F(AnchorRowsTest, OffsetsAndMeansOfEveryTargetEqualTheReferences) {
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  constexpr std::size_t kRows = 5;
  std::size_t turn = 0;
  for (const KeyRowFormat& format : Formats()) {
    const ElementType type = kTypes[++turn % std::size(kTypes)];
    SCOPED_TRACE(Describe(format) + " to " + std::string(ElementTypeName(type)));
    const std::size_t elements = kRows * ElementsOf(format);
    const auto dense = Rows(format, kRows, 1), base = Rows(format, kRows, 2);
    const RotationTable dense_shift = TableFor(format, -99), base_shift = TableFor(format, -3);
    const bool is_key = turn % 4 != 0;
    const OffsetRows job{format,
                         is_key ? &dense_shift : nullptr,
                         is_key ? &base_shift : nullptr,
                         dense->data(),
                         base->data(),
                         kRows};
    Buffer offsets(elements * ElementBytes(type));
    MeasureOffsetsReference(job, type, offsets.data());
    const std::vector<std::byte> expected = offsets.bytes();
    const std::vector<float> before = Floats(elements, 4);
    std::vector<float> expected_mean = before;
    AddToMeanReference(type, offsets.data(), elements, 0.125f, expected_mean.data());
    OnEveryTarget([&] {
      std::fill_n(offsets.data(), expected.size(), std::byte{0});
      MeasureOffsets(job, type, offsets.data());
      EXPECT_EQ(offsets.bytes(), expected);
      std::vector<float> mean = before;
      AddToMean(type, offsets.data(), elements, 0.125f, mean.data());
      EXPECT_EQ(BytesOf(mean), BytesOf(expected_mean));
    });
  }
}

TEST_F(AnchorRowsTest, NumbersThatAreNoneGiveTheOneQuietNan) {
  const KeyRowFormat format = OneHead(ElementType::kFp16, 64);
  const auto base = Rows(format, 2, 1), offset = Rows(format, 2, 2);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    WriteElement(format.type, bad, base->data() + 2 * 70);
    WriteElement(format.type, -bad, offset->data() + 2 * 70);
    const std::byte* const plane = offset->data();
    const std::vector<float> weights{0.5f, 0.5f};
    Buffer out(2 * format.row_bytes());
    const RotationTable table = TableFor(format, 8);
    const BlendRows job{.format = format,
                        .move = &table,
                        .start = &table,
                        .base = base->data(),
                        .out = out.data(),
                        .rows = 2,
                        .offset_type = format.type,
                        .offsets = {&plane, 1},
                        .weights = weights.data()};
    BlendReference(job);
    const std::vector<std::byte> expected = out.bytes();
    OnEveryTarget([&] {
      Blend(job);
      EXPECT_EQ(out.bytes(), expected);
    });
  }
}

// TV7: what was measured at one place is right at another only when it is turned there.
TEST_F(AnchorRowsTest, AnOffsetIsTurnedToWhereItIsUsed) {
  const std::vector<float> omega{1};
  const std::vector<float> nothing{0, 0}, local{.1f, -.2f}, one{1};
  const auto* plane = reinterpret_cast<const std::byte*>(local.data());
  const auto at = [&](std::int64_t position) {
    const RotationTable start(omega, position);
    std::vector<float> out(2);
    Blend({.format = OneHead(ElementType::kFp32),
           .move = &start,
           .start = &start,
           .base = reinterpret_cast<const std::byte*>(nothing.data()),
           .out = reinterpret_cast<std::byte*>(out.data()),
           .rows = 1,
           .offset_type = ElementType::kFp32,
           .offsets = {&plane, 1},
           .weights = one.data()});
    return out;
  };
  EXPECT_THAT(at(5), ElementsAre(FloatNear(-0.163419f, 1e-6f), FloatNear(-0.152625f, 1e-6f)));
  EXPECT_THAT(at(8), ElementsAre(FloatNear(0.183322f, 1e-6f), FloatNear(0.128036f, 1e-6f)));
}

// TV9: the same raw key at the end of a longer anchor is no distance away.
TEST_F(AnchorRowsTest, TheEndOfALongerAnchorIsMovedBeforeItIsCompared) {
  const std::vector<float> own{1, 0}, tail{-0.416147f, 0.909297f};
  const RotationTable shift(std::vector<float>{1}, -2);
  std::vector<double> sums(2);
  const auto add = [&](const RotationTable* table) {
    sums = {0, 0};
    AddElementDistances(OneHead(ElementType::kFp32), table,
                        reinterpret_cast<const std::byte*>(own.data()),
                        reinterpret_cast<const std::byte*>(tail.data()), 1, sums.data());
    return std::sqrt(sums[0]);
  };
  EXPECT_NEAR(add(&shift), 0, 1e-6);
  EXPECT_NEAR(add(nullptr), 1.416147, 1e-6);
}

// A deposit's offset, blended alone with weight 1, is the dense rows again, anywhere.
TEST_F(AnchorRowsTest, AMeasuredOffsetGivesTheDenseRowsBackAtAnyPlace) {
  constexpr std::size_t kRows = 6;
  for (const PairLayout layout : kLayouts) {
    const KeyRowFormat format{3, 64, 64, 0, layout, ElementType::kFp32};
    const auto base = Rows(format, kRows, 1), dense = Rows(format, kRows, 2);
    constexpr std::int64_t kBegin = 40, kBaseBegin = 7;
    const RotationTable back = TableFor(format, -kBegin), base_back = TableFor(format, -kBaseBegin);
    Buffer offsets(kRows * format.row_bytes()), out(kRows * format.row_bytes());
    MeasureOffsets({format, &back, &base_back, dense->data(), base->data(), kRows},
                   ElementType::kFp32, offsets.data());
    const std::byte* const plane = offsets.data();
    const std::vector<float> ones(kRows, 1);
    for (const std::int64_t begin : {kBegin, std::int64_t{0}, std::int64_t{900}}) {
      const RotationTable move = TableFor(format, begin - kBaseBegin);
      const RotationTable start = TableFor(format, begin);
      Blend({.format = format,
             .move = &move,
             .start = &start,
             .base = base->data(),
             .out = out.data(),
             .rows = kRows,
             .offset_type = ElementType::kFp32,
             .offsets = {&plane, 1},
             .weights = ones.data()});
      Buffer expected(kRows * format.row_bytes());
      RotateRowsReference(format, TableFor(format, begin - kBegin), dense->data(), expected.data(),
                          kRows, format.row_bytes());
      for (std::size_t i = 0; i < kRows * ElementsOf(format); ++i) {
        ASSERT_NEAR(ReadElement(format.type, out.data() + 4 * i),
                    ReadElement(format.type, expected.data() + 4 * i), 2e-6)
            << i << " at " << begin;
      }
    }
  }
}

TEST_F(AnchorRowsTest, ARunningMeanIsTheMean) {
  std::vector<float> mean(3);
  const std::vector<std::vector<float>> offsets{{1, 2, 3}, {3, 2, 1}, {5, 8, -1}};
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    AddToMean(ElementType::kFp32, reinterpret_cast<const std::byte*>(offsets[i].data()), 3,
              1.0f / static_cast<float>(i + 1), mean.data());
  }
  EXPECT_THAT(mean, ElementsAre(FloatNear(3, 1e-6f), FloatNear(4, 1e-6f), FloatNear(1, 1e-6f)));
}

TEST_F(AnchorRowsTest, AKeptMeanIsTheMeanOfItsOffsetsInEveryType) {
  for (const ElementType type : kTypes) {
    const std::size_t elements = 37;
    std::vector<std::byte> kept(elements * ElementBytes(type)), next(kept.size());
    std::vector<double> sums(elements);
    for (int n = 1; n <= 5; ++n) {
      std::vector<float> offsets(elements);
      for (std::size_t e = 0; e < elements; ++e) {
        offsets[e] =
            0.1F * static_cast<float>((e * 7 + static_cast<std::size_t>(n) * 3) % 11) - 0.5F;
        sums[e] += offsets[e];
      }
      MixIntoMean(type, n == 1 ? nullptr : kept.data(), offsets.data(), elements,
                  1.0F / static_cast<float>(n), next.data());
      kept = next;
    }
    const double tolerance = type == ElementType::kFp32   ? 1e-6
                             : type == ElementType::kFp16 ? 1e-3
                                                          : 8e-3;
    for (std::size_t e = 0; e < elements; ++e) {
      EXPECT_NEAR(ReadElement(type, kept.data() + e * ElementBytes(type)), sums[e] / 5, tolerance)
          << ElementTypeName(type) << " element " << e;
    }
  }
}

}  // namespace
}  // namespace kvcommons
