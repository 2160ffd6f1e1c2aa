// A model's chat format around one user's message, by llama.cpp's templates.
//
// Thread safety: pure functions.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

// Text with control tokens in it.
struct ChatFrame {
  std::string before;  // up to the user's first word, the system prompt included
  std::string after;   // from the user's last word to where the assistant begins
};

// `name`: auto takes `model_template` (of the GGUF file; null: it has none, and the format is
// plain), plain uses no control tokens, none has nothing but the system prompt, any other is a name
// of llama.cpp's own. An empty `system`: no system message. kInvalidArgument: an unknown name (the
// message lists the known ones); kUnsupported: llama.cpp does not know the model's template, or the
// format has no place for a system prompt.
Result<ChatFrame> MakeChatFrame(const char* model_template, std::string_view name,
                                std::string_view system);

// What the model's template says where nobody gives a system prompt, for the ones that are known
// (llama.cpp does not run templates): SmolLM2's. Empty: nothing, or another model's.
std::string_view DefaultSystemOf(const char* model_template);

// A prompt's tokens behind those that prompts of the model begin with (Engine::PromptBegin()),
// unless they begin so already: some templates spell it out.
std::vector<TokenId> BehindPromptBegin(std::vector<TokenId> begin,
                                       const std::vector<TokenId>& tokens);

}  // namespace kvcommons
