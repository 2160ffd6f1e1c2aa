// Tables out of measured cases: means, bootstrap intervals over cases, the recovered gap.
//
// Lines of one case from several runs are put together; a row that comes twice counts once, the
// later one. Deterministic for a seed. Thread safety: pure functions.

#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kvcommons {

// `lines`: as FidelityBench::Measure gives them. An array of {"setting", "variant", "rule",
// "completion", "budget", "charged", "kl", "kl_low", "kl_high", "top1", "cosine", "recovered",
// "recovered_low", "recovered_high", "recovered_system", "f1", "ttft_full_ms", "ttft_ms",
// "prep_ms", "cases", ...}; intervals are 90 %; times are medians over the cases that were timed,
// null without any. Recovered: 1 − ΣKL ÷ ΣKL of `sink` and of `system`, nothing recomputed, over
// the same cases.
nlohmann::json FidelityRows(const std::vector<nlohmann::json>& lines, std::uint64_t seed);

// The same for people.
std::string FidelityTable(const nlohmann::json& rows);

// A row's "prep_paid_after" is how many prompts it takes until the variant's preparation, of all
// chunks of a prompt, has been saved in times to first token.

// What could not be measured and why, for people: a line for each; empty where nothing was refused.
std::string RefusedRows(const std::vector<nlohmann::json>& lines);

}  // namespace kvcommons
