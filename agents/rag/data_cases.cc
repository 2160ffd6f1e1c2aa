#include "agents/rag/data_cases.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

namespace kvcommons {
namespace {

using Json = nlohmann::json;

struct Size {
  const char* name;
  std::uint32_t chunks, chunk_tokens;
};
constexpr std::array<Size, 3> kSizes{{{"0.8k", 6, 128}, {"2k", 8, 240}, {"5k", 10, 512}}};

constexpr std::array<const char*, 3> kSources{"cacheblend", "musique", "hotpotqa"};
constexpr std::array<const char*, 3> kFiles{"rag-cacheblend/musique_s.jsonl.gz",
                                            "rag-multihop/musique.jsonl.gz",
                                            "rag-multihop/hotpotqa.jsonl.gz"};

Result<std::vector<Json>> ReadJsonLines(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (file == nullptr) return Fail(NotFound("cannot read " + path));
  std::string text;
  std::array<char, 65536> piece{};
  for (int got = 0; (got = gzread(file.get(), piece.data(), piece.size())) > 0;) {
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  std::vector<Json> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    Json json = Json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                            text.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (json.is_discarded()) {
      return Fail(Corrupted(path + ": line " + std::to_string(lines.size()) + " is no JSON"));
    }
    lines.push_back(std::move(json));
    begin = end + 1;
  }
  return lines;
}

std::string OneLine(const std::string& text) {
  std::string line;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    if (!space) line += c;
    if (space && !line.empty() && line.back() != ' ') line += ' ';
  }
  return line;
}

// The raw numbers of the generator alone: the standard library's shuffle differs between libraries.
template <typename T>
void Shuffle(std::vector<T>& items, std::mt19937_64& random) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random() % i]);
}

}  // namespace

std::vector<std::string> DataSettings() {
  std::vector<std::string> names;
  for (const char* source : kSources) {
    for (const Size& size : kSizes) names.push_back(std::string(source) + "-" + size.name);
  }
  return names;
}

Result<DataCases> DataCases::Open(const std::string& folder, const std::string& setting) {
  DataCases cases;
  cases.setting_ = setting;
  std::size_t source = kSources.size();
  for (std::size_t i = 0; i < kSources.size(); ++i) {
    for (const Size& size : kSizes) {
      if (setting != std::string(kSources[i]) + "-" + size.name) continue;
      source = i;
      cases.chunk_count_ = size.chunks;
      cases.chunk_tokens_ = size.chunk_tokens;
    }
  }
  if (source == kSources.size()) {
    std::string known;
    for (const std::string& name : DataSettings()) known += (known.empty() ? "" : ", ") + name;
    return Fail(InvalidArgument("setting '" + setting + "' is unknown; known are " + known));
  }
  const auto lines = ReadJsonLines(folder + "/" + kFiles[source]);
  if (!lines) return Fail(lines.error());
  try {
    for (const Json& json : *lines) {
      Question question;
      question.id = json.at("id").get<std::string>();
      question.text = json.at("question").get<std::string>();
      const auto add = [&](bool wanted, const std::string& text) {
        const std::string line = OneLine(text);
        if (!line.empty()) (wanted ? question.wanted : question.others).push_back(line);
      };
      if (source == 0) {
        for (const Json& answer : json.at("answers")) question.answers.push_back(answer);
        for (const Json& context : json.at("ctxs")) {
          const auto text = context.at("text").get<std::string>();
          add(AnswerContains(text, question.answers), text);
        }
      } else if (source == 1) {
        question.answers = {json.at("answer").get<std::string>()};
        for (const Json& alias : json.at("answer_aliases")) question.answers.push_back(alias);
        for (const Json& paragraph : json.at("paragraphs")) {
          add(paragraph.at("is_supporting").get<bool>(), paragraph.at("paragraph_text"));
        }
      } else {
        question.answers = {json.at("answer").get<std::string>()};
        const std::string facts = json.at("supporting_facts").dump();
        for (const Json& context : json.at("context")) {
          std::string text;
          for (const Json& sentence : context.at(1)) text += sentence.get<std::string>();
          add(facts.find(context.at(0).dump()) != std::string::npos, text);
        }
      }
      cases.questions_.push_back(std::move(question));
    }
  } catch (const Json::exception& error) {
    return Fail(Corrupted(std::string(kFiles[source]) + ": " + error.what()));
  }
  if (cases.questions_.empty()) return Fail(NotFound(std::string(kFiles[source]) + " is empty"));
  return cases;
}

Result<RagCase> DataCases::Make(const Engine& engine, const PromptFormat& format,
                                std::uint32_t index, std::uint64_t seed) const {
  const Question& question = questions_[index % questions_.size()];
  std::mt19937_64 random(seed * 1'000'003 + index);
  std::vector<std::string> own = question.others;
  Shuffle(own, random);
  own.insert(own.begin(), question.wanted.begin(), question.wanted.end());
  // Passages of other questions, for prompts that this question's own do not fill.
  std::vector<std::string> pool = own;
  for (std::size_t extra = 0; extra < 40 && questions_.size() > 1; ++extra) {
    const Question& other = questions_[random() % questions_.size()];
    if (other.id == question.id || other.others.empty()) continue;
    pool.push_back(other.others[random() % other.others.size()]);
  }

  RagCase result;
  result.id = question.id + "#" + std::to_string(index);
  result.setting = setting_;
  result.answers = question.answers;
  // Chunks of nearly full length: passages are put together, and cut where a chunk is full.
  std::vector<std::vector<TokenId>> chunks;
  std::vector<TokenId> chunk;
  std::size_t taken_own = 0;
  const bool join = chunk_tokens_ > 128;
  for (std::size_t i = 0; i < pool.size() && chunks.size() < chunk_count_; ++i) {
    auto ids = format.Passage(engine, pool[i]);
    if (!ids) return Fail(ids.error());
    if (i < own.size()) taken_own = i + 1;
    for (std::size_t from = 0; from < ids->size() && chunks.size() < chunk_count_;) {
      const std::size_t room = chunk_tokens_ - chunk.size();
      const std::size_t count = std::min(room, ids->size() - from);
      chunk.insert(chunk.end(), ids->begin() + static_cast<std::ptrdiff_t>(from),
                   ids->begin() + static_cast<std::ptrdiff_t>(from + count));
      from += count;
      const bool full = chunk.size() == chunk_tokens_;
      if (full || !join) {
        chunks.push_back(std::move(chunk));
        chunk.clear();
      }
      if (!join || (full && from > 0 && ids->size() - from < 64)) break;  // the rest is cut off
    }
  }
  if (chunks.size() < 2) {
    return Fail(InvalidArgument("question " + question.id + " fills fewer than two chunks"));
  }
  Shuffle(chunks, random);
  result.chunks = std::move(chunks);
  for (std::size_t i = taken_own; i < own.size(); ++i) {
    auto ids = format.Passage(engine, own[i]);
    if (!ids) return Fail(ids.error());
    for (std::size_t from = 0; from < ids->size(); from += 128) {
      const std::size_t to = std::min(ids->size(), from + 128);
      result.related.emplace_back(ids->begin() + static_cast<std::ptrdiff_t>(from),
                                  ids->begin() + static_cast<std::ptrdiff_t>(to));
    }
  }
  auto tail = format.Question(engine, question.text);
  if (!tail) return Fail(tail.error());
  result.tail = std::move(*tail);
  return result;
}

}  // namespace kvcommons
