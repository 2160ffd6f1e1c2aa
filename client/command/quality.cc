// `kvcommons quality ls` and `quality reset`.

#include <nlohmann/json.hpp>
#include <optional>

#include "client/command/commands.h"
#include "client/command/stats.h"
#include "client/command/table.h"

namespace kvcommons {
namespace {

using nlohmann::json;

// Another version's daemon may count other things: what is not there is empty or 0.
json RowsOf(const json& stats) {
  const json::json_pointer path("/tenant/quality");
  return stats.contains(path) && stats[path].is_array() ? stats[path] : json::array();
}

std::string Number(const json& row, const char* name, int digits) {
  return row.contains(name) && row[name].is_number() ? FormatNumber(row[name].get<double>(), digits)
                                                     : "unknown";
}

std::string StateOf(const json& row) {
  const std::optional<bool> enabled = FlagAt(row, "/enabled");
  if (!enabled) return "unknown";
  return *enabled ? "on" : "off: " + Printable(TextAt(row, "/reason").value_or(""));
}

int List(const CommandContext& context, const json& rows) {
  if (context.arguments.is_json) {
    context.out << JsonText(rows) << '\n';
    return kExitOk;
  }
  if (rows.empty()) {
    context.out << "No engine has reported on a rule.\n";
    return kExitOk;
  }
  Table table({{"RULE"},
               {"MODEL"},
               {"SAMPLES", Table::Align::kRight},
               {"MEAN KL", Table::Align::kRight},
               {"TOP-1", Table::Align::kRight},
               {"STATE"}});
  for (const json& row : rows) {
    table.AddRow({Printable(TextAt(row, "/rule").value_or("")),
                  Printable(TextAt(row, "/model").value_or("")), Number(row, "samples", 0),
                  Number(row, "mean_kl", 4), Number(row, "mean_top1", 3), StateOf(row)});
  }
  table.Print(context.out);
  return kExitOk;
}

// Without a model: of those that are off. One that is on has nothing to gain, and reports to lose.
int Reset(const CommandContext& context, Client& client, const json& rows) {
  const std::string& rule = context.arguments.key;
  const std::string& wanted = context.arguments.model;
  std::vector<std::string> models;
  for (const json& row : rows) {
    const std::string model = TextAt(row, "/model").value_or("");
    const bool is_wanted = wanted.empty() ? FlagAt(row, "/enabled") == false : wanted == model;
    if (is_wanted && TextAt(row, "/rule") == rule) models.push_back(model);
  }
  if (models.empty()) {
    const std::string what = wanted.empty()
                                 ? "is switched off for no model"
                                 : "was never reported on with model \"" + Printable(wanted) + "\"";
    return ReportFailure(context, NotFound("rule \"" + Printable(rule) + "\" " + what +
                                           "; kvcommons quality ls lists what was reported"));
  }
  json done = json::array();
  for (const std::string& model : models) {
    const Result<bool> reset = client.ResetQuality(model, rule);
    if (!reset) return ReportFailure(context, reset.error());
    done.push_back({{"rule", rule}, {"model", model}});
    if (context.arguments.is_json) continue;
    context.out << Printable(rule) << " goes on with model " << Printable(model) << ".\n";
  }
  if (context.arguments.is_json) context.out << JsonText(done) << '\n';
  return kExitOk;
}

}  // namespace

int RunQuality(const CommandContext& context, Client& client) {
  const Result<json> stats = StatsOf(client);
  if (!stats) return ReportFailure(context, stats.error());
  const json rows = RowsOf(*stats);
  if (context.arguments.command == Command::kQualityLs) return List(context, rows);
  return Reset(context, client, rows);
}

}  // namespace kvcommons
