#include "agents/editor/edit_bench_report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace kvcommons {
namespace {

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto index = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  return values[index];
}

// Null where no sample has the figure.
template <typename Get>
nlohmann::json Spread(const std::vector<EditSample>& samples, Get get) {
  std::vector<double> values;
  double sum = 0;
  for (const EditSample& sample : samples) {
    const std::optional<double> value = get(sample);
    if (!value) continue;
    values.push_back(*value);
    sum += values.back();
  }
  if (values.empty()) return nullptr;
  return {{"mean", sum / static_cast<double>(values.size())},
          {"p10", Quantile(values, 0.1)},
          {"p50", Quantile(values, 0.5)},
          {"p90", Quantile(values, 0.9)},
          {"max", Quantile(values, 1.0)}};
}

}  // namespace

nlohmann::json SummarizeEdits(std::uint32_t after_rows, std::size_t documents,
                              const std::vector<EditSample>& samples) {
  return {
      {"after_rows", after_rows},
      {"documents", documents},
      {"edits", samples.size()},
      {"reused_share", Spread(samples, [](const EditSample& s) { return s.reused_share; })},
      {"computed_share", Spread(samples, [](const EditSample& s) { return s.computed_share; })},
      {"ttft_edit_over_full", Spread(samples, [](const EditSample& s) { return s.ttft_ratio; })},
      {"ttft_exact_over_full", Spread(samples, [](const EditSample& s) { return s.exact_ratio; })},
      {"kl_mean", Spread(samples, [](const EditSample& s) { return s.kl; })},
      {"kl_exact_prefix", Spread(samples, [](const EditSample& s) { return s.kl_exact; })},
      {"top1_agreement", Spread(samples, [](const EditSample& s) { return s.top1; })},
      {"llama_shift",
       {{"ttft_over_full", Spread(samples, [](const EditSample& s) { return s.shift_ratio; })},
        {"kl_mean", Spread(samples, [](const EditSample& s) { return s.kl_shift; })},
        {"top1_agreement", Spread(samples, [](const EditSample& s) { return s.top1_shift; })}}}};
}

void PrintEditTable(std::size_t documents, const nlohmann::json& summaries) {
  std::printf("%zu documents\n%6s %6s %22s %22s %22s %8s %8s\n", documents, "K", "edits",
              "reused p10/p50", "ttft/full p50/p90", "KL mean/p90", "top-1", "exact");
  for (const auto& row : summaries) {
    std::printf("%6u %6zu %12.3f / %.3f %12.3f / %.3f %12.2e / %.2e %8.3f %8.3f\n",
                row["after_rows"].get<unsigned>(), row["edits"].get<std::size_t>(),
                row["reused_share"]["p10"].get<double>(), row["reused_share"]["p50"].get<double>(),
                row["ttft_edit_over_full"]["p50"].get<double>(),
                row["ttft_edit_over_full"]["p90"].get<double>(),
                row["kl_mean"]["mean"].get<double>(), row["kl_mean"]["p90"].get<double>(),
                row["top1_agreement"]["mean"].get<double>(),
                row["ttft_exact_over_full"]["p50"].get<double>());
  }
  if (const auto& shift = summaries[0]["llama_shift"]; !shift["kl_mean"].is_null()) {
    std::printf(
        "llama.cpp's own shift, no row recomputed: ttft/full %.3f / %.3f, KL %.2e / %.2e, "
        "top-1 %.3f\n",
        shift["ttft_over_full"]["p50"].get<double>(), shift["ttft_over_full"]["p90"].get<double>(),
        shift["kl_mean"]["mean"].get<double>(), shift["kl_mean"]["p90"].get<double>(),
        shift["top1_agreement"]["mean"].get<double>());
  }
}

}  // namespace kvcommons
