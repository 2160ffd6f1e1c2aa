// Questions over shared passages: a case as token ids, from a file of JSON lines or from a folder
// of real data.
//
// A chunk is tokenized alone, once. Thread safety: pure functions over an engine's tokenizer.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "agents/rag/case_text.h"
#include "agents/rag/prompt_format.h"

namespace kvcommons {

struct RagCase {
  std::string id, setting;
  std::vector<std::vector<TokenId>> chunks;   // in the prompt's order; at least 2
  std::vector<std::vector<TokenId>> related;  // retrieved with them, not in the prompt
  std::vector<TokenId> tail;                  // the question and what the answer follows
  std::vector<std::string> answers;
};

struct CaseLimits {
  std::uint32_t chunks_max = 0;    // further ones are left out; 0: none is
  std::uint32_t chunk_tokens = 0;  // longer chunks are cut; 0: none is
};

// kInvalidArgument names the case and what is wrong with it: fewer than two chunks, one named by a
// library's document.
Result<RagCase> TokenizeCase(const Engine& engine, const PromptFormat& format, const CaseText& text,
                             const CaseLimits& limits);

// The opening and `passages` neutral passages of at most `preface_tokens` each, `count` times,
// none of which shares a passage with another. kInvalidArgument: more than there are.
Result<std::vector<std::vector<TokenId>>> NeutralPrefaces(const Engine& engine,
                                                          const PromptFormat& format,
                                                          std::uint32_t count,
                                                          std::uint32_t passages,
                                                          std::uint32_t preface_tokens);

// Token overlap of an answer with the best of the right ones, 0 to 1, after the field's usual
// normalisation (lower case, no punctuation, no articles).
double AnswerF1(std::string_view answer, const std::vector<std::string>& right);
// Whether one of the right answers stands in it word for word.
bool AnswerContains(std::string_view answer, const std::vector<std::string>& right);

}  // namespace kvcommons
