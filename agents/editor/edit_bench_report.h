// What `bench edits` says of many edits: spreads for machines, one table for people.
//
// Thread safety: pure functions, and one that prints.

#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <vector>

namespace kvcommons {

// One edit, run with one number of recomputed rows. Times as shares of full prefill's.
struct EditSample {
  double ttft_ratio, exact_ratio, kl, kl_exact, top1, reused_share, computed_share;
  std::optional<double> shift_ratio = {}, kl_shift = {}, top1_shift = {};
};

// The spread of every figure over the edits that were run with `after_rows`; null where no edit
// has the figure.
nlohmann::json SummarizeEdits(std::uint32_t after_rows, std::size_t documents,
                              const std::vector<EditSample>& samples);

// Prints the summaries, a line each, and the peer's line below them when it ran.
void PrintEditTable(std::size_t documents, const nlohmann::json& summaries);

}  // namespace kvcommons
