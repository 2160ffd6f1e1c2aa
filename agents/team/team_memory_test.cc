// Rows corrected in one process beside numbers computed elsewhere: specs: KVCOMM §15, TV3 and TV7.

#include "agents/team/team_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace kvcommons {
namespace {

constexpr double kRounding = 2e-6;  // the vectors have six digits

// One head of two elements, turned by one radian a position.
class TeamMemoryTest : public testing::Test {
 protected:
  TeamMemoryTest() : memory_(Profile(), {}) {
    shape_.agent = "reader";
    shape_.reader.bytes[0] = 1;
    shape_.segments = {{1}, {2}};
    shape_.slots = {"text"};
  }

  static ModelProfile Profile() {
    ModelProfile profile;
    profile.layer_count = 2;
    profile.kv_head_count = 1;
    profile.head_dim = profile.rotary_dim = 2;
    profile.element_type = ElementType::kFp32;
    profile.omega = {1};
    return profile;
  }
  // `values`: [layer][K, V][row][element].
  static TeamRows Rows(std::uint32_t rows, Position origin, const std::vector<float>& values) {
    TeamRows made{rows, origin, std::vector<std::byte>(values.size() * sizeof(float))};
    std::memcpy(made.block.data(), values.data(), made.block.size());
    return made;
  }
  static SharedContent Content(std::uint8_t name, const TeamRows& rows) {
    auto content = std::make_shared<TeamContent>();
    content->key.bytes[0] = name;
    content->tokens.assign(rows.rows, name);
    content->base = rows;
    return content;
  }
  static std::vector<float> Values(const CorrectedRows& rows) {
    std::vector<float> values(rows.block.size() / sizeof(float));
    std::memcpy(values.data(), rows.block.data(), rows.block.size());
    return values;
  }
  static TeamRows Sum(const TeamRows& rows, const std::vector<float>& offsets) {
    std::vector<float> values(offsets.size());
    std::memcpy(values.data(), rows.block.data(), rows.block.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += offsets[i];
    return Rows(rows.rows, rows.origin, values);
  }
  static void ExpectNear(const std::vector<float>& got, const std::vector<float>& expected) {
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], kRounding) << i;
  }

  TeamMemory memory_;
  TeamTemplate shape_;
};

TEST_F(TeamMemoryTest, ThePublishedBlendGivesItsTestVector) {
  const TeamRows text = Rows(1, 0, {1, 1, .3F, .3F, 0, 2, -.2F, .5F});
  memory_.PutText(shape_, {text});
  const SharedContent first =
      Content(1, Rows(3, 0, {1,   .2F, 0,   .8F,  .3F, .3F, .1F, 0,   .5F,  .1F, .7F, .7F,
                             .4F, .5F, .9F, -.7F, .1F, .1F, .2F, .5F, -.1F, .2F, .3F, -.3F}));
  const SharedContent second = Content(2, Rows(2, 0,
                                               {0, 1, 1, 0, .2F, .5F, -.2F, .3F,  //
                                                -.5F, .5F, 1, 1, 0, .1F, .3F, .3F}));
  const auto learn = [&](const SharedContent& content, const std::vector<float>& offsets,
                         const std::vector<float>& text_offsets) {
    const Status status =
        memory_.Deposit(shape_, 0, content, Sum(content->base, offsets), Sum(text, text_offsets));
    ASSERT_TRUE(status.ok()) << status.ToString();
  };
  learn(first, {0,   0,    0,   0,   0,   0,   0,    0,    0,     0,    0,   0,
                .1F, -.2F, .3F, .1F, .5F, .5F, .01F, .02F, -.03F, .04F, .9F, .9F},
        {0, 0, 0, 0, .2F, -.1F, .05F, -.02F});
  learn(second,
        {0, 0, 0, 0, 0, 0, 0, 0,  //
         -.3F, .4F, .2F, -.6F, .06F, -.08F, .02F, .02F},
        {0, 0, 0, 0, -.4F, .3F, .01F, .07F});

  const SharedContent content = Content(3, Rows(2, 0,
                                                {1, 0, 0, 1, .2F, -.1F, .4F, .3F,  //
                                                 .5F, .5F, 1, -1, .1F, .6F, -.3F, .2F}));
  const SlotPlacement here{};
  const CorrectedRows rows =
      memory_.SlotRows(shape_, 0, *content, here, SlotCorrection::kPublishedAnchors);
  EXPECT_EQ(rows.corrected, 2u);
  ExpectNear(Values(rows), {1, 0, 0, 1, .2F, -.1F, .4F, .3F,              // layer 0 stays
                            0.465049F, 0.502427F, 1.270057F, -1.109603F,  //
                            0.132508F, 0.574983F, -0.307492F, 0.230997F});
  ExpectNear(Values(memory_.TextRows(shape_, 0, *content, here, SlotCorrection::kPublishedAnchors)),
             {1, 1, .3F, .3F, -0.097733F, 2.063212F, -0.170242F, 0.527930F});
}

