#include "agents/team/team_bench_command.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "agents/team/team_cases.h"
#include "agents/team/team_compare.h"
#include "agents/team/team_report.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;
constexpr const char* kName = "bench team";

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
  MeasuredCases cases;
};

Status Measure(const CommonOptions& options, const TeamBenchOptions& team, Measured* measured) {
  const auto graph = ReadTeamGraph(team.graph_path);
  if (!graph) return graph.error();
  KVC_RETURN_IF_ERROR(TeamCompare::CheckGraph(*graph, team.first_reader));
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
  std::unique_ptr<Engine> control;
  if (!team.control_path.empty()) {
    EngineOptions other = without_costs;
    other.model_path = team.control_path;
    // A matrix library beside llama.cpp takes 32 rows or more, and computes them as if the weights
    // were not quantized: there would be no noise to see.
    other.ubatch_tokens = 31;
    auto opened = Engine::Open(other);
    if (!opened) return opened.error();
    control = std::move(*opened);
    if (control->profile().tokenizer_sha256 != (*engine)->profile().tokenizer_sha256) {
      return InvalidArgument("--control '" + team.control_path +
                             "' has another tokenizer than --model: give other weights of the "
                             "same model");
    }
    compare.control = control.get();
  }
  compare.first_reader = team.first_reader;
  TeamMemoryOptions memory;
  memory.anchors.bytes = team.pool_bytes;
  memory.gate.gamma = team.gamma;
  const auto session = TeamSession::Create(**engine, *graph, team.chat, memory);
  if (!session) return session.error();
  TeamCompare runner(**engine, *graph, **session, std::move(compare));

  return RunTeamCases(
      team.cases,
      [&runner](const std::string& id, const std::map<std::string, std::string>& fields,
                bool is_measured) { return runner.Run(id, fields, is_measured); },
      &measured->cases);
}

}  // namespace

int RunTeamBench(const CommonOptions& options, const TeamBenchOptions& team) {
  Measured measured;
  const Status status = Measure(options, team, &measured);
  if (measured.cases.lines.empty()) return FailCommand(kName, status);
  const Json rows = TeamRowsOf(measured.cases.lines, team.seed);
  if (options.json_path != "-") std::fputs(TeamTable(rows).c_str(), stdout);
  if (!options.json_path.empty()) {
    const Json& last = measured.cases.lines.back();
    const Json report = {{"team", measured.team},
                         {"agents", rows},
                         {"gamma", team.gamma},
                         {"pool_bytes", last["anchor_bytes"]},
                         {"pool_bytes_max", team.pool_bytes},
                         {"mean_bytes", last["mean_bytes"]},
                         {"text_mean_bytes", last["text_mean_bytes"]},
                         {"cases", measured.cases.lines.size()},
                         {"refused", measured.cases.refused}};
    const Status written = WriteJson(options.json_path, report);
    if (!written.ok()) return FailCommand(kName, written);
  }
  // What was measured before is not lost.
  return status.ok() ? 0 : FailCommand(kName, status);
}

}  // namespace kvcommons
