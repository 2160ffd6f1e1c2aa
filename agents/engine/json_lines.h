// JSON lines: read one by one within a limit, and added to a file that several processes add to.
//
// Thread safety: a reader belongs to who reads; appending is one write.

#pragma once

#include <cstddef>
#include <istream>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/status.h"

namespace kvcommons {

class JsonLines {
 public:
  static constexpr std::size_t kMaxLineBytes = 16U << 20;

  explicit JsonLines(std::istream& input) : input_(input) {}

  // Empty lines are passed over; what is no JSON comes as a discarded value. nullopt: there is no
  // further line. kInvalidArgument: it is longer than kMaxLineBytes, of which no more is read.
  Result<std::optional<nlohmann::json>> Next();
  std::size_t line() const { return line_; }  // of the last one, from 1

 private:
  std::istream& input_;
  std::size_t line_ = 0;
};

// The "id" of a case: a text that is not empty, an integer, or, without one, the line's number.
// kInvalidArgument names the line.
Result<std::string> IdOfCase(const nlohmann::json& json, std::size_t line);

// In one write, begun with a line's end: a kill may have cut off the line before. Text that was cut
// within a character has a replacement character there. kUnavailable: it cannot be written.
Status AppendJsonLine(const std::string& path, const nlohmann::json& json);

}  // namespace kvcommons
