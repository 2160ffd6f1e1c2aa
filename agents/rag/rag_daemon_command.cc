#include "agents/rag/rag_daemon_command.h"

#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "agents/engine/fidelity.h"
#include "agents/engine/teacher_force.h"
#include "agents/rag/cases.h"
#include "agents/rag/daemon_cases.h"
#include "agents/rag/decode_repair.h"
#include "agents/rag/library_command.h"
#include "agents/rag/library_worker.h"
#include "agents/rag/rag_workbench.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

constexpr const char* kName = "rag";

// Full prefill of a prompt, and what it goes on with.
struct Reference {
  std::vector<TokenId> forced;
  LogitRows logits;
  double ttft_ms = 0;
};

Result<Reference> Prefill(Engine& engine, const Clock& clock, std::span<const TokenId> prompt,
                          std::uint32_t max_tokens) {
  Reference reference;
  engine.Clear();
  const std::int64_t start_ns = clock.NowNs();
  KVC_FAIL_IF_ERROR(engine.RunRest(prompt));
  reference.ttft_ms = static_cast<double>(clock.NowNs() - start_ns) / 1e6;
  auto forced = engine.Generate(max_tokens);
  if (!forced) return Fail(forced.error());
  reference.forced = std::move(*forced);
  // An answer that ends at once is compared on its end.
  if (reference.forced.empty()) reference.forced.push_back(engine.Greedy());
  KVC_FAIL_IF_ERROR(engine.RemoveFrom(static_cast<Position>(prompt.size())));
  auto logits = TeacherForce(engine, prompt, reference.forced);
  if (!logits) return Fail(logits.error());
  reference.logits = std::move(*logits);
  return reference;
}

// "mean x3, computed": what the chunks were served from.
std::string VariantsText(const RagReport& report) {
  std::map<RootKind, int> counts;
  for (const RagReport::Chunk& chunk : report.chunks) ++counts[chunk.variant];
  std::string text;
  for (const auto& [kind, count] : counts) {
    if (!text.empty()) text += ", ";
    text += kind == RootKind::kEmpty ? "no variant" : std::string(RootKindName(kind));
    if (count > 1) text += " x" + std::to_string(count);
  }
  return text;
}

// What the variants that were used took to prepare.
Result<double> PrepareMs(LibraryHandle& library, const RagReport& report) {
  double sum_ms = 0;
  for (const RagReport::Chunk& chunk : report.chunks) {
    if (chunk.document.empty() || chunk.variant == RootKind::kEmpty) continue;
    const auto document = library.Get(chunk.document);
    if (!document) return Fail(document.error());
    if (!*document) continue;
    for (const auto& variant : (*document)->document.variants) {
      if (variant.root == chunk.root) sum_ms += static_cast<double>(variant.prepare_us) / 1e3;
    }
  }
  return sum_ms;
}

Json ToJson(const std::optional<BudgetChoice>& choice) {
  if (!choice) return nullptr;
  return {{"equal_ratio", choice->equal_ratio},
          {"ratio", choice->ratio},
          {"load_us", choice->load_us},
          {"total_us", choice->total_us},
          {"tier", choice->tier},
          {"cheapest_tier", choice->cheapest_tier.empty() ? Json() : Json(choice->cheapest_tier)},
          {"why", choice->why}};
}

Json ToJson(const DaemonCase& one, const RagSession::Options& options, const RagReport& report) {
  Json chunks = Json::array();
  for (const RagReport::Chunk& chunk : report.chunks) {
    chunks.push_back({{"variant", RootKindName(chunk.variant)},
                      {"root", chunk.root},
                      {"document", chunk.document},
                      {"deviation", chunk.deviation ? Json(*chunk.deviation) : Json()}});
  }
  return {{"setting", "daemon"},
          {"id", one.id},
          {"rule", options.compose.rule},
          {"completion", report.completion},
          {"budget", report.budget_auto ? report.budget_auto->budget : options.compose.budget},
          {"budget_auto", ToJson(report.budget_auto)},
          {"charged", report.charged},
          {"ttft_ms", report.ttft_ms},
          {"plan_ms", report.plan_ms},
          {"place_ms", report.place_ms},
          {"look_ms", report.look_ms},
          {"select_ms", report.select_ms},
          {"compute_ms", report.compute_ms},
          {"complete_ms", report.complete_ms},
          {"stall_ms", report.stall_ms},
          {"stall_ms_total", StallTotalMs(report.stall_ms)},
          {"tokens",
           {{"total", report.total},
            {"exact", report.exact},
            {"canonical", report.canonical},
            {"recomputed", report.recomputed},
            {"fresh", report.fresh}}},
          {"chunks", chunks},
          {"corrected", report.corrected},
          {"corrected_rows", report.corrected_rows},
          {"left_wild_rows", report.left_wild_rows},
          {"left_few_rows", report.left_few_rows},
          {"left_worse", report.left_worse},
          {"left_without_loadings", report.left_without_loadings},
          {"loaded_blocks", report.loaded_blocks},
          {"loaded_ms", report.loaded_ms},
          {"fallback", report.fallback},
          {"not_composed", report.not_composed},
          {"not_completed", report.not_completed},
          {"kl", nullptr},
          // Of a single prompt: no interval, and nothing that was also placed behind sinks alone.
          {"kl_low", nullptr},
          {"kl_high", nullptr},
          {"recovered", nullptr},
          {"recovered_system", nullptr},
          {"f1", nullptr},
          {"top1", nullptr},
          {"ttft_full_ms", nullptr},
          {"cases", 1}};
}