// What was measured at position 5 and is used at 8: TV7.
class MeasuredElsewhere : public TeamMemoryTest {
 protected:
  static constexpr float kDeltaAt5[] = {-0.163419F, -0.152625F};

  void SetUp() override {
    const TeamRows nothing = Rows(1, 5, std::vector<float>(8));
    memory_.PutText(shape_, {nothing});
    for (const std::uint8_t name : {std::uint8_t{1}, std::uint8_t{2}}) {
      const TeamRows dense =
          Rows(1, 5, {0, 0, 0, 0, kDeltaAt5[0], kDeltaAt5[1], 0.25F, name * 1.0F});
      ASSERT_TRUE(memory_.Deposit(shape_, 0, Content(name, nothing), dense, dense).ok());
    }
  }
  std::vector<float> KeyAt8(bool of_text, SlotCorrection correction, std::uint8_t name = 3) {
    const SharedContent content = Content(name, Rows(1, 0, std::vector<float>(8)));
    const SlotPlacement placed{8, 8, 8, 3};
    const auto rows = of_text ? memory_.TextRows(shape_, 0, *content, placed, correction)
                              : memory_.SlotRows(shape_, 0, *content, placed, correction);
    EXPECT_EQ(rows.corrected, 1u);
    const std::vector<float> values = Values(rows);
    return {values.begin() + 4, values.end()};
  }
};

TEST_F(MeasuredElsewhere, ThePublishedBlendAddsOffsetsAsTheyWereMeasured) {
  for (const bool of_text : {false, true}) {
    ExpectNear(KeyAt8(of_text, SlotCorrection::kPublishedAnchors),
               {kDeltaAt5[0], kDeltaAt5[1], 0.25F, 1.5F});
  }
}

TEST_F(MeasuredElsewhere, OursTurnsThemToWhereTheRowsAre) {
  for (const auto correction : {SlotCorrection::kAnchors, SlotCorrection::kMean}) {
    for (const bool of_text : {false, true}) {
      ExpectNear(KeyAt8(of_text, correction), {0.183322F, 0.128036F, 0.25F, 1.5F});
    }
  }
}

TEST_F(MeasuredElsewhere, AContentThatComesAgainIsBlendedFromAllWhereThatWasPublished) {
  EXPECT_NEAR(KeyAt8(false, SlotCorrection::kAnchors, 2)[3], 2, kRounding);
  EXPECT_NEAR(KeyAt8(false, SlotCorrection::kPublishedAnchors, 2)[3], 1.5, kRounding);
}

TEST_F(TeamMemoryTest, AContentThatComesAgainNeedsNoOtherAnchor) {
  const TeamRows nothing = Rows(1, 0, std::vector<float>(8));
  memory_.PutText(shape_, {nothing});
  const SharedContent content = Content(1, nothing);
  const TeamRows dense = Rows(1, 0, {0, 0, 0, 0, 0, 0, 0.25F, 1});
  ASSERT_TRUE(memory_.Deposit(shape_, 0, content, dense, dense).ok());
  for (const auto correction : {SlotCorrection::kAnchors, SlotCorrection::kPublishedAnchors}) {
    const auto rows = memory_.SlotRows(shape_, 0, *content, {}, correction);
    EXPECT_EQ(rows.corrected, 1u);
    EXPECT_EQ(Values(rows)[7], 1);
    const auto other = memory_.SlotRows(shape_, 0, *Content(2, nothing), {}, correction);
    EXPECT_EQ(other.corrected, 0u);
  }
}

TEST_F(MeasuredElsewhere, TheTextsMeanIsTrustedAsFarAsItsOffsetsAgree) {
  // Values (0.25, 1) and (0.25, 2): the square of the mean is 2.3125, what is chance in it 0.25.
  const double trust = (2.3125 - 0.25) / 2.3125;
  EXPECT_NEAR(KeyAt8(true, SlotCorrection::kTrustedMean)[3], 1.5 * trust, kRounding);
}

}  // namespace
}  // namespace kvcommons
