#include "agents/rag/daemon_cases.h"

#include <utility>

namespace kvcommons {
namespace {

Result<std::vector<TokenId>> NamedTokens(LibraryHandle& library, const std::string& what,
                                         const std::string& name) {
  auto document = library.Get(name);
  if (!document) return Fail(document.error());
  if (!*document) {
    return Fail(NotFound(what + " names document '" + name +
                         "', which the library does not have; kvcommons library ls lists them"));
  }
  return std::move((*document)->tokens);
}

}  // namespace

Result<DaemonCase> TokenizeDaemonCase(const Engine& engine, const PromptFormat& format,
                                      LibraryHandle& library, const CaseText& text, bool put) {
  DaemonCase result;
  result.id = text.id;
  result.answers = text.answers;
  auto tail = format.Question(engine, text.question);
  if (!tail) return Fail(tail.error());
  result.prompt = format.opening();
  for (std::size_t i = 0; i < text.chunks.size(); ++i) {
    const CaseText::Chunk& chunk = text.chunks[i];
    const std::string what = "case " + text.id + ": chunks[" + std::to_string(i) + "]";
    auto tokens = chunk.document.empty() ? format.Passage(engine, chunk.text)
                                         : NamedTokens(library, what, chunk.document);
    if (!tokens) return Fail(tokens.error());
    if (put && chunk.document.empty()) {
      if (const auto reply = library.Put("", *tokens); !reply) return Fail(reply.error());
    }
    const auto begin = static_cast<Position>(result.prompt.size());
    result.prompt.insert(result.prompt.end(), tokens->begin(), tokens->end());
    result.chunks.push_back({begin, static_cast<Position>(result.prompt.size())});
  }
  result.prompt.insert(result.prompt.end(), tail->begin(), tail->end());
  return result;
}

}  // namespace kvcommons
