// The daemon's statistics, read with care: another version may count other things. And JSON as the
// commands print it.

#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/status.h"
#include "client/client.h"

namespace kvcommons {

// kInternal when the daemon's text is no JSON object.
Result<nlohmann::json> StatsOf(Client& client);

// The value at a path like "/arena/held_bytes"; nullopt where it is absent or of another type.
std::optional<std::uint64_t> CountAt(const nlohmann::json& stats, const std::string& path);
std::optional<bool> FlagAt(const nlohmann::json& stats, const std::string& path);
std::optional<std::string> TextAt(const nlohmann::json& stats, const std::string& path);

// Indented, for --json. Names are bytes that some client chose: what is no UTF-8 is replaced.
std::string JsonText(const nlohmann::json& value);

// "1.5 GiB of 4 GiB (38 %)", or "unknown".
std::string Share(std::optional<std::uint64_t> used, std::optional<std::uint64_t> whole);

}  // namespace kvcommons
