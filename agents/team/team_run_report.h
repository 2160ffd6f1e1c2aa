// What a team's requests came to, agent by agent.
//
// Thread safety: pure functions.

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kvcommons {

// `lines`: as TeamRun::Run() gives them. {"agents": [{"agent", "mode", "reason", "calls", "hits",
// "ttft_ms", "ttft_all_ms", "plan_ms", "gate_ms", "weights_ms", "blend_ms", "place_ms", "last_ms",
// "base_ms", "charged", "ttft_dense_ms"?, "ttft_exact_ms"?, "kl"?, "kl_first"?, "top1"?}],
// "reuse_rate", "answer_agreement"?, "cases"}. Times are medians; "ttft_ms" and its parts,
// "charged", "kl" and "top1" of calls that reused contents where there are any, of all of them
// otherwise; "ttft_all_ms" is the mean of every call with the contents' own rows that it waited for
// and what it gave back. "mode" and "reason": the most frequent.
nlohmann::json TeamRunReport(const std::vector<nlohmann::json>& lines);
// The same for people.
std::string TeamRunTable(const nlohmann::json& report);

}  // namespace kvcommons
