// `bench edits`: real edits, one document's chain after the other, each edit compared with full
// prefill and with the exact prefix; run for several numbers of rows recomputed after an edit.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "agents/editor/edit_command.h"
#include "agents/editor/edit_workbench.h"
#include "agents/editor/peer_llama_shift.h"

namespace kvcommons {
namespace {

struct Sample {
  double ttft_ratio, exact_ratio, kl, kl_exact, top1, reused_share, computed_share;
  std::optional<double> shift_ratio = {}, kl_shift = {}, top1_shift = {};
};

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto index = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
  return values[index];
}

// Applies one recorded edit; nullopt when its ranges do not fit the text.
std::optional<std::string> Apply(const std::string& text, const nlohmann::json& ops,
                                 std::size_t& changed_bytes) {
  std::string result;
  std::size_t at = 0;
  changed_bytes = 0;
  for (const auto& op : ops) {
    const auto begin = op.at(0).get<std::size_t>();
    const auto end = op.at(1).get<std::size_t>();
    const auto insert = op.at(2).get<std::string>();
    if (begin < at || end < begin || end > text.size()) return std::nullopt;
    result.append(text, at, begin - at).append(insert);
    changed_bytes += std::max(end - begin, insert.size());
    at = end;
  }
  return result.append(text, at);
}

// Null where no sample has the figure.
template <typename Get>
nlohmann::json Spread(const std::vector<Sample>& samples, Get get) {
  std::vector<double> values;
  double sum = 0;
  for (const Sample& sample : samples) {
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

nlohmann::json Summary(std::uint32_t after_rows, std::size_t documents,
                       const std::vector<Sample>& samples) {
  return {{"after_rows", after_rows},
          {"documents", documents},
          {"edits", samples.size()},
          {"reused_share", Spread(samples, [](const Sample& s) { return s.reused_share; })},
          {"computed_share", Spread(samples, [](const Sample& s) { return s.computed_share; })},
          {"ttft_edit_over_full", Spread(samples, [](const Sample& s) { return s.ttft_ratio; })},
          {"ttft_exact_over_full", Spread(samples, [](const Sample& s) { return s.exact_ratio; })},
          {"kl_mean", Spread(samples, [](const Sample& s) { return s.kl; })},
          {"kl_exact_prefix", Spread(samples, [](const Sample& s) { return s.kl_exact; })},
          {"top1_agreement", Spread(samples, [](const Sample& s) { return s.top1; })},
          {"llama_shift",
           {{"ttft_over_full", Spread(samples, [](const Sample& s) { return s.shift_ratio; })},
            {"kl_mean", Spread(samples, [](const Sample& s) { return s.kl_shift; })},
            {"top1_agreement", Spread(samples, [](const Sample& s) { return s.top1_shift; })}}}};
}

// Runs the peer on the same edit; its logits come from passes of another shape, which is part of
// the 4-bit engine's noise.
Status MeasurePeer(LlamaShiftPeer& peer, const EditResult& result, Sample& sample,
                   nlohmann::json& detail) {
  auto outcome = peer.Run(result.before_ids, result.prompt, result.forced);
  if (!outcome) return outcome.error();
  const Fidelity fidelity = Compare(result.reference, outcome->logits);
  sample.shift_ratio = outcome->ttft_ms / result.full.report.ttft_ms;
  sample.kl_shift = fidelity.kl_mean;
  sample.top1_shift = fidelity.top1_agreement;
  detail["llama_shift"] = {{"ttft_ms", outcome->ttft_ms},
                           {"computed", outcome->computed},
                           {"kl_mean", fidelity.kl_mean},
                           {"top1_agreement", fidelity.top1_agreement}};
  return Status();
}

// What a peer in another process needs to do the same edit and be judged on its first token: the
// most probable tokens after full prefill, as log-probabilities.
nlohmann::json DumpLine(const std::string& id, std::uint32_t edit, const EditResult& result) {
  constexpr std::size_t kTop = 64;
  const std::vector<float>& logits = result.reference.front();
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - top));
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t count = std::min(kTop, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [&](TokenId a, TokenId b) {
                      return logits[static_cast<std::size_t>(a)] >
                             logits[static_cast<std::size_t>(b)];
                    });
  nlohmann::json first = nlohmann::json::array();
  for (std::size_t i = 0; i < count; ++i) {
    first.push_back({order[i], logits[static_cast<std::size_t>(order[i])] - top - std::log(sum)});
  }
  return {{"id", id},
          {"edit", edit},
          {"before", result.before_ids},
          {"prompt", result.prompt},
          {"first_logprobs", std::move(first)},
          {"full_ms", result.full.report.ttft_ms}};
}

}  // namespace