void PrintHeader() {
  std::printf("%-12s %-20s %7s %6s %6s %6s %6s %10s  %9s %8s  %9s %9s %6s  %s\n", "case", "rule",
              "budget", "tokens", "exact", "canon.", "recom.", "charged", "ttft ms", "stall ms",
              "full ms", "KL", "top-1", "from");
}

void PrintRow(const Json& row, const RagReport& report) {
  std::printf(
      "%-12s %-20s %5.1f %% %6u %6u %6u %6u %8.1f %%  %9.1f %8.1f",
      row["id"].get<std::string>().c_str(), QualityName(row["rule"], report.completion).c_str(),
      100 * row["budget"].get<double>(), report.total, report.exact, report.canonical,
      report.recomputed, 100 * report.charged, report.ttft_ms, StallTotalMs(report.stall_ms));
  if (row["kl"].is_null()) {
    std::printf("  %9s %9s %6s", "-", "-", "-");
  } else {
    std::printf("  %9.1f %9.2e %6.3f", row["ttft_full_ms"].get<double>(), row["kl"].get<double>(),
                row["top1"].get<double>());
  }
  std::printf("  %s\n", VariantsText(report).c_str());
  const std::string budget = report.budget_auto ? report.budget_auto->why : "";
  for (const std::string& why :
       {report.fallback, report.not_composed, report.not_completed, budget}) {
    if (!why.empty()) std::printf("  %s\n", why.c_str());
  }
}

// The combinations that every case is run with.
Result<std::vector<ComposerOptions>> Combinations(const CommonOptions& options,
                                                  const DaemonRagOptions& rag) {
  if (rag.completion != "on" && rag.completion != "off" && rag.completion != "both") {
    return Fail(InvalidArgument("--completion is '" + rag.completion + "'; use on, off or both"));
  }
  std::vector<ComposerOptions> all;
  for (const std::string& rule : rag.rules) {
    for (const std::string& text : rag.budgets) {
      const auto budget = ParseBudget(text);
      if (!budget) return Fail(budget.error());
      ComposerOptions one{rule, budget->value_or(0), false, rag.seed, !rag.place_before};
      if (!*budget) {
        if (!options.measure_costs) {
          return Fail(InvalidArgument(
              "--budget is 'auto', which needs measured costs; leave --fixed-costs out"));
        }
        KVC_FAIL_IF_ERROR(CheckAutoBudget(rag.auto_budget, rule));
        one.auto_budget = rag.auto_budget;
      }
      for (const bool completion : {false, true}) {
        if (rag.completion == (completion ? "off" : "on")) continue;
        one.completion = completion;
        all.push_back(one);
      }
    }
  }
  return all;
}

