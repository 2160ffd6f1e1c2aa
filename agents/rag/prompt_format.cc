#include "agents/rag/prompt_format.h"

#include <utility>

namespace kvcommons {
namespace {

constexpr std::string_view kSinks = "\n\n\n\n";

Status CheckBytes(const char* field, const std::string& text) {
  if (text.size() <= PromptText::kMaxBytes) return Status();
  return InvalidArgument(std::string(field) + " has " + std::to_string(text.size()) +
                         " bytes; the limit is " + std::to_string(PromptText::kMaxBytes));
}

}  // namespace

Result<PromptFormat> PromptFormat::Of(const Engine& engine, const PromptText& text) {
  KVC_FAIL_IF_ERROR(CheckBytes("--system", text.system.value_or("")));
  KVC_FAIL_IF_ERROR(CheckBytes("--instruction", text.instruction));
  std::optional<std::string_view> system;
  if (text.system) system = *text.system;
  const auto frame = engine.FormatChat(text.chat, system);
  if (!frame) return Fail(frame.error());
  const std::string instruction = text.instruction.empty() ? "" : text.instruction + "\n\n";
  PromptFormat format;
  auto before = engine.Tokenize(frame->before + instruction, /*parse_special=*/true);
  if (!before) return Fail(before.error());
  auto after = engine.Tokenize(frame->after, true);
  if (!after) return Fail(after.error());
  format.opening_ = BehindPromptBegin(engine.PromptBegin(), *before);
  if (format.opening_.empty()) {
    return Fail(InvalidArgument(
        "nothing stands before the first passage; give --system or --instruction: canonical rows "
        "are made behind it"));
  }
  format.closing_ = std::move(*after);
  const std::size_t tokens = format.opening_.size() + format.closing_.size();
  if (tokens >= engine.context_tokens()) {
    return Fail(InvalidArgument("--system and --instruction are " + std::to_string(tokens) +
                                " tokens with the chat format; the limit is the context of " +
                                std::to_string(engine.context_tokens()) + ", see --context"));
  }
  return format;
}

Result<std::vector<TokenId>> PromptFormat::Passage(const Engine& engine,
                                                   std::string_view text) const {
  if (text.empty()) return Fail(InvalidArgument("the chunk is empty; it needs text"));
  return engine.Tokenize("Passage: " + std::string(text), false);
}

Result<std::vector<TokenId>> PromptFormat::Question(const Engine& engine,
                                                    std::string_view text) const {
  auto tokens = engine.Tokenize("\n\nQuestion: " + std::string(text), false);
  if (tokens) tokens->insert(tokens->end(), closing_.begin(), closing_.end());
  return tokens;
}

Result<std::vector<TokenId>> PromptFormat::Sinks(const Engine& engine) {
  return engine.Tokenize(kSinks, false);
}

}  // namespace kvcommons
