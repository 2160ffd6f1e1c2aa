// `kvcommons status` and `kvcommons stats`.

#include <tl/expected.hpp>
#include <utility>

#include "base/bytes.h"
#include "base/clock.h"
#include "client/command/commands.h"
#include "client/command/stats.h"
#include "client/command/table.h"

namespace kvcommons {
namespace {

using nlohmann::json;

const json* Find(const json& stats, const std::string& path) {
  const json::json_pointer pointer(path);
  return stats.contains(pointer) ? &stats.at(pointer) : nullptr;
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// "/arena/held_bytes" 1536 to the row "arena.held_bytes  1.5 KiB".
std::string Cell(const std::string& path, const json& value) {
  if (value.is_number_unsigned() && EndsWith(path, "_bytes")) {
    return FormatBytes(value.get<std::uint64_t>());
  }
  if (value.is_number_float()) return FormatNumber(value.get<double>(), 3);
  return value.is_string() ? Printable(value.get<std::string>()) : value.dump();
}

}  // namespace

Result<json> StatsOf(Client& client) {
  const Result<std::string> text = client.StatsJson();
  if (!text) return Fail(text.error());
  // Built in place: a json converts to nearly everything, a Result included.
  Result<json> stats(tl::in_place, json::parse(*text, nullptr, false));
  if (!stats->is_object()) return Fail(Internal("the daemon's statistics are no JSON object"));
  return stats;
}

std::optional<std::uint64_t> CountAt(const json& stats, const std::string& path) {
  const json* value = Find(stats, path);
  if (value == nullptr || !value->is_number_unsigned()) return std::nullopt;
  return value->get<std::uint64_t>();
}

std::optional<bool> FlagAt(const json& stats, const std::string& path) {
  const json* value = Find(stats, path);
  if (value == nullptr || !value->is_boolean()) return std::nullopt;
  return value->get<bool>();
}

std::optional<std::string> TextAt(const json& stats, const std::string& path) {
  const json* value = Find(stats, path);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return value->get<std::string>();
}

std::string JsonText(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace);
}

std::string Share(std::optional<std::uint64_t> used, std::optional<std::uint64_t> whole) {
  if (!used) return "unknown";
  if (!whole || *whole == 0) return FormatBytes(*used);
  const double percent = 100.0 * static_cast<double>(*used) / static_cast<double>(*whole);
  return FormatBytes(*used) + " of " + FormatBytes(*whole) + " (" + FormatNumber(percent, 0) +
         " %)";
}

int RunStatus(const CommandContext& context, Client& client) {
  const Result<json> stats = StatsOf(client);
  if (!stats) return ReportFailure(context, stats.error());
  const DaemonInfo& info = client.info();
  const std::int64_t uptime_us = SystemClock().WallUs() - info.started_us;
  if (context.arguments.is_json) {
    json result = {{"version", info.version},
                   {"protocol_version", info.protocol_version},
                   {"boot_id", info.boot_id},
                   {"tenant", info.tenant},
                   {"quota_bytes", info.quota_bytes},
                   {"durable", info.durable},
                   {"started_us", info.started_us},
                   {"uptime_ms", uptime_us / 1000},
                   {"stats", *stats}};
    context.out << JsonText(result) << '\n';
    return kExitOk;
  }
  Table table({{"", Table::Align::kLeft}, {"", Table::Align::kLeft}});
  table.AddRow({"daemon", "kvcommonsd " + Printable(info.version) + ", protocol " +
                              std::to_string(info.protocol_version)});
  table.AddRow({"up", FormatDuration(uptime_us) + " (since " + FormatTime(info.started_us) +
                          " UTC, boot " + info.boot_id + ")"});
  table.AddRow({"tenant", Printable(info.tenant)});
  const auto blocks = CountAt(*stats, "/arena/blocks");
  const auto entries = CountAt(*stats, "/index/entries");
  if (blocks && entries) {
    table.AddRow({"blocks", std::to_string(*blocks) + " in memory, " + std::to_string(*entries) +
                                " in memory or on disk"});
  }
  const auto capacity = CountAt(*stats, "/arena_capacity_bytes");
  const auto disk_capacity = CountAt(*stats, "/disk_capacity_bytes");
  // The whole daemon's figures are for its own user; everybody sees their own share.
  if (const auto held = CountAt(*stats, "/arena/held_bytes")) {
    table.AddRow({"memory", Share(held, capacity)});
  }
  table.AddRow({"yours", Share(CountAt(*stats, "/tenant/arena_bytes"), capacity) + " in memory, " +
                             Share(CountAt(*stats, "/tenant/disk_bytes"), disk_capacity) +
                             " on disk"});
  if (!info.durable) {
    table.AddRow({"disk", "none: what is held is lost when the daemon ends"});
  } else if (const auto held = CountAt(*stats, "/disk/held_bytes")) {
    table.AddRow({"disk", Share(held, disk_capacity)});
  }
  table.AddRow(
      {"quota", info.quota_bytes == 0 ? "none of its own" : FormatBytes(info.quota_bytes)});
  table.Print(context.out);
  return kExitOk;
}

int RunStats(const CommandContext& context, Client& client) {
  const Result<json> stats = StatsOf(client);
  if (!stats) return ReportFailure(context, stats.error());
  if (context.arguments.is_json) {
    context.out << JsonText(*stats) << '\n';
    return kExitOk;
  }
  Table table({{"", Table::Align::kLeft}, {"", Table::Align::kRight}});
  const json flat = stats->flatten();
  for (const auto& [path, value] : flat.items()) {
    if (path.empty()) continue;  // of an object without members
    std::string name = path.substr(1);
    for (char& c : name) c = c == '/' ? '.' : c;
    table.AddRow({Printable(name), Cell(path, value)});
  }
  table.Print(context.out);
  return kExitOk;
}

}  // namespace kvcommons
