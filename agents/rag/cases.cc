#include "agents/rag/cases.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "agents/rag/neutral_text.h"

namespace kvcommons {
namespace {

std::vector<std::string> WordsOf(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isspace(byte) != 0) {
      words.emplace_back();
    } else if (std::ispunct(byte) == 0) {
      words.back() += static_cast<char>(std::tolower(byte));
    }
  }
  std::erase_if(words, [](const std::string& word) {
    return word.empty() || word == "a" || word == "an" || word == "the";
  });
  return words;
}

}  // namespace

Result<RagCase> TokenizeCase(const Engine& engine, const PromptFormat& format, const CaseText& text,
                             const CaseLimits& limits) {
  RagCase result;
  result.id = text.id;
  result.answers = text.answers;
  const auto add = [&](const std::string& passage, std::vector<std::vector<TokenId>>& into) {
    auto ids = format.Passage(engine, passage);
    if (!ids) return ids.error();
    if (limits.chunk_tokens > 0) {
      ids->resize(std::min<std::size_t>(ids->size(), limits.chunk_tokens));
    }
    into.push_back(std::move(*ids));
    return Status();
  };
  for (const CaseText::Chunk& chunk : text.chunks) {
    if (limits.chunks_max > 0 && result.chunks.size() == limits.chunks_max) break;
    if (!chunk.document.empty()) {
      return Fail(InvalidArgument("case " + text.id + ": document '" + chunk.document +
                                  "' is a library's; that needs --daemon"));
    }
    KVC_FAIL_IF_ERROR(add(chunk.text, result.chunks));
  }
  if (result.chunks.size() < 2) {
    return Fail(InvalidArgument("case " + text.id + " has fewer than two chunks"));
  }
  for (const std::string& passage : text.related) KVC_FAIL_IF_ERROR(add(passage, result.related));
  auto tail = format.Question(engine, text.question);
  if (!tail) return Fail(tail.error());
  result.tail = std::move(*tail);
  return result;
}

Result<std::vector<std::vector<TokenId>>> NeutralPrefaces(const Engine& engine,
                                                          const PromptFormat& format,
                                                          std::uint32_t count,
                                                          std::uint32_t passages,
                                                          std::uint32_t preface_tokens) {
  const auto texts = NeutralPassages();
  if (std::size_t{count} * passages > texts.size()) {
    return Fail(InvalidArgument(std::to_string(count) + " prefaces of " + std::to_string(passages) +
                                " passages; the limit is " + std::to_string(texts.size()) +
                                " passages in all"));
  }
  std::vector<std::vector<TokenId>> prefaces;
  for (std::uint32_t p = 0; p < count; ++p) {
    prefaces.push_back(format.opening());
    for (std::uint32_t i = 0; i < passages; ++i) {
      auto ids = format.Passage(engine, texts[std::size_t{p} * passages + i]);
      if (!ids) return Fail(ids.error());
      ids->resize(std::min<std::size_t>(ids->size(), preface_tokens));
      prefaces.back().insert(prefaces.back().end(), ids->begin(), ids->end());
    }
  }
  return prefaces;
}

double AnswerF1(std::string_view answer, const std::vector<std::string>& right) {
  const std::vector<std::string> given = WordsOf(answer);
  double best = 0;
  for (const std::string& text : right) {
    const std::vector<std::string> wanted = WordsOf(text);
    std::map<std::string, int> left;
    for (const std::string& word : wanted) ++left[word];
    double common = 0;
    for (const std::string& word : given) common += left[word]-- > 0 ? 1 : 0;
    if (common == 0) continue;
    const double precision = common / static_cast<double>(given.size());
    const double recall = common / static_cast<double>(wanted.size());
    best = std::max(best, 2 * precision * recall / (precision + recall));
  }
  return best;
}

bool AnswerContains(std::string_view answer, const std::vector<std::string>& right) {
  const auto joined = [](std::string_view text) {
    std::string line = " ";
    for (const std::string& word : WordsOf(text)) line += word + " ";
    return line;
  };
  const std::string given = joined(answer);
  return std::any_of(right.begin(), right.end(), [&](const std::string& text) {
    return joined(text).size() > 1 && given.find(joined(text)) != std::string::npos;
  });
}

}  // namespace kvcommons
