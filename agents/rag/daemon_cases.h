// Questions over documents of a library: a case as token ids, its documents named by a library's
// name or by their own text.
//
// Thread safety: a client's and an engine's.

#pragma once

#include <string>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "client/library.h"

namespace kvcommons {

struct DaemonCase {
  static constexpr std::size_t kMaxDocuments = 256;

  std::string id;
  std::vector<TokenId> prompt;  // system prompt, documents, question
  std::vector<PlanRequest::Chunk> chunks;
};

// One line {"id", "chunks": [text | {"doc": name}, ...], "question"}. With `put`, texts are put
// into the library, named by themselves. kInvalidArgument names the case and what is wrong with it;
// kNotFound: the library has no document of that name.
Result<DaemonCase> ParseDaemonCase(const Engine& engine, LibraryHandle& library,
                                   const std::string& line, bool put);

}  // namespace kvcommons
