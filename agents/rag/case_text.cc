#include "agents/rag/case_text.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace kvcommons {
namespace {

using Json = nlohmann::json;

Result<std::vector<std::string>> TextsOf(const Json& json, const std::string& what) {
  std::vector<std::string> texts;
  if (!json.is_array()) return Fail(InvalidArgument(what + " is no list"));
  for (const Json& text : json) {
    if (!text.is_string() || text.get<std::string>().empty()) {
      return Fail(
          InvalidArgument(what + "[" + std::to_string(texts.size()) + "] is empty or no text"));
    }
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

Status CheckCount(const std::string& what, std::size_t count, std::size_t least, std::size_t most) {
  if (count >= least && count <= most) return Status();
  return InvalidArgument(what + " has " + std::to_string(count) + " entries; the limit is " +
                         std::to_string(least) + " to " + std::to_string(most));
}

Result<CaseText::Chunk> ChunkOf(const Json& json, const std::string& what) {
  const auto text_of = [](const Json& text) {
    return text.is_string() ? text.get<std::string>() : std::string();
  };
  CaseText::Chunk chunk;
  chunk.text = text_of(json);
  if (json.is_object() && json.contains("doc")) chunk.document = text_of(json["doc"]);
  if (!chunk.text.empty() || !chunk.document.empty()) return chunk;
  return Fail(InvalidArgument(what + R"( is empty, or neither text nor {"doc": name})"));
}

Result<CaseText> CaseOf(const Json& json, std::size_t line) {
  if (!json.is_object() || !json.contains("chunks") || !json["chunks"].is_array() ||
      !json.contains("question") || !json["question"].is_string()) {
    return Fail(InvalidArgument("line " + std::to_string(line) +
                                R"( is no {"chunks": [text | {"doc": name}], "question": text})"));
  }
  CaseText one;
  auto id = IdOfCase(json, line);
  if (!id) return Fail(id.error());
  one.id = std::move(*id);
  const std::string name = "case " + one.id + ": ";
  const Json& chunks = json["chunks"];
  KVC_FAIL_IF_ERROR(CheckCount(name + "chunks", chunks.size(), 1, kMaxCaseChunks));
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    auto chunk = ChunkOf(chunks[i], name + "chunks[" + std::to_string(i) + "]");
    if (!chunk) return Fail(chunk.error());
    one.chunks.push_back(std::move(*chunk));
  }
  one.question = json["question"];
  if (one.question.empty()) return Fail(InvalidArgument(name + "the question is empty"));
  if (json.contains("related")) {
    auto related = TextsOf(json["related"], name + "related");
    if (!related) return Fail(related.error());
    KVC_FAIL_IF_ERROR(CheckCount(name + "related", related->size(), 0, kMaxCaseRelated));
    one.related = std::move(*related);
  }
  if (json.contains("answers")) {
    auto answers = TextsOf(json["answers"], name + "answers");
    if (!answers) return Fail(answers.error());
    one.answers = std::move(*answers);
  } else if (json.contains("answer")) {
    auto answer = TextsOf(Json::array({json["answer"]}), name + "answer");
    if (!answer) return Fail(answer.error());
    one.answers = std::move(*answer);
  }
  return one;
}

}  // namespace

Result<std::optional<CaseText>> CaseReader::Next() {
  const auto json = lines_.Next();
  if (!json) return Fail(json.error());
  if (!*json) return std::nullopt;
  auto one = CaseOf(**json, lines_.line());
  if (!one) return Fail(one.error());
  if (!ids_.insert(one->id).second) {
    return Fail(InvalidArgument("line " + std::to_string(lines_.line()) + ": there is a case " +
                                one->id + " already; ids differ"));
  }
  return std::optional(std::move(*one));
}

}  // namespace kvcommons
