#include "agents/team/team_command.h"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "agents/team/team_compare.h"
#include "agents/team/team_report.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;
constexpr const char* kName = "team";
constexpr std::size_t kMaxCaseBytes = 16U << 20;

struct TeamCase {
  std::string id;
  std::map<std::string, std::string> fields;
};

// The next line with something on it; nothing: there is none.
Result<std::optional<TeamCase>> NextCase(std::istream& input, std::size_t* number) {
  std::string line;
  while (std::getline(input, line)) {
    ++*number;
    const std::string where = "line " + std::to_string(*number) + " of the cases";
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line.size() > kMaxCaseBytes) {
      return Fail(InvalidArgument(where + " has " + std::to_string(line.size()) +
                                  " bytes; the limit is " + std::to_string(kMaxCaseBytes)));
    }
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) return Fail(InvalidArgument(where + " is no JSON object"));
    TeamCase one;
    one.id = "line " + std::to_string(*number);
    for (const auto& [key, value] : json.items()) {
      if (value.is_string()) (key == "id" ? one.id : one.fields[key]) = value.get<std::string>();
    }
    return one;
  }
  return std::nullopt;
}

Status AddLine(const std::string& path, const Json& line) {
  if (path.empty()) return Status();
  std::ofstream file(path, std::ios::app);
  file << line.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n' << std::flush;
  return file ? Status() : Unavailable(path + " cannot be written");
}

Result<std::vector<Json>> Measure(const CommonOptions& options, const TeamOptions& team,
                                  std::istream& input) {
  const auto graph = ReadTeamGraph(team.graph_path);
  if (!graph) return Fail(graph.error());
  TeamCompareOptions compare;
  compare.forced_tokens = team.forced_tokens;
  for (const std::string& name : team.modes) {
    auto mode = ParseTeamMode(name);
    if (!mode) return Fail(mode.error());
    compare.modes.push_back(std::move(*mode));
  }
  auto engine_options = ToEngineOptions(options);
  if (!engine_options) return Fail(engine_options.error());
  engine_options->measure_costs = false;
  const auto engine = Engine::Open(*engine_options);
  if (!engine) return Fail(engine.error());
  TeamMemoryOptions memory;
  memory.anchors.bytes = team.pool_bytes;
  memory.gate.gamma = team.gamma;
  const auto session = TeamSession::Create(**engine, *graph, team.chat, memory);
  if (!session) return Fail(session.error());
  TeamCompare runner(**engine, *graph, **session, std::move(compare));

  std::vector<Json> lines;
  std::size_t number = 0;
  for (std::uint32_t index = 0; lines.size() < team.cases_max; ++index) {
    const auto one = NextCase(input, &number);
    if (!one) return Fail(one.error());
    if (!*one) break;
    if (index < team.first_case) continue;
    const bool is_warm = index - team.first_case < team.warm_cases;
    auto line = runner.Run((*one)->id, (*one)->fields, !is_warm);
    if (!line) return Fail(line.error());
    std::fprintf(stderr, "%s %s\n", is_warm ? "filled by" : "measured", (*one)->id.c_str());
    KVC_FAIL_IF_ERROR(AddLine(team.samples_path, *line));
    if (!is_warm) lines.push_back(std::move(*line));
  }
  if (lines.empty()) {
    return Fail(NotFound("no case is left to measure behind " + std::to_string(team.warm_cases) +
                         " that fill the memory; name more cases, or fewer with --warm"));
  }
  return lines;
}

}  // namespace

int RunTeamCommand(const CommonOptions& options, const TeamOptions& team) {
  std::ifstream file;
  if (team.cases_path != "-") {
    file.open(team.cases_path);
    if (!file) return FailCommand(kName, InvalidArgument("cannot read " + team.cases_path));
  }
  const auto lines = Measure(options, team, team.cases_path == "-" ? std::cin : file);
  if (!lines) return FailCommand(kName, lines.error());
  const Json rows = TeamRowsOf(*lines, team.seed);
  if (options.json_path != "-") std::fputs(TeamTable(rows).c_str(), stdout);
  if (options.json_path.empty()) return 0;
  const Json report = {{"agents", rows},
                       {"gamma", team.gamma},
                       {"pool_bytes", lines->back()["anchor_bytes"]},
                       {"mean_bytes", lines->back()["mean_bytes"]},
                       {"cases", lines->size()}};
  const Status written = WriteJson(options.json_path, report);
  return written.ok() ? 0 : FailCommand(kName, written);
}

}  // namespace kvcommons
