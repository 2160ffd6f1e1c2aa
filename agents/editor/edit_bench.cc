// `bench edits`: real edits, one document's chain after the other, each edit compared with full
// prefill and with the exact prefix; run for several numbers of rows recomputed after an edit.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "agents/editor/edit_bench_report.h"
#include "agents/editor/edit_command.h"
#include "agents/editor/edit_workbench.h"
#include "agents/editor/peer_llama_shift.h"

namespace kvcommons {
namespace {

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

// Runs the peer on the same edit; its logits come from passes of another shape, which is part of
// the 4-bit engine's noise.
Status MeasurePeer(LlamaShiftPeer& peer, const EditResult& result, EditSample& sample,
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

// Fails when an edit that an earlier run's JSON also has gave other logits, or when it has none of
// them.
Status CheckSame(const std::string& path, const nlohmann::json& details) {
  std::ifstream file(path);
  const auto earlier = nlohmann::json::parse(file, nullptr, false);
  if (earlier.is_discarded() || !earlier.contains("edits")) {
    return InvalidArgument(path + " is no result of bench edits");
  }
  const auto key = [](const nlohmann::json& edit) {
    return edit.value("id", "") + " edit " + std::to_string(edit.value("edit", 0)) +
           " K=" + std::to_string(edit.value("after_rows", 0));
  };
  std::map<std::string, std::uint64_t> hashes;
  for (const auto& edit : earlier["edits"]) {
    hashes[key(edit)] = edit.value("logits_hash", std::uint64_t{0});
  }
  std::size_t same = 0;
  for (const auto& edit : details) {
    const auto found = hashes.find(key(edit));
    if (found == hashes.end()) continue;
    if (found->second != edit["logits_hash"].get<std::uint64_t>()) {
      return Internal(key(edit) + " gave other logits than in " + path +
                      " (both runs have to begin on an empty store)");
    }
    ++same;
  }
  if (same == 0) return NotFound(path + " has none of these edits");
  std::fprintf(stderr, "%zu edits: logits byte-identical to those of %s\n", same, path.c_str());
  return Status();
}

}  // namespace

int RunEditBench(const EditCommandOptions& options, const EditBenchOptions& bench_options) {
  const auto failed = [](const Status& status) { return FailCommand("bench edits", status); };
  EditCommandOptions compare = options;
  compare.compare = true;
  compare.policy = "edit";
  compare.generate = false;
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
  std::vector<std::vector<EditSample>> samples(sweep.size());
  nlohmann::json details = nlohmann::json::array();
  std::size_t documents = 0;

  const auto summaries = [&] {
    nlohmann::json all = nlohmann::json::array();
    for (std::size_t k = 0; k < sweep.size(); ++k) {
      all.push_back(SummarizeEdits(sweep[k], documents, samples[k]));
    }
    return all;
  };
  const auto write_json = [&](const std::string& path) {
    return WriteJson(path, {{"summary", summaries()}, {"edits", details}});
  };

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
      std::optional<EditResult> compared;
      for (std::size_t k = 0; k < sweep.size(); ++k) {
        // A lineage of its own for each number of rows: each goes its own way over the chain.
        const std::string document =
            record.value("id", "document") + "#" + std::to_string(sweep[k]);
        auto result = (*bench)->Run(document, before, *after, sweep[k],
                                    compared.has_value() ? &*compared : nullptr);
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
        const EditSample& last = samples[k].back();
        std::fprintf(stderr,
                     "%3zu %-9s edit %u K=%-3u %5.0f tokens, reused %.3f, ttft %.3f of full, KL "
                     "%.2e, top-1 %.3f%s\n",
                     documents + 1, record.value("id", "").c_str(), edit_count, sweep[k], total,
                     last.reused_share, last.ttft_ratio, last.kl, last.top1,
                     result->edit.report.fallback.c_str());
        if (!compared.has_value()) compared = std::move(*result);
      }
      counted = true;
      before = *after;
      ++edit_count;
    }
    documents += counted ? 1 : 0;
    // After every document: hours of measuring survive an interruption.
    if (counted && !options.common.json_path.empty() && options.common.json_path != "-") {
      if (const Status written = write_json(options.common.json_path); !written.ok()) {
        return failed(written);
      }
    }
  }

  PrintEditTable(documents, summaries());
  if (!options.common.json_path.empty()) {
    const Status written = write_json(options.common.json_path);
    if (!written.ok()) return failed(written);
  }
  if (bench_options.same_as_path.empty()) return 0;
  const Status same = CheckSame(bench_options.same_as_path, details);
  return same.ok() ? 0 : failed(same);
}

}  // namespace kvcommons
