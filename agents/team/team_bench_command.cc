#include "agents/team/team_command.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "agents/engine/json_lines.h"
#include "agents/team/team_compare.h"
#include "agents/team/team_report.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;
constexpr const char* kName = "team";

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

Result<std::vector<TeamMode>> ModesOf(const std::vector<std::string>& names) {
  std::vector<TeamMode> modes;
  for (const std::string& name : names) {
    if (std::count(names.begin(), names.end(), name) > 1) {
      return Fail(InvalidArgument("mode '" + name + "' is named twice"));
    }
    auto mode = ParseTeamMode(name);
    if (!mode) return Fail(mode.error());
    modes.push_back(std::move(*mode));
  }
  return modes;
}

struct Measured {
  std::string team;
  std::vector<Json> lines;
  std::size_t refused = 0;
};

Status Measure(const CommonOptions& options, const TeamOptions& team, std::istream& input,
               Measured* measured) {
  const auto graph = ReadTeamGraph(team.graph_path);
  if (!graph) return graph.error();
  measured->team = graph->name;
  TeamCompareOptions compare;
  compare.forced_tokens = team.forced_tokens;
  auto modes = ModesOf(team.modes);
  if (!modes) return modes.error();
  compare.modes = std::move(*modes);
  const auto engine_options = ToEngineOptions(options);
  if (!engine_options) return engine_options.error();
  EngineOptions without_costs = *engine_options;
  without_costs.measure_costs = false;
  const auto engine = Engine::Open(without_costs);
  if (!engine) return engine.error();
  TeamMemoryOptions memory;
  memory.anchors.bytes = team.pool_bytes;
  memory.gate.gamma = team.gamma;
  const auto session = TeamSession::Create(**engine, *graph, team.chat, memory);
  if (!session) return session.error();
  TeamCompare runner(**engine, *graph, **session, std::move(compare));

  JsonLines cases(input);
  std::uint32_t index = 0, filled = 0;
  while (measured->lines.size() < team.cases_max) {
    const auto one = NextCase(cases);
    if (!one) return one.error();
    if (!*one) break;
    if (index++ < team.first_case) continue;
    const bool is_warm = filled < team.warm_cases;
    auto line = runner.Run((*one)->id, (*one)->fields, !is_warm);
    if (!line && line.error().code() == Code::kInvalidArgument) {
      std::fprintf(stderr, "left out: %s\n", line.error().message().c_str());
      ++measured->refused;
      continue;
    }
    if (!line) return line.error();
    std::fprintf(stderr, "%s %s\n", is_warm ? "filled by" : "measured", (*one)->id.c_str());
    for (const Json& agent : (*line)["agents"]) {
      if (!agent.contains("deposit")) continue;
      std::fprintf(stderr, "not kept as an anchor: %s\n",
                   agent["deposit"].get<std::string>().c_str());
    }
    if (!team.samples_path.empty()) KVC_RETURN_IF_ERROR(AppendJsonLine(team.samples_path, *line));
    if (is_warm) {
      ++filled;
    } else {
      measured->lines.push_back(std::move(*line));
    }
  }
  if (!measured->lines.empty()) return Status();
  return NotFound("no case is left to measure: " + std::to_string(index) + " were read, of which " +
                  std::to_string(std::min(index, team.first_case)) +
                  " are passed over (--first), " + std::to_string(measured->refused) +
                  " were left out and " + std::to_string(filled) + " fill the memory (--warm)");
}

}  // namespace

int RunTeamCommand(const CommonOptions& options, const TeamOptions& team) {
  std::ifstream file;
  if (team.cases_path != "-") {
    file.open(team.cases_path);
    if (!file) return FailCommand(kName, InvalidArgument("cannot read " + team.cases_path));
  }
  Measured measured;
  const Status status = Measure(options, team, team.cases_path == "-" ? std::cin : file, &measured);
  if (measured.lines.empty()) return FailCommand(kName, status);
  const Json rows = TeamRowsOf(measured.lines, team.seed);
  if (options.json_path != "-") std::fputs(TeamTable(rows).c_str(), stdout);
  if (!options.json_path.empty()) {
    const Json& last = measured.lines.back();
    const Json report = {{"team", measured.team},
                         {"agents", rows},
                         {"gamma", team.gamma},
                         {"pool_bytes", last["anchor_bytes"]},
                         {"pool_bytes_max", team.pool_bytes},
                         {"mean_bytes", last["mean_bytes"]},
                         {"cases", measured.lines.size()},
                         {"refused", measured.refused}};
    const Status written = WriteJson(options.json_path, report);
    if (!written.ok()) return FailCommand(kName, written);
  }
  // What was measured before is not lost.
  return status.ok() ? 0 : FailCommand(kName, status);
}

}  // namespace kvcommons
