// Rows as a plan's slots get them, without the wire: specs: KVCOMM §15's TV3, whose keys are local,
// out of blocks of the store that stand elsewhere (D3), and contents of more than one block.

#include "daemon/team_blend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "daemon/model_testing.h"

namespace kvcommons {
namespace {

using Floats = std::vector<float>;

MATCHER(IsNearPair, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) < 4e-6; }
auto Are(const Floats& expected) { return testing::Pointwise(IsNearPair(), expected); }

// Two layers, one head of two elements that turn by a radian a position.
class TeamBlendTest : public testing::Test {
 protected:
  TeamBlendTest() {
    Store::Options options;
    options.arena_bytes = 64 * kMiB;
    options.clock = &clock_;
    store_ = Store::Open(std::move(options)).value();
    const auto small = SmallModel(*store_, 1, 1000);
    ModelProfile profile = small->profile;
    profile.layer_count = 2;
    profile.head_dim = profile.rotary_dim = 2;
    profile.element_type = ElementType::kFp32;
    profile.omega = {1};
    GateReport gate;
    gate.passed = true;
    model_ = std::make_shared<const OpenedModel>(small->tenant, profile, gate,
                                                 store_->SecretOf(small->tenant.domain).value());
  }

  // Rows from `origin` on as blocks, keys turned there; planes of [row][element] that are local.
  std::vector<PinnedBlock> Blocks(const std::vector<Floats>& planes, Position origin) {
    const std::size_t rows = planes.front().size() / 2, most = model_->profile.block_tokens;
    std::vector<PinnedBlock> pins;
    for (std::size_t begin = 0; begin < rows; begin += most) {
      const std::size_t count = std::min(most, rows - begin);
      Store::PutItem item;
      BlockRecord& record = item.record;
      record.tokens.assign(count, 1);
      record.key = FreshTeamKey(model_->hasher);
      record.fingerprint = model_->fingerprint;
      record.domain = model_->tenant.domain;
      record.storage_class = StorageClass::kTeam;
      record.origin = origin + static_cast<Position>(begin);
      record.planes = model_->planes;
      Floats bytes;
      for (std::size_t plane = 0; plane < planes.size(); ++plane) {
        Floats part(planes[plane].begin() + static_cast<std::ptrdiff_t>(2 * begin),
                    planes[plane].begin() + static_cast<std::ptrdiff_t>(2 * (begin + count)));
        if (plane % 2 == 0) part = Turned(part, origin);
        bytes.insert(bytes.end(), part.begin(), part.end());
      }
      item.planes = reinterpret_cast<const std::byte*>(bytes.data());
      const BlockKey key = record.key;
      EXPECT_TRUE(store_->Put(model_->tenant.domain, {&item, 1}, Ack::kHeld));
      pins.push_back(std::move(*store_->Pin(model_->tenant.domain, key).value()));
    }
    return pins;
  }

  Floats Turned(const Floats& rows, Position by) const {
    Floats turned(rows.size());
    RotateRows(model_->profile.key_row(), RotationTable(model_->profile.omega, by),
               reinterpret_cast<const std::byte*>(rows.data()),
               reinterpret_cast<std::byte*>(turned.data()), rows.size() / 2, 2 * sizeof(float));
    return turned;
  }

  // Planes of the block as the writer makes it at `begin`, keys turned back.
  std::vector<Floats> Written(const BaseRows& base, const SlotCorrections& corrections,
                              Position begin, std::size_t index) const {
    const SlotWriter writer(*model_, base, corrections, begin);
    const std::size_t rows = base.blocks[index].record().tokens.size();
    Floats bytes(model_->planes.BlockBytes(rows) / sizeof(float));
    writer.WriteBlock(index, reinterpret_cast<std::byte*>(bytes.data()));
    std::vector<Floats> planes;
    for (std::size_t plane = 0; plane < model_->planes.plane_count(); ++plane) {
      const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(plane * rows * 2);
      planes.emplace_back(first, first + static_cast<std::ptrdiff_t>(rows * 2));
      if (plane % 2 == 0) planes.back() = Turned(planes.back(), -begin);
    }
    return planes;
  }

