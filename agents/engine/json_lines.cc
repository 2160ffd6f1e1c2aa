#include "agents/engine/json_lines.h"

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace kvcommons {

using Json = nlohmann::json;

Result<std::optional<Json>> JsonLines::Next() {
  std::streambuf& from = *input_.rdbuf();
  constexpr int kEnd = std::char_traits<char>::eof();
  for (int next = from.sbumpc(); next != kEnd; next = from.sbumpc()) {
    ++line_;
    std::string text;
    for (; next != kEnd && next != '\n'; next = from.sbumpc()) {
      text += static_cast<char>(next);
      if (text.size() <= kMaxLineBytes) continue;
      return Fail(InvalidArgument("line " + std::to_string(line_) + " has more than " +
                                  std::to_string(kMaxLineBytes) + " bytes, which is the limit"));
    }
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    return Json::parse(text, nullptr, false);
  }
  return std::nullopt;
}

Result<std::string> IdOfCase(const Json& json, std::size_t line) {
  if (!json.contains("id")) return std::to_string(line);
  const Json& id = json["id"];
  if (id.is_string() && !id.get<std::string>().empty()) return id.get<std::string>();
  if (id.is_number_integer()) return id.dump();
  return Fail(InvalidArgument("line " + std::to_string(line) +
                              ": id is empty, or neither text nor an integer"));
}

Status AppendJsonLine(const std::string& path, const Json& json) {
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return Unavailable("cannot write " + path);
  const std::string text = '\n' + json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
  const bool whole = ::write(file, text.data(), text.size()) == std::ssize(text);
  if (::close(file) != 0 || !whole) return Unavailable("cannot write " + path);
  return Status();
}

}  // namespace kvcommons
