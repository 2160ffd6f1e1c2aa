// Tables out of a team's measured requests: by agent and mode, means and 90 % intervals (bootstrap
// over requests). Deterministic for a seed. Thread safety: pure functions.

#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kvcommons {

// `lines`: as TeamCompare::Run() gives them. An array of {"agent", "mode", "cases", "kl", "kl_low",
// "kl_high", "kl_first", "top1", "charged", "uncorrected", "ttft_dense_ms", "ttft_ms", "base_ms",
// "blend_ms", "place_ms", "compute_ms"}, times being medians; agents as they come, then "all", over
// all of them: a request counts once there, with the mean of its agents. `base_ms`: contents' own
// rows, in modes that reuse, at their first reader; not in `ttft_ms`.
nlohmann::json TeamRowsOf(const std::vector<nlohmann::json>& lines, std::uint64_t seed);
// The same for people; the gain is of dense beside TTFT and base together.
std::string TeamTable(const nlohmann::json& rows);

}  // namespace kvcommons
