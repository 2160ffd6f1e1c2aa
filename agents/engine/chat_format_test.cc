#include "agents/engine/chat_format.h"

#include <gtest/gtest.h>
#include <llama.h>

#include <vector>

namespace kvcommons {
namespace {

TEST(ChatFormat, FollowsTheModelsOwnTemplate) {
  const auto frame = MakeChatFrame("{{ '<|im_start|>' + message['role'] }}", "auto", "Be brief.");
  ASSERT_TRUE(frame) << frame.error().ToString();
  EXPECT_EQ(frame->before, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n");
  EXPECT_EQ(frame->after, "<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatFormat, ANameGoesBeforeTheModelsTemplate) {
  const auto frame = MakeChatFrame("{{ '<|im_start|>' }}", "llama3", "Be brief.");
  ASSERT_TRUE(frame) << frame.error().ToString();
  EXPECT_NE(frame->before.find("<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"),
            std::string::npos)
      << frame->before;
  EXPECT_EQ(frame->before.find("<|im_start|>"), std::string::npos);
  EXPECT_NE(frame->after.find("assistant"), std::string::npos) << frame->after;
}

TEST(ChatFormat, WithoutASystemPromptThereIsNoSystemMessage) {
  const auto frame = MakeChatFrame(nullptr, "chatml", "");
  ASSERT_TRUE(frame) << frame.error().ToString();
  EXPECT_EQ(frame->before, "<|im_start|>user\n");
}

TEST(ChatFormat, AModelWithoutATemplateGetsPlainText) {
  for (const char* name : {"auto", "plain"}) {
    const auto frame = MakeChatFrame(nullptr, name, "Be brief.");
    ASSERT_TRUE(frame) << frame.error().ToString();
    EXPECT_EQ(frame->before, "Be brief.\n\n");
    EXPECT_EQ(frame->after, "\n\nAnswer:");
  }
  EXPECT_EQ(MakeChatFrame("{{ '<|im_start|>' }}", "plain", "")->before, "");
}

TEST(ChatFormat, ASystemPromptThatSpellsTheMarkStaysWhole) {
  const auto frame = MakeChatFrame(nullptr, "chatml", "a <<kvcommons>> b");
  ASSERT_TRUE(frame) << frame.error().ToString();
  EXPECT_EQ(frame->before, "<|im_start|>system\na <<kvcommons>> b<|im_end|>\n<|im_start|>user\n");
}

TEST(ChatFormat, ASystemPromptIsNeverDroppedSilently) {
  EXPECT_TRUE(MakeChatFrame(nullptr, "yandex", ""));
  const auto dropped = MakeChatFrame(nullptr, "yandex", "Be brief.");
  ASSERT_FALSE(dropped);
  EXPECT_EQ(dropped.error().code(), Code::kUnsupported);
  EXPECT_NE(dropped.error().message().find("--instruction"), std::string::npos);
  EXPECT_TRUE(MakeChatFrame(nullptr, "llama3", " Be brief.\n")) << "templates trim";
}

TEST(ChatFormat, EveryFormatThatLlamaCppHasTakesAUsersMessageAlone) {
  std::vector<const char*> names(
      static_cast<std::size_t>(llama_chat_builtin_templates(nullptr, 0)));
  llama_chat_builtin_templates(names.data(), names.size());
  ASSERT_GT(names.size(), 10U);
  for (const char* name : names) {
    const auto frame = MakeChatFrame(nullptr, name, "");
    EXPECT_TRUE(frame) << name << ": " << frame.error().ToString();
  }
}

TEST(ChatFormat, OnlyAKnownTemplateHasASystemPromptOfItsOwn) {
  EXPECT_EQ(DefaultSystemOf(nullptr), "");
  EXPECT_EQ(DefaultSystemOf("{{ '<|im_start|>' }}"), "");
  EXPECT_EQ(DefaultSystemOf("{{ 'You are a helpful AI assistant named SmolLM, trained by Hugging "
                            "Face<|im_end|>' }}"),
            "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
}

TEST(ChatFormat, WhatIsUnknownIsRefusedWithWhatIsKnown) {
  const auto name = MakeChatFrame(nullptr, "chatnl", "");
  ASSERT_FALSE(name);
  EXPECT_EQ(name.error().code(), Code::kInvalidArgument);
  EXPECT_NE(name.error().message().find("chatml"), std::string::npos) << name.error().message();
  EXPECT_NE(name.error().message().find("plain"), std::string::npos);
  const auto own = MakeChatFrame("{{ something(else) }}", "auto", "");
  ASSERT_FALSE(own);
  EXPECT_EQ(own.error().code(), Code::kUnsupported);
  EXPECT_NE(own.error().message().find("--chat"), std::string::npos);
}

TEST(ChatFormat, ABeginningThatATemplateSpellsOutComesOnce) {
  const std::vector<TokenId> text = {7, 8}, spelled = {1, 7, 8};
  EXPECT_EQ(BehindPromptBegin({1}, text), spelled);
  EXPECT_EQ(BehindPromptBegin({1}, spelled), spelled);
  EXPECT_EQ(BehindPromptBegin({}, text), text);
  EXPECT_EQ(BehindPromptBegin({1}, {}), std::vector<TokenId>{1});
}

TEST(ChatFormat, NoneHasNothingButTheSystemPrompt) {
  const auto frame = MakeChatFrame("{{ messages }}", "none", "");
  ASSERT_TRUE(frame);
  EXPECT_EQ(frame->before, "");
  EXPECT_EQ(frame->after, "");
  EXPECT_EQ(MakeChatFrame(nullptr, "none", "You plan. ")->before, "You plan. ");
}

}  // namespace
}  // namespace kvcommons
