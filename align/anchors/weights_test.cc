// Gate, weights and blend together on specs: KVCOMM §15's TV2 and TV3, whose numbers were computed
// in double by another program.

#include "align/anchors/weights.h"

#include <gmock/gmock.h>

#include <cmath>

#include "align/anchors/share_gate.h"
#include "kernels/anchor_rows.h"

namespace kvcommons {
namespace {

using Plane = std::vector<float>;  // [token][dimension]

const std::byte* Bytes(const Plane& plane) {
  return reinterpret_cast<const std::byte*>(plane.data());
}

MATCHER(IsNearPair, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) < 2e-6; }

auto Are(const Plane& expected) { return testing::Pointwise(IsNearPair(), expected); }

constexpr KeyRowFormat kFormat{1, 2, 2, 0, PairLayout::kHalfSplit, ElementType::kFp32};

TEST(AnchorVectors, TheGateTakesDistancesToTheFirstRowsOfEveryAnchorThatIsLongEnough) {
  const Plane content{.2f, -.1f, .4f, .3f};
  const auto distance = [&](const Plane& anchor) {
    return std::sqrt(SquaredDistance(ElementType::kFp32, Bytes(content), Bytes(anchor), 4));
  };
  const Plane first{.1f, 0, .5f, .1f, 9, 9}, second{.2f, .5f, -.2f, .3f};
  EXPECT_NEAR(distance(first), 0.264575, 1e-6);
  EXPECT_NEAR(distance(second), 0.848528, 1e-6);
  const std::vector<double> distances{distance(first), distance(second)};
  EXPECT_EQ(DecideByDistances(distances, {}).reason, ShareReason::kSpread);
  EXPECT_NEAR(distance({.2f, -.1f, .4f, .2f}), 0.1, 1e-6);
  EXPECT_NEAR(distance({4.2f, -.1f, .4f, 3.3f}), 5, 1e-6);
  EXPECT_NEAR(distance({-3, 0, 2, -2}), 4.254409, 1e-6);
}

// TV3: two layers, a content of two tokens, text of one behind it, anchors of three and two tokens.
class BlendVector : public testing::Test {
 protected:
  static constexpr std::size_t kLayers = 2, kTokens = 2, kElements = 2;
  const std::vector<Plane> keys_{{1, 0, 0, 1}, {.5f, .5f, 1, -1}};
  const std::vector<Plane> values_{{.2f, -.1f, .4f, .3f}, {.1f, .6f, -.3f, .2f}};
  const std::vector<Plane> first_keys_{{1, .2f, 0, .8f, .3f, .3f}, {.4f, .5f, .9f, -.7f, .1f, .1f}};
  const std::vector<Plane> first_values_{{.1f, 0, .5f, .1f, .7f, .7f},
                                         {.2f, .5f, -.1f, .2f, .3f, -.3f}};
  const std::vector<Plane> second_keys_{{0, 1, 1, 0}, {-.5f, .5f, 1, 1}};
  const std::vector<Plane> second_values_{{.2f, .5f, -.2f, .3f}, {0, .1f, .3f, .3f}};

  std::vector<float> OfRows(const std::vector<Plane>& own, const std::vector<Plane>& first,
                            const std::vector<Plane>& second) const {
    std::vector<double> sums(2 * kTokens);
    for (std::size_t layer = 0; layer < kLayers; ++layer) {
      const ElementType type = ElementType::kFp32;
      AddRowDistances(type, Bytes(own[layer]), Bytes(first[layer]), kTokens, kElements, &sums[0]);
      AddRowDistances(type, Bytes(own[layer]), Bytes(second[layer]), kTokens, kElements,
                      &sums[kTokens]);
    }
    return RowWeights(sums, 2, kLayers * kElements);
  }

  // The last two rows of each; keys here are in one frame already.
  std::vector<float> OfElements(const Plane& own, const Plane& first, const Plane& second) const {
    std::vector<double> sums(2 * kElements);
    AddElementDistances(kFormat, nullptr, Bytes(own), Bytes(first) + kFormat.row_bytes(), kTokens,
                        &sums[0]);
    AddElementDistances(kFormat, nullptr, Bytes(own), Bytes(second), kTokens, &sums[kElements]);
    return ElementWeights(sums, 2);
  }

