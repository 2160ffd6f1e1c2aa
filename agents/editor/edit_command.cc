#include "agents/editor/edit_command.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "agents/editor/edit_workbench.h"

namespace kvcommons {
namespace {

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.good() && !file.eof()) return Fail(NotFound("cannot read " + path));
  if (text.size() > TokenizedText::kMaxTextBytes) {
    return Fail(InvalidArgument(path + " has " + std::to_string(text.size()) +
                                " bytes; the limit is " +
                                std::to_string(TokenizedText::kMaxTextBytes)));
  }
  return text;
}

void PrintMode(const char* name, const ModeResult& mode, double full_ms, bool compared) {
  if (mode.report.total == 0) return;
  std::printf("  %-14s %9.1f ms %7.3f  %6u %6u %6u", name, mode.report.ttft_ms,
              full_ms > 0 ? mode.report.ttft_ms / full_ms : 1.0, mode.report.exact,
              mode.report.moved, mode.report.computed);
  if (compared && mode.fidelity.positions > 0) {
    std::printf("  %9.2e %6.3f", mode.fidelity.kl_mean, mode.fidelity.top1_agreement);
  }
  std::printf("\n");
}

}  // namespace

nlohmann::json ToJson(const EditResult& result, Policy policy) {
  const ModeResult& chosen = policy == Policy::kEdit    ? result.edit
                             : policy == Policy::kExact ? result.exact
                                                        : result.full;
  const auto or_null = [](const ModeResult& mode) -> nlohmann::json {
    return mode.report.total == 0 ? nlohmann::json(nullptr) : nlohmann::json(mode.report.ttft_ms);
  };
  nlohmann::json json = {{"tokens",
                          {{"total", chosen.report.total},
                           {"exact", chosen.report.exact},
                           {"moved", chosen.report.moved},
                           {"computed", chosen.report.computed}}},
                         {"ttft_ms",
                          {{"full", or_null(result.full)},
                           {"exact", or_null(result.exact)},
                           {"edit", or_null(result.edit)}}},
                         {"plan_ms", chosen.report.plan_ms},
                         {"place_ms", chosen.report.place_ms},
                         {"compute_ms", chosen.report.compute_ms},
                         {"loaded_blocks", chosen.report.loaded_blocks},
                         {"before_ms", result.before_ms},
                         {"retokenise_ms", result.retokenise_ms},
                         {"commit_ms", result.commit_ms},
                         {"revision", result.revision},
                         {"document_tokens", result.document_tokens},
                         {"exact_prefix_tokens", result.exact.report.exact},
                         {"fallback", chosen.report.fallback},
                         {"text", result.text}};
  if (chosen.fidelity.positions > 0) {
    json["kl_mean"] = chosen.fidelity.kl_mean;
    json["kl_max"] = chosen.fidelity.kl_max;
    json["top1_agreement"] = chosen.fidelity.top1_agreement;
    json["positions"] = chosen.fidelity.positions;
    json["logits_hash"] = result.logits_hash;
    json["kl_mean_exact"] = result.exact.fidelity.kl_mean;
  } else {
    json["kl_mean"] = nullptr;
    json["top1_agreement"] = nullptr;
  }
  return json;
}

int RunEditCommand(const EditCommandOptions& options, const EditFiles& files) {
  const auto failed = [](const Status& status) { return FailCommand("edit", status); };
  auto policy = ParsePolicy(options.policy);
  if (!policy.has_value()) return failed(policy.error());
  auto before = ReadFile(files.before_path);
  if (!before.has_value()) return failed(before.error());
  auto after = ReadFile(files.after_path);
  if (!after.has_value()) return failed(after.error());

  auto bench = EditWorkbench::Open(options, *policy != Policy::kOff);
  if (!bench.has_value()) return failed(bench.error());
  std::string document = files.document;
  if (document.empty()) document = std::filesystem::absolute(files.before_path).string();
  auto result = (*bench)->Run(document, *before, *after, options.after_rows);
  if (!result.has_value()) return failed(result.error());

  if (options.common.json_path != "-") {
    std::printf("%u tokens of document, %u of prompt\n", result->document_tokens,
                std::max({result->full.report.total, result->exact.report.total,
                          result->edit.report.total}));
    std::printf("  %-14s %12s %7s  %6s %6s %6s%s\n", "mode", "first token", "share", "exact",
                "moved", "comp.", options.compare ? "  KL (mean)  top-1" : "");
    const double full_ms = result->full.report.ttft_ms;
    PrintMode("full prefill", result->full, full_ms, options.compare);
    PrintMode("exact prefix", result->exact, full_ms, options.compare);
    PrintMode("edit reuse", result->edit, full_ms, options.compare);
    const ModeResult& chosen = *policy == Policy::kEdit ? result->edit : result->exact;
    if (*policy != Policy::kOff) std::printf("%s", chosen.report.explanation.c_str());
    if (!chosen.report.fallback.empty()) {
      std::printf("computed in full: %s\n", chosen.report.fallback.c_str());
    }
    std::printf("text: %s\n", result->text.c_str());
  }
  if (options.common.json_path.empty()) return 0;
  const Status written = WriteJson(options.common.json_path, ToJson(*result, *policy));
  return written.ok() ? 0 : failed(written);
}

}  // namespace kvcommons
