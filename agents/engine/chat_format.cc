#include "agents/engine/chat_format.h"

#include <llama.h>

#include <algorithm>
#include <string>
#include <vector>

namespace kvcommons {
namespace {

// Stands for the user's message in a formatted chat. Templates trim spaces, so it has none.
constexpr std::string_view kMark = "<<kvcommons>>";

constexpr std::string_view kSmolLmSystem =
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

// Templates trim their messages.
std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
}

std::vector<std::string> KnownNames() {
  std::vector<const char*> names(
      static_cast<std::size_t>(std::max(0, llama_chat_builtin_templates(nullptr, 0))));
  llama_chat_builtin_templates(names.data(), names.size());
  return {names.begin(), names.end()};
}

ChatFrame Plain(std::string_view system) {
  return {.before = system.empty() ? "" : std::string(system) + "\n\n", .after = "\n\nAnswer:"};
}

}  // namespace

Result<ChatFrame> MakeChatFrame(const char* model_template, std::string_view name,
                                std::string_view system) {
  const bool is_auto = name == "auto";
  // For prompts that are the whole text themselves, and may begin another prompt.
  if (name == "none") return ChatFrame{.before = std::string(system), .after = ""};
  if (name == "plain" || (is_auto && model_template == nullptr)) return Plain(system);
  std::string text(name);
  if (is_auto) {
    text = model_template;
  } else if (const auto known = KnownNames();
             std::find(known.begin(), known.end(), name) == known.end()) {
    std::string list = "auto, plain, none";
    for (const std::string& one : known) list += ", " + one;
    return Fail(InvalidArgument("--chat is '" + text + "'; known are " + list));
  }

  const std::string system_text(system), mark(kMark);
  std::vector<llama_chat_message> messages;
  if (!system.empty()) messages.push_back({"system", system_text.c_str()});
  messages.push_back({"user", mark.c_str()});
  std::string chat;
  const auto apply = [&] {
    return llama_chat_apply_template(text.c_str(), messages.data(), messages.size(), true,
                                     chat.data(), static_cast<std::int32_t>(chat.size()));
  };
  std::int32_t bytes = apply();
  if (bytes > 0) {
    chat.resize(static_cast<std::size_t>(bytes));
    bytes = apply();
  }
  // The last one: a system prompt may spell it, too.
  const std::size_t at = chat.rfind(kMark);
  if (bytes <= 0 || at == std::string::npos) {
    return Fail(Unsupported(
        is_auto ? "llama.cpp does not know the chat template in the GGUF file; name one that fits "
                  "(--chat chatml), or use --chat plain"
                : "the chat template '" + text + "' leaves the user's message out"));
  }
  if (!system.empty() && chat.substr(0, at).find(Trimmed(system)) == std::string::npos) {
    return Fail(Unsupported("the chat template" + (is_auto ? "" : " '" + text + "'") +
                            " has no place for a system prompt; put it into --instruction, or use "
                            "--chat plain"));
  }
  return ChatFrame{.before = chat.substr(0, at), .after = chat.substr(at + kMark.size())};
}

std::string_view DefaultSystemOf(const char* model_template) {
  const bool is_smol =
      model_template != nullptr &&
      std::string_view(model_template).find(kSmolLmSystem) != std::string_view::npos;
  return is_smol ? kSmolLmSystem : "";
}

std::vector<TokenId> BehindPromptBegin(std::vector<TokenId> begin,
                                       const std::vector<TokenId>& tokens) {
  if (!begin.empty() && !tokens.empty() && tokens.front() == begin.front()) return tokens;
  begin.insert(begin.end(), tokens.begin(), tokens.end());
  return begin;
}

}  // namespace kvcommons
