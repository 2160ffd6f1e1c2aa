// Questions over documents of a library: a case as token ids, its documents named by a library's
// name or by their own text.
//
// Thread safety: a client's and an engine's.

#pragma once

#include <string>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "agents/rag/case_text.h"
#include "agents/rag/prompt_format.h"
#include "client/library.h"

namespace kvcommons {

struct DaemonCase {
  std::string id;
  std::vector<TokenId> prompt;  // system prompt, documents, question
  std::vector<PlanRequest::Chunk> chunks;
  std::vector<std::string> answers;
};

// With `put`, texts are put into the library, named by themselves. kNotFound: the library has no
// document of that name.
Result<DaemonCase> TokenizeDaemonCase(const Engine& engine, const PromptFormat& format,
                                      LibraryHandle& library, const CaseText& text, bool put);

}  // namespace kvcommons
