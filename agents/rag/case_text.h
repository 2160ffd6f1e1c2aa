// Cases as people write them: JSON lines of a question over passages, which is what `rag` reads.
//
//   {"id": "q7", "chunks": ["text", {"doc": "name"}], "question": "Who ...?",
//    "related": ["text"], "answer": "Ada" or "answers": ["Ada", "A. L."]}
//
// `id` may be left out (then it is the line's number) or a number; ids differ. `related` passages
// were retrieved with the chunks and are not in the prompt. Refused, each by the case's id and the
// field: what is no such line, an empty text, and what is past the limits below.
//
// Thread safety: none; belongs to whoever reads.

#pragma once

#include <cstddef>
#include <istream>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agents/engine/json_lines.h"
#include "base/status.h"

namespace kvcommons {

struct CaseText {
  struct Chunk {
    std::string text;      // or
    std::string document;  // the name of one in a library
  };
  std::string id;
  std::vector<Chunk> chunks;  // 1 to kMaxCaseChunks
  std::vector<std::string> related;
  std::string question;
  std::vector<std::string> answers;
};

inline constexpr std::size_t kMaxCaseChunks = 256;
inline constexpr std::size_t kMaxCaseRelated = 64;

class CaseReader {
 public:
  explicit CaseReader(std::istream& input) : lines_(input) {}

  // Empty lines are passed over. nullopt: there is no further case. kInvalidArgument: see above.
  Result<std::optional<CaseText>> Next();

 private:
  JsonLines lines_;
  std::set<std::string> ids_;
};

}  // namespace kvcommons
