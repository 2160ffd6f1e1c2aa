// What stands around the passages of a prompt: the model's chat format, the application's system
// prompt and instruction, and how a passage and a question begin.
//
// Guarantee: text of passages and questions never becomes control tokens, whatever it spells.
// Opening, passages and question are tokenized apart, so that a prompt is a concatenation of token
// ids (specs: selective recompute §1.2).
//
// Trap: the opening is part of what a library's documents are put behind (library_prefaces.h). A
// changed word of it names another library, whose documents are prepared anew.
//
// Thread safety: Of() is the engine's; afterwards reading only, but for the tokenizer's own rules.

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/llama_engine.h"

namespace kvcommons {

// As an application writes it; the defaults are what docs/fidelity.md is measured with.
struct PromptText {
  std::optional<std::string> system;  // unset: what the model's template has where nobody gives one
  std::string instruction =
      "Read the passages, then answer the question at the end in one or two full sentences, naming "
      "the facts you used.";
  // auto: of the GGUF file, or plain where it has none; plain: no control tokens; otherwise a name
  // that llama.cpp has: chatml, llama3, gemma ...
  std::string chat = "auto";

  static constexpr std::size_t kMaxBytes = 1U << 20;  // of the system prompt, of the instruction

  friend bool operator==(const PromptText&, const PromptText&) = default;
};

class PromptFormat {
 public:
  // kInvalidArgument: too long (in bytes, or for the context), nothing before the first passage, an
  // unknown name. kUnsupported: a template in the GGUF file that llama.cpp does not know, or one
  // without a place for a system prompt.
  static Result<PromptFormat> Of(const Engine& engine, const PromptText& text);

  // Up to the first passage: system prompt, beginning of the user's message, instruction.
  const std::vector<TokenId>& opening() const { return opening_; }
  // A passage as a chunk, not cut. kInvalidArgument: it is empty.
  Result<std::vector<TokenId>> Passage(const Engine& engine, std::string_view text) const;
  // From the question to where the assistant begins.
  Result<std::vector<TokenId>> Question(const Engine& engine, std::string_view text) const;
  // Four tokens that only take up the attention: what the published systems start from.
  static Result<std::vector<TokenId>> Sinks(const Engine& engine);

 private:
  std::vector<TokenId> opening_, closing_;
};

}  // namespace kvcommons