// One case with one combination, after its reference.
Result<Json> Measure(RagWorkbench& bench, const DaemonCase& one, const RagSession::Options& options,
                     const Reference* reference, const DaemonRagOptions& rag, RagReport& report) {
  auto composed = bench.session().Compose(one.prompt, one.chunks, options);
  if (!composed) return Fail(composed.error());
  report = std::move(*composed);
  Json row = ToJson(one, options, report);
  if (reference != nullptr) {
    DecodeRepair forced(bench.engine(), one.prompt, report.stale);
    const auto logits = forced.TeacherForce(reference->forced);
    if (!logits) return Fail(logits.error());
    const Fidelity fidelity = Compare(reference->logits, *logits);
    row["kl"] = fidelity.kl_mean;
    row["top1"] = fidelity.top1_agreement;
    row["ttft_full_ms"] = reference->ttft_ms;
    if (forced.repaired() > 0) {
      // What was repaired for the forced tokens is not the answer's.
      auto again = bench.session().Compose(one.prompt, one.chunks, options);
      if (!again) return Fail(again.error());
      report.stale = std::move(again->stale);
    }
  }
  DecodeRepair repair(bench.engine(), one.prompt, report.stale);
  // TeacherForce leaves no logits of the prompt's last token.
  if (reference != nullptr) KVC_FAIL_IF_ERROR(repair.RunLast());
  const auto answer = repair.Generate(rag.max_tokens);
  if (!answer) return Fail(answer.error());
  const auto text = bench.engine().Detokenize(*answer);
  if (!text) return Fail(text.error());
  row["text"] = *text;
  if (!one.answers.empty()) row["f1"] = AnswerF1(*text, one.answers);
  row["repaired"] = repair.repaired();
  if (rag.store && report.fallback.empty()) {
    const auto stored = bench.session().Commit(UploadAck::kHeld);
    if (!stored) return Fail(stored.error());
    row["stored"] = stored->stored;
  }
  const auto canary = bench.session().RunCanary();
  if (!canary) return Fail(canary.error());
  if (*canary) row["canary"] = {{"kl", (*canary)->kl}, {"agrees", (*canary)->agrees}};
  const auto prepare_ms = PrepareMs(bench.library(), report);
  if (!prepare_ms) return Fail(prepare_ms.error());
  row["prep_ms"] = *prepare_ms;
  return row;
}

}  // namespace

int RunDaemonRagCommand(const CommonOptions& options, const DaemonRagOptions& rag) {
  const auto combinations = Combinations(options, rag);
  if (!combinations) return FailCommand(kName, combinations.error());
  const auto variants = ParseVariants(rag.variants);
  if (!variants) return FailCommand(kName, variants.error());
  std::ifstream file;
  if (rag.cases_path != "-") {
    file.open(rag.cases_path);
    if (!file) return FailCommand(kName, InvalidArgument("cannot read " + rag.cases_path));
  }
  auto opened = RagWorkbench::Open(options, rag.prompt);
  if (!opened) return FailCommand(kName, opened.error());
  RagWorkbench& bench = **opened;
  CaseReader reader(rag.cases_path == "-" ? std::cin : file);
  std::vector<DaemonCase> cases;
  while (cases.size() < rag.cases_max) {
    const auto text = reader.Next();
    if (!text) return FailCommand(kName, text.error());
    if (!*text) break;
    auto one = TokenizeDaemonCase(bench.engine(), bench.format(), bench.library(), **text, rag.put);
    if (!one) return FailCommand(kName, one.error());
    cases.push_back(std::move(*one));
  }
  if (cases.empty()) return FailCommand(kName, NotFound("no cases in " + rag.cases_path));
  if (rag.put) {
    LibraryWorker worker(bench.engine(), bench.library());
    const auto report = worker.Run({});
    if (!report) return FailCommand(kName, report.error());
    std::fprintf(stderr, "%u prepared, %u passed over, %u prefills, %.0f ms\n", report->prepared,
                 report->skipped, report->prefills, report->took_ms);
  }

  const std::uint64_t canary_seed = rag.canary_seed.value_or(std::random_device{}());
  const bool is_text = options.json_path != "-";
  Json rows = Json::array();
  for (const DaemonCase& one : cases) {
    std::optional<Reference> reference;
    if (rag.compare) {
      auto full = Prefill(bench.engine(), bench.clock(), one.prompt, rag.max_tokens);
      if (!full) return FailCommand(kName, full.error());
      reference = std::move(*full);
    }
    for (const ComposerOptions& compose : *combinations) {
      RagSession::Options session;
      session.compose = compose;
      session.variants = *variants;
      session.canary_share = rag.canary_share;
      session.canary_seed = canary_seed;
      if (rag.store) session.store_tokens = static_cast<std::uint32_t>(one.prompt.size());
      RagReport report;
      auto row = Measure(bench, one, session, reference ? &*reference : nullptr, rag, report);
      if (!row) return FailCommand(kName, row.error());
      if (is_text && rows.empty()) PrintHeader();
      if (is_text) PrintRow(*row, report);
      rows.push_back(std::move(*row));
    }
  }
  if (options.json_path.empty()) return 0;
  const Status written = WriteJson(options.json_path, rows);
  return written.ok() ? 0 : FailCommand(kName, written);
}

}  // namespace kvcommons
