// `kvcommons quality ls` and `quality reset`.

#include <nlohmann/json.hpp>

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
    const bool is_off = FlagAt(row, "/enabled") == false;
    table.AddRow({Printable(TextAt(row, "/rule").value_or("")), TextAt(row, "/model").value_or(""),
                  Number(row, "samples", 0), Number(row, "mean_kl", 4), Number(row, "mean_top1", 3),
                  is_off ? "off: " + Printable(TextAt(row, "/reason").value_or("")) : "on"});
  }
  table.Print(context.out);
  return kExitOk;
}

int Reset(const CommandContext& context, Client& client, const json& rows) {
  const std::string& rule = context.arguments.key;
  std::vector<std::string> models;
  for (const json& row : rows) {
    const std::string model = TextAt(row, "/model").value_or("");
    const bool is_wanted = context.arguments.model.empty() || context.arguments.model == model;
    if (is_wanted && TextAt(row, "/rule") == rule) models.push_back(model);
  }
  if (models.empty()) {
    return ReportFailure(context,
                         NotFound("no engine has reported on rule \"" + Printable(rule) + "\"" +
                                  (context.arguments.model.empty() ? "" : " with this model") +
                                  "; kvcommons quality ls lists them"));
  }
  json done = json::array();
  for (const std::string& model : models) {
    const Result<bool> reset = client.ResetQuality(model, rule);
    if (!reset) return ReportFailure(context, reset.error());
    done.push_back({{"rule", rule}, {"model", model}});
  }
  if (context.arguments.is_json) {
    context.out << JsonText(done) << '\n';
  } else {
    for (const std::string& model : models) {
      context.out << Printable(rule) << " goes on with model " << model << ".\n";
    }
  }
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
