#include "agents/team/team_cases.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <optional>

#include "agents/engine/json_lines.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

struct TeamCase {
  std::string id;
  std::map<std::string, std::string> fields;  // those that are texts
};

// The next line of the cases; nothing: there is none.
Result<std::optional<TeamCase>> NextCase(JsonLines& lines) {
  const auto json = lines.Next();
  if (!json) return Fail(json.error());
  if (!*json) return std::nullopt;
  if (!(**json).is_object()) {
    return Fail(InvalidArgument("line " + std::to_string(lines.line()) + " is no JSON object"));
  }
  auto id = IdOfCase(**json, lines.line());
  if (!id) return Fail(id.error());
  TeamCase one;
  one.id = std::move(*id);
  for (const auto& [key, value] : (**json).items()) {
    if (key != "id" && value.is_string()) one.fields[key] = value.get<std::string>();
  }
  return one;
}

// What was not kept, for people.
void SayWhatWasNotKept(const Json& line) {
  for (const Json& agent : line["agents"]) {
    if (!agent.contains("deposit")) continue;
    std::fprintf(stderr, "not learned: %s\n", agent["deposit"].get<std::string>().c_str());
  }
}

}  // namespace

Status RunTeamCases(const TeamCaseOptions& options, const TeamCaseRunner& run,
                    MeasuredCases* measured) {
  std::ifstream file;
  if (options.cases_path != "-") {
    file.open(options.cases_path);
    if (!file) return InvalidArgument("cannot read " + options.cases_path);
  }
  JsonLines cases(options.cases_path == "-" ? std::cin : file);
  std::uint32_t index = 0, filled = 0;
  while (measured->lines.size() < options.cases_max) {
    const auto one = NextCase(cases);
    if (!one) return one.error();
    if (!*one) break;
    if (index++ < options.first_case) continue;
    const bool is_warm = filled < options.warm_cases;
    auto line = run((*one)->id, (*one)->fields, !is_warm);
    if (!line && line.error().code() == Code::kInvalidArgument) {
      std::fprintf(stderr, "left out: %s\n", line.error().message().c_str());
      ++measured->refused;
      continue;
    }
    if (!line) return line.error();
    std::fprintf(stderr, "%s %s\n", is_warm ? "filled by" : "measured", (*one)->id.c_str());
    SayWhatWasNotKept(*line);
    if (!options.samples_path.empty())
      KVC_RETURN_IF_ERROR(AppendJsonLine(options.samples_path, *line));
    if (is_warm) {
      ++filled;
    } else {
      measured->lines.push_back(std::move(*line));
    }
  }
  if (!measured->lines.empty()) return Status();
  return NotFound("no case is left to measure: " + std::to_string(index) + " were read, of which " +
                  std::to_string(std::min(index, options.first_case)) +
                  " are passed over (--first), " + std::to_string(measured->refused) +
                  " were left out and " + std::to_string(filled) + " fill the memory (--warm)");
}

}  // namespace kvcommons
