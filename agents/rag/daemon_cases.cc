#include "agents/rag/daemon_cases.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "agents/rag/cases.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

std::string ChunkName(const std::string& id, std::size_t index) {
  return "case " + id + ": chunks[" + std::to_string(index) + "]";
}

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

Result<DaemonCase> ParseDaemonCase(const Engine& engine, LibraryHandle& library,
                                   const std::string& line, bool put) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("chunks") || !json["chunks"].is_array() ||
      !json.contains("question") || !json["question"].is_string()) {
    return Fail(InvalidArgument(R"(a case is no {"id", "chunks": [text | {"doc"}], "question"})"));
  }
  DaemonCase parsed;
  if (json.contains("id") && json["id"].is_string()) parsed.id = json["id"];
  const Json& chunks = json["chunks"];
  if (chunks.empty() || chunks.size() > DaemonCase::kMaxDocuments) {
    return Fail(InvalidArgument("case " + parsed.id + " has " + std::to_string(chunks.size()) +
                                " chunks; the limit is 1 to " +
                                std::to_string(DaemonCase::kMaxDocuments)));
  }
  const std::string question = json["question"];
  if (question.empty()) {
    return Fail(InvalidArgument("case " + parsed.id + ": the question is empty"));
  }
  auto system = SystemTokens(engine), tail = TailTokens(engine, question);
  if (!system) return Fail(system.error());
  if (!tail) return Fail(tail.error());
  parsed.prompt = std::move(*system);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const Json& chunk = chunks[i];
    const std::string what = ChunkName(parsed.id, i);
    Result<std::vector<TokenId>> tokens;
    if (chunk.is_string() && !chunk.get<std::string>().empty()) {
      tokens = ChunkTokens(engine, chunk.get<std::string>());
      if (tokens && put) {
        if (const auto reply = library.Put("", *tokens); !reply) return Fail(reply.error());
      }
    } else if (chunk.is_object() && chunk.contains("doc") && chunk["doc"].is_string()) {
      tokens = NamedTokens(library, what, chunk["doc"]);
    } else {
      return Fail(InvalidArgument(what + R"( is empty, or neither text nor {"doc": name})"));
    }
    if (!tokens) return Fail(tokens.error());
    const auto begin = static_cast<Position>(parsed.prompt.size());
    parsed.prompt.insert(parsed.prompt.end(), tokens->begin(), tokens->end());
    parsed.chunks.push_back({begin, static_cast<Position>(parsed.prompt.size())});
  }
  parsed.prompt.insert(parsed.prompt.end(), tail->begin(), tail->end());
  return parsed;
}

}  // namespace kvcommons
