// Positions of contents and text (TV6 of specs: KVCOMM §15), and templates that are refused.

#include "align/anchors/prompt_template.h"

#include <gmock/gmock.h>

namespace kvcommons {
namespace {

using testing::HasSubstr;

PromptTemplate TwoSlots() { return {10, {{"question", 4, 5}, {"answer", 6, 3}}}; }

TEST(PromptTemplate, ContentsOfOtherLengthsThanTheMarkersMoveWhatIsBehindThem) {
  const std::vector<SlotContent> contents{{7, 3}, {2, 0}};
  const auto layout = LayOut(TwoSlots(), contents);
  ASSERT_TRUE(layout) << layout.error().ToString();
  EXPECT_EQ(layout->slots[0].content_begin, 10);
  EXPECT_EQ(layout->slots[0].content_shift, 7);
  EXPECT_EQ(layout->slots[0].segment_begin, 17);
  EXPECT_EQ(layout->slots[0].segment_shift, 3);
  EXPECT_EQ(layout->slots[1].content_begin, 22);
  EXPECT_EQ(layout->slots[1].content_shift, 22);
  EXPECT_EQ(layout->slots[1].segment_begin, 24);
  EXPECT_EQ(layout->slots[1].segment_shift, -1);
  EXPECT_EQ(layout->tokens, 27u);
}

TEST(PromptTemplate, AnEmptyContentLeavesNoGap) {
  const std::vector<SlotContent> contents{{0, 0}, {0, 0}};
  const auto layout = LayOut(TwoSlots(), contents);
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->slots[0].segment_begin, 10);
  EXPECT_EQ(layout->slots[0].segment_shift, -4);
  EXPECT_EQ(layout->tokens, 18u);
}

TEST(PromptTemplate, ContentsMustBeOneASlot) {
  const std::vector<SlotContent> one{{7, 3}};
  EXPECT_EQ(LayOut(TwoSlots(), one).error().message(), "contents are 1; the template has 2 slots");
}

TEST(PromptTemplate, APromptIsLimited) {
  constexpr std::uint32_t kMax = PromptTemplate::kMaxTokens;
  EXPECT_TRUE(LayOut(TwoSlots(), std::vector<SlotContent>{{kMax - 18, 0}, {0, 0}}));
  const auto layout = LayOut(TwoSlots(), std::vector<SlotContent>{{kMax - 18, 0}, {1, 0}});
  ASSERT_FALSE(layout);
  EXPECT_EQ(layout.error().message(),
            "tokens of the prompt up to slot 'answer' is 1048577; the "
            "limit is 0 to 1048576");
  EXPECT_TRUE(LayOut(TwoSlots(), std::vector<SlotContent>{{1, kMax}, {0, 0}}));
  const auto far = LayOut(TwoSlots(), std::vector<SlotContent>{{1, kMax + 1}, {0, 0}});
  ASSERT_FALSE(far);
  EXPECT_EQ(far.error().message(),
            "position of the rows of slot 'question' is 1048577; the limit is 0 to 1048576");
}

TEST(PromptTemplate, WhatWouldMisalignIsRefused) {
  const auto refusal = [](auto change) {
    PromptTemplate shape = TwoSlots();
    change(shape);
    const Status status = CheckTemplate(shape);
    return status.ok() ? "" : status.message();
  };
  using T = PromptTemplate;
  EXPECT_EQ(refusal([](T&) {}), "");
  EXPECT_THAT(refusal([](T& t) { t.slots.clear(); }), HasSubstr("number of slots is 0"));
  EXPECT_THAT(refusal([](T& t) { t.head_tokens = 0; }),
              HasSubstr("tokens before the first slot is 0; the limit is 1"));
  EXPECT_THAT(refusal([](T& t) { t.slots[0].segment_tokens = 0; }),
              HasSubstr("nothing stands behind slot 'question'"));
  EXPECT_THAT(refusal([](T& t) { t.slots[1].segment_tokens = 0; }),
              HasSubstr("nothing stands behind slot 'answer'"));
  EXPECT_THAT(refusal([](T& t) { t.slots[1].name = "question"; }),
              HasSubstr("slot 'question' is in the template twice"));
  EXPECT_EQ(refusal([](T& t) { t.slots[0].name.assign(T::kMaxSlotNameBytes, 'x'); }), "");
  EXPECT_THAT(refusal([](T& t) { t.slots[0].name.assign(T::kMaxSlotNameBytes + 1, 'x'); }),
              HasSubstr("bytes of a slot's name is 257; the limit is 1 to 256"));
  EXPECT_THAT(refusal([](T& t) { t.slots[0].name.clear(); }), HasSubstr("is 0; the limit is 1"));
  EXPECT_EQ(refusal([](T& t) { t.slots[0].marker_tokens = T::kMaxTokens - 24; }), "");
  EXPECT_THAT(refusal([](T& t) { t.slots[0].marker_tokens = T::kMaxTokens - 23; }),
              HasSubstr("tokens of the template is 1048577"));
  const auto with_slots = [](std::size_t count) {
    return [count](T& t) {
      t.slots.clear();
      for (std::size_t i = 0; i < count; ++i) t.slots.push_back({std::to_string(i), 1, 1});
    };
  };
  EXPECT_EQ(refusal(with_slots(T::kMaxSlots)), "");
  EXPECT_THAT(refusal(with_slots(T::kMaxSlots + 1)), HasSubstr("number of slots is 65"));
}

}  // namespace
}  // namespace kvcommons