  SystemClock clock_;
  std::unique_ptr<Store> store_;
  std::shared_ptr<const OpenedModel> model_;
};

TEST_F(TeamBlendTest, TheSpecsVectorComesOutWhereverTheContentStoodAndStands) {
  const std::vector<Floats> content{
      {1, 0, 0, 1}, {.2F, -.1F, .4F, .3F}, {.5F, .5F, 1, -1}, {.1F, .6F, -.3F, .2F}};
  AnchorPins anchors, offsets;
  anchors.push_back(Blocks({{1, .2F, 0, .8F, .3F, .3F},
                            {.1F, 0, .5F, .1F, .7F, .7F},
                            {.4F, .5F, .9F, -.7F, .1F, .1F},
                            {.2F, .5F, -.1F, .2F, .3F, -.3F}},
                           0));
  anchors.push_back(
      Blocks({{0, 1, 1, 0}, {.2F, .5F, -.2F, .3F}, {-.5F, .5F, 1, 1}, {0, .1F, .3F, .3F}}, 0));
  // Layer 0's are never added (D5), whatever they are.
  offsets.push_back(Blocks({Floats(6, 9),
                            Floats(6, 9),
                            {.1F, -.2F, .3F, .1F, .5F, .5F},
                            {.01F, .02F, -.03F, .04F, .9F, .9F}},
                           0));
  offsets.push_back(
      Blocks({Floats(4, 9), Floats(4, 9), {-.3F, .4F, .2F, -.6F}, {.06F, -.08F, .02F, .02F}}, 0));
  BaseRows base;
  base.origin = 7;
  base.blocks = Blocks(content, base.origin);
  SlotCorrections corrections;
  corrections.weights = WeighAnchors(*model_, base, anchors);
  EXPECT_THAT(corrections.weights.keys, Are({0.662622F, 0.700567F, 0.337378F, 0.299433F}));
  EXPECT_THAT(corrections.weights.values, Are({0.549834F, 0.549834F, 0.450166F, 0.450166F}));
  corrections.offsets = {{&offsets[0][0], &offsets[1][0]}};
  for (const Position begin : {0, 11}) {
    const auto planes = Written(base, corrections, begin, 0);
    EXPECT_THAT(planes[0], Are(content[0]));
    EXPECT_THAT(planes[1], Are(content[1]));
    EXPECT_THAT(planes[2], Are({0.465049F, 0.502427F, 1.270057F, -1.109603F}));
    EXPECT_THAT(planes[3], Are({0.132508F, 0.574983F, -0.307492F, 0.230997F}));
  }
}

TEST_F(TeamBlendTest, RowsOfEveryBlockGetTheirOwnOffsetsAndWeights) {
  constexpr std::size_t kRows = 18;  // 16 and 2
  std::vector<Floats> content(4, Floats(2 * kRows)), first(content), second(content);
  for (std::size_t i = 0; i < 2 * kRows; ++i) {
    for (std::size_t plane = 2; plane < 4; ++plane) {
      first[plane][i] = static_cast<float>(i / 2);
      second[plane][i] = -static_cast<float>(i / 2);
    }
  }
  BaseRows base;
  base.blocks = Blocks(content, 0);
  const auto one = Blocks(first, 0), other = Blocks(second, 0);
  SlotCorrections corrections;
  // Row r counts r ÷ 100 of the first, nothing of the second.
  for (std::size_t row = 0; row < kRows; ++row) {
    corrections.weights.keys.push_back(static_cast<float>(row) / 100);
  }
  corrections.weights.keys.resize(2 * kRows);
  corrections.weights.values = corrections.weights.keys;
  corrections.offsets = {{one.data(), other.data()}, {&one[1], &other[1]}};
  const auto planes = Written(base, corrections, 0, 1);
  for (std::size_t plane = 2; plane < 4; ++plane) {
    EXPECT_THAT(planes[plane], Are({2.56F, 2.56F, 2.89F, 2.89F}));
  }
}

}  // namespace
}  // namespace kvcommons
