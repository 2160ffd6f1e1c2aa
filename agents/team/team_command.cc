#include "agents/team/team_command.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <random>

#include "agents/team/team_run.h"
#include "agents/team/team_run_report.h"
#include "client/client.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;
constexpr const char* kName = "team";

Result<TeamMode> ModeOf(const std::string& name) {
  auto mode = ParseTeamMode(name);
  const bool by_anchors = mode && (mode->slots == SlotCorrection::kAnchors ||
                                   mode->slots == SlotCorrection::kPublishedAnchors);
  if (mode && mode->design_percent > 0) {
    return Fail(Unsupported("mode is '" + name +
                            "'; the daemon's plans choose no rows: use +b "
                            "(`bench team` knows compose and +d)"));
  }
  if (!by_anchors || mode->computes_text) return mode;
  return Fail(Unsupported("mode is '" + name +
                          "'; the daemon corrects no text by anchors: use C+seg (`bench team` "
                          "knows C and R)"));
}

// What a prefix cache has today: shorter blocks than ours hold more of a short beginning.
constexpr std::uint32_t kPrefixCacheBlock = 16;

// The team on its model, and what it is compared with.
struct World {
  std::unique_ptr<ModelHandle> model;
  std::unique_ptr<DaemonTeam> team;
};

Result<World> OpenWorld(Client& client, Engine& engine, const GateReport& gate,
                        const TeamGraph& graph, const TeamCommandOptions& options,
                        const TeamMode& mode, bool is_prefix_cache) {
  ModelProfile profile = engine.profile();
  if (is_prefix_cache) {
    profile.adapters += "+exact-prefix-cache";
    profile.block_tokens = kPrefixCacheBlock;
  }
  World world;
  auto model = client.OpenModel(profile, gate);
  if (!model) return Fail(model.error());
  world.model = std::move(*model);
  auto team =
      DaemonTeam::Open(engine, *world.model, graph,
                       {.chat = options.chat,
                        .least_deposits = options.least_deposits,
                        .keeps_anchors = mode.slots == SlotCorrection::kAnchors,
                        .gamma = options.gamma,
                        .corrects_text = mode.reuses && !mode.computes_text,
                        .name = options.team,
                        .canary_share = options.canary_share,
                        .canary_seed = options.canary_seed.value_or(std::random_device{}())});
  if (!team) return Fail(team.error());
  world.team = std::move(*team);
  return world;
}

Status Measure(const CommonOptions& options, const TeamCommandOptions& team,
               MeasuredCases* measured, Json* report) {
  auto graph = ReadTeamGraph(team.graph_path);
  if (!graph) return graph.error();
  KVC_RETURN_IF_ERROR(CheckToolsAllowed(*graph, team.allow_tools));
  for (TeamAgent& agent : graph->agents) {
    if (team.answer_tokens == 0) break;
    agent.max_tokens = std::min(agent.max_tokens, team.answer_tokens);
  }
  auto mode = ModeOf(team.mode);
  if (!mode) return mode.error();
  const auto engine_options = ToEngineOptions(options);
  if (!engine_options) return engine_options.error();
  const auto engine = Engine::Open(*engine_options);
  if (!engine) return engine.error();
  const auto gate = (*engine)->RunGate();
  if (!gate) return gate.error();
  const auto client =
      Client::Connect({.socket_path = options.socket_path, .name = "kvcommons-engine"});
  if (!client) return client.error();
  const bool asks_gate = mode->slots == SlotCorrection::kAnchors;
  auto own = OpenWorld(**client, **engine, *gate, *graph, team, *mode, false);
  if (!own) return own.error();
  World exact;
  if (team.compare) {
    auto opened = OpenWorld(**client, **engine, *gate, *graph, team, {.name = "exact"}, true);
    if (!opened) return opened.error();
    exact = std::move(*opened);
  }
  TeamRun run(**engine, *graph, *own->team, exact.team.get(),
              {.mode = std::move(*mode),
               .compares = team.compare,
               .forced_tokens = team.forced_tokens,
               .ack = team.held_only ? UploadAck::kHeld : UploadAck::kDurable,
               .allow_tools = team.allow_tools,
               .fills_answers = team.fills_answers});
  const Status status = RunTeamCases(
      team.cases,
      [&run](const std::string& id, const std::map<std::string, std::string>& fields,
             bool is_measured) { return run.Run(id, fields, is_measured); },
      measured);
  if (measured->lines.empty()) return status;
  *report = TeamRunReport(measured->lines);
  (*report)["team"] = graph->name;
  (*report)["refused"] = measured->refused;
  (*report)["gamma"] = asks_gate ? Json(team.gamma) : Json();  // means ask no gate
  if (const auto learned = own->team->team().GetStatus()) {
    (*report)["pool_bytes"] = learned->bytes;
    (*report)["pool_bytes_max"] = learned->limit_bytes;
  }
  return status;
}

}  // namespace

int RunTeamCommand(const CommonOptions& options, const TeamCommandOptions& team) {
  MeasuredCases measured;
  Json report;
  const Status status = Measure(options, team, &measured, &report);
  if (measured.lines.empty()) return FailCommand(kName, status);
  if (options.json_path != "-") std::fputs(TeamRunTable(report).c_str(), stdout);
  if (!options.json_path.empty()) {
    const Status written = WriteJson(options.json_path, report);
    if (!written.ok()) return FailCommand(kName, written);
  }
  // What was measured before is not lost.
  return status.ok() ? 0 : FailCommand(kName, status);
}

}  // namespace kvcommons