  static Plane Corrected(const Plane& base, std::size_t rows, const Plane& first,
                         const Plane& second, const std::vector<float>& weights, bool by_element) {
    Plane out(base.size());
    const std::vector<const std::byte*> offsets{Bytes(first), Bytes(second)};
    Blend({.format = kFormat,
           .base = Bytes(base),
           .out = reinterpret_cast<std::byte*>(out.data()),
           .rows = rows,
           .offset_type = ElementType::kFp32,
           .offsets = offsets,
           .weights = weights.data(),
           .weights_by_element = by_element});
    return out;
  }
};

TEST_F(BlendVector, RowsAreCorrectedByTheWeightsOfTheirNearness) {
  const std::vector<float> of_keys = OfRows(keys_, first_keys_, second_keys_);
  const std::vector<float> of_values = OfRows(values_, first_values_, second_values_);
  EXPECT_THAT(of_keys, Are({0.662622f, 0.700567f, 0.337378f, 0.299433f}));
  EXPECT_THAT(of_values, Are({0.549834f, 0.549834f, 0.450166f, 0.450166f}));
  EXPECT_THAT(Corrected(keys_[1], kTokens, {.1f, -.2f, .3f, .1f, .5f, .5f}, {-.3f, .4f, .2f, -.6f},
                        of_keys, false),
              Are({0.465049f, 0.502427f, 1.270057f, -1.109603f}));
  EXPECT_THAT(Corrected(values_[1], kTokens, {.01f, .02f, -.03f, .04f, .9f, .9f},
                        {.06f, -.08f, .02f, .02f}, of_values, false),
              Are({0.132508f, 0.574983f, -0.307492f, 0.230997f}));
}

TEST_F(BlendVector, TheTextBehindIsCorrectedChannelByChannel) {
  const auto of = [&](const std::vector<Plane>& own, const std::vector<Plane>& first,
                      const std::vector<Plane>& second, std::size_t layer) {
    std::vector<float> weights = OfElements(own[layer], first[layer], second[layer]);
    return weights;
  };
  const auto key_0 = of(keys_, first_keys_, second_keys_, 0);
  const auto key_1 = of(keys_, first_keys_, second_keys_, 1);
  const auto value_0 = of(values_, first_values_, second_values_, 0);
  const auto value_1 = of(values_, first_values_, second_values_, 1);
  EXPECT_THAT(std::vector(key_0.begin(), key_0.begin() + 2), Are({0.591503f, 0.586908f}));
  EXPECT_THAT(std::vector(key_1.begin(), key_1.begin() + 2), Are({0.503778f, 0.591971f}));
  EXPECT_THAT(std::vector(value_0.begin(), value_0.begin() + 2), Are({0.543821f, 0.538122f}));
  EXPECT_THAT(std::vector(value_1.begin(), value_1.begin() + 2), Are({0.493955f, 0.467444f}));
  EXPECT_THAT(Corrected({0, 2}, 1, {.2f, -.1f}, {-.4f, .3f}, key_1, true),
              Are({-0.097733f, 2.063212f}));
  EXPECT_THAT(Corrected({-.2f, .5f}, 1, {.05f, -.02f}, {.01f, .07f}, value_1, true),
              Are({-0.170242f, 0.527930f}));
}

// TV8: why the weights of channels are applied before the rotation.
TEST_F(BlendVector, WeightsOfChannelsAreAppliedInTheLocalFrame) {
  const RotationTable one(std::vector<float>{1}, 1);
  const Plane nothing{0, 0}, offset{1, 1};
  const std::vector<float> weights{.9f, .1f};
  const std::byte* const plane = Bytes(offset);
  Plane out(2);
  Blend({.format = kFormat,
         .move = &one,
         .start = &one,
         .base = Bytes(nothing),
         .out = reinterpret_cast<std::byte*>(out.data()),
         .rows = 1,
         .offset_type = ElementType::kFp32,
         .offsets = {&plane, 1},
         .weights = weights.data(),
         .weights_by_element = true});
  EXPECT_THAT(out, Are({0.402125f, 0.811354f}));
  // The other way round it is another row.
  RotateRows(kFormat, one, Bytes(offset), reinterpret_cast<std::byte*>(out.data()), 1,
             kFormat.row_bytes());
  EXPECT_THAT((Plane{weights[0] * out[0], weights[1] * out[1]}), Are({-0.271052f, 0.138177f}));
}

// Anchors are a set: another order changes nothing but rounding.
TEST_F(BlendVector, TheOrderOfAnchorsDoesNotMatter) {
  const std::vector<float> weights = OfRows(keys_, first_keys_, second_keys_);
  const std::vector<float> swapped{weights[2], weights[3], weights[0], weights[1]};
  const Plane first{.1f, -.2f, .3f, .1f}, second{-.3f, .4f, .2f, -.6f};
  EXPECT_THAT(Corrected(keys_[1], kTokens, second, first, swapped, false),
              Are(Corrected(keys_[1], kTokens, first, second, weights, false)));
}

}  // namespace
}  // namespace kvcommons