int RunEditBench(const EditCommandOptions& options, const EditBenchOptions& bench_options) {
  const auto failed = [](const Status& status) { return FailCommand("bench edits", status); };
  EditCommandOptions compare = options;
  compare.compare = true;
  compare.policy = "edit";
  auto bench = EditWorkbench::Open(compare, true);
  if (!bench.has_value()) return failed(bench.error());

  std::unique_ptr<LlamaShiftPeer> peer;
  if (bench_options.with_shift_peer) {
    auto opened = LlamaShiftPeer::Open(options.common.model_path,
                                       (*bench)->engine().context_tokens(), options.common.threads);
    if (!opened) return failed(opened.error());
    peer = std::move(*opened);
  }

  std::optional<std::ofstream> dump;
  if (!bench_options.dump_path.empty()) {
    dump.emplace(bench_options.dump_path);
    if (!*dump) return failed(NotFound("cannot write " + bench_options.dump_path));
  }

  std::vector<std::uint32_t> sweep = bench_options.after_rows;
  if (sweep.empty()) sweep.push_back(options.after_rows);
  std::vector<std::vector<Sample>> samples(sweep.size());
  nlohmann::json details = nlohmann::json::array();
  std::size_t documents = 0;

  std::ifstream file;
  if (bench_options.cases_path != "-") {
    file.open(bench_options.cases_path);
    if (!file) return failed(NotFound("cannot read " + bench_options.cases_path));
  }
  std::istream& input = bench_options.cases_path == "-" ? std::cin : file;
  for (std::string line; documents < bench_options.documents_max && std::getline(input, line);) {
    const auto record = nlohmann::json::parse(line, nullptr, false);
    if (record.is_discarded() || !record.contains("base") || !record.contains("edits")) {
      return failed(InvalidArgument("a line of the cases is no {\"id\", \"base\", \"edits\"}"));
    }
    std::string before = record["base"].get<std::string>();
    bool counted = false;
    std::uint32_t edit_count = 0;
    for (const auto& edit : record["edits"]) {
      if (edit_count >= bench_options.edits_max) break;
      std::size_t changed_bytes = 0;
      const auto after = Apply(before, edit["ops"], changed_bytes);
      if (!after.has_value()) return failed(InvalidArgument("an edit does not fit its document"));
      const bool small = static_cast<double>(changed_bytes) <=
                         bench_options.changed_share_max * static_cast<double>(after->size());
      auto ids = (*bench)->engine().Tokenize(*after, false);
      if (!ids.has_value()) return failed(ids.error());
      if (!small || ids->size() < bench_options.tokens_min ||
          ids->size() > bench_options.tokens_max) {
        // A new chain begins behind an edit that is not one of ours.
        if (counted) break;
        before = *after;
        continue;
      }
      for (std::size_t k = 0; k < sweep.size(); ++k) {
        // A lineage of its own for each number of rows: each goes its own way over the chain.
        const std::string document =
            record.value("id", "document") + "#" + std::to_string(sweep[k]);
        auto result = (*bench)->Run(document, before, *after, sweep[k]);
        if (!result.has_value()) return failed(result.error());
        const double total = result->edit.report.total;
        samples[k].push_back({result->edit.report.ttft_ms / result->full.report.ttft_ms,
                              result->exact.report.ttft_ms / result->full.report.ttft_ms,
                              result->edit.fidelity.kl_mean, result->exact.fidelity.kl_mean,
                              result->edit.fidelity.top1_agreement,
                              (result->edit.report.exact + result->edit.report.moved) / total,
                              result->edit.report.computed / total});
        auto detail = ToJson(*result, Policy::kEdit);
        detail.erase("text");
        detail["id"] = record.value("id", "");
        detail["edit"] = edit_count;
        detail["after_rows"] = sweep[k];
        if (dump && k == 0)
          *dump << DumpLine(record.value("id", ""), edit_count, *result).dump() << "\n";
        // What llama.cpp does has no K: once is enough.
        if (peer != nullptr && k == 0) {
          const Status measured = MeasurePeer(*peer, *result, samples[k].back(), detail);
          if (!measured.ok()) return failed(measured);
        }
        details.push_back(std::move(detail));
        const Sample& last = samples[k].back();
        std::fprintf(stderr,
                     "%3zu %-9s edit %u K=%-3u %5.0f tokens, reused %.3f, ttft %.3f of full, KL "
                     "%.2e, top-1 %.3f%s\n",
                     documents + 1, record.value("id", "").c_str(), edit_count, sweep[k], total,
                     last.reused_share, last.ttft_ratio, last.kl, last.top1,
                     result->edit.report.fallback.c_str());
      }
      counted = true;
      before = *after;
      ++edit_count;
    }
    documents += counted ? 1 : 0;
  }

  nlohmann::json summary = nlohmann::json::array();
  for (std::size_t k = 0; k < sweep.size(); ++k) {
    summary.push_back(Summary(sweep[k], documents, samples[k]));
  }
  std::printf("%zu documents\n%6s %6s %22s %22s %22s %8s %8s\n", documents, "K", "edits",
              "reused p10/p50", "ttft/full p50/p90", "KL mean/p90", "top-1", "exact");
  for (const auto& row : summary) {
    std::printf("%6u %6zu %12.3f / %.3f %12.3f / %.3f %12.2e / %.2e %8.3f %8.3f\n",
                row["after_rows"].get<unsigned>(), row["edits"].get<std::size_t>(),
                row["reused_share"]["p10"].get<double>(), row["reused_share"]["p50"].get<double>(),
                row["ttft_edit_over_full"]["p50"].get<double>(),
                row["ttft_edit_over_full"]["p90"].get<double>(),
                row["kl_mean"]["mean"].get<double>(), row["kl_mean"]["p90"].get<double>(),
                row["top1_agreement"]["mean"].get<double>(),
                row["ttft_exact_over_full"]["p50"].get<double>());
  }
  if (const auto& shift = summary[0]["llama_shift"]; !shift["kl_mean"].is_null()) {
    std::printf(
        "llama.cpp's own shift, no row recomputed: ttft/full %.3f / %.3f, KL %.2e / %.2e, "
        "top-1 %.3f\n",
        shift["ttft_over_full"]["p50"].get<double>(), shift["ttft_over_full"]["p90"].get<double>(),
        shift["kl_mean"]["mean"].get<double>(), shift["kl_mean"]["p90"].get<double>(),
        shift["top1_agreement"]["mean"].get<double>());
  }
  if (options.common.json_path.empty()) return 0;
  const nlohmann::json all = {{"summary", summary}, {"edits", details}};
  const Status written = WriteText(options.common.json_path, all.dump(1));
  return written.ok() ? 0 : failed(written);
}

}  // namespace kvcommons
