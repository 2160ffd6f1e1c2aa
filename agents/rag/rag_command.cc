#include "agents/rag/rag_command.h"

#include <cstdio>
#include <fstream>
#include <iostream>

#include "agents/rag/data_cases.h"
#include "agents/rag/fidelity_report.h"
#include "agents/rag/fidelity_samples.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

Result<std::unique_ptr<Engine>> OpenEngine(const CommonOptions& options) {
  auto engine_options = ToEngineOptions(options);
  if (!engine_options) return Fail(engine_options.error());
  engine_options->measure_costs = false;
  engine_options->ubatch_tokens = 4096;  // a pass is one ubatch: see Composer
  return Engine::Open(*engine_options);
}

int Report(const char* name, const CommonOptions& options, const std::vector<Json>& lines,
           std::uint64_t seed) {
  if (lines.empty()) return FailCommand(name, NotFound("no cases"));
  std::fputs(RefusedRows(lines).c_str(), stderr);
  const Json rows = FidelityRows(lines, seed);
  if (options.json_path != "-") std::fputs(FidelityTable(rows).c_str(), stdout);
  if (options.json_path.empty()) return 0;
  const Status written = WriteJson(options.json_path, rows);
  return written.ok() ? 0 : FailCommand(name, written);
}

}  // namespace

int RunRagCommand(const CommonOptions& options, const RagOptions& rag) {
  constexpr const char* kName = "rag";
  std::ifstream file;
  if (rag.cases_path != "-") {
    file.open(rag.cases_path);
    if (!file) return FailCommand(kName, InvalidArgument("cannot read " + rag.cases_path));
  }
  CaseReader reader(rag.cases_path == "-" ? std::cin : file);
  auto engine = OpenEngine(options);
  if (!engine) return FailCommand(kName, engine.error());
  FidelityOptions fidelity = rag.fidelity;
  fidelity.timed = true;  // One who asks wants times, such as they are.
  auto bench = FidelityBench::Create(**engine, fidelity);
  if (!bench) return FailCommand(kName, bench.error());
  std::vector<Json> lines;
  while (lines.size() < rag.cases_max) {
    const auto text = reader.Next();
    if (!text) return FailCommand(kName, text.error());
    if (!*text) break;
    auto rag_case = TokenizeCase(**engine, bench->format(), **text, rag.limits);
    if (!rag_case) return FailCommand(kName, rag_case.error());
    rag_case->setting = "cases";
    auto line = bench->Measure(*rag_case);
    if (!line) return FailCommand(kName, line.error());
    std::fprintf(stderr, "%zu %s\n", lines.size() + 1, rag_case->id.c_str());
    if (!line->is_null()) lines.push_back(std::move(*line));
  }
  return Report(kName, options, lines, rag.fidelity.seed);
}

int RunFidelityBench(const CommonOptions& options, const FidelityBenchOptions& bench_options) {
  constexpr const char* kName = "bench fidelity";
  auto engine = OpenEngine(options);
  if (!engine) return FailCommand(kName, engine.error());
  auto bench = FidelityBench::Create(**engine, bench_options.fidelity);
  if (!bench) return FailCommand(kName, bench.error());
  auto samples = FidelitySamples::Read(bench_options.samples_path, bench->wanted());
  if (samples.left_out() > 0) {
    std::fprintf(
        stderr,
        "%s: %zu lines are left out: of another revision of the methods, model or seed, or "
        "cut off\n",
        bench_options.samples_path.c_str(), samples.left_out());
  }
  for (const std::string& setting : bench_options.settings) {
    const auto cases = DataCases::Open(bench_options.data_path, setting);
    if (!cases) return FailCommand(kName, cases.error());
    for (std::uint32_t i = 0; i < bench_options.cases; ++i) {
      const std::uint32_t index = bench_options.first + i;
      const auto one = cases->Make(**engine, bench->format(), index, bench_options.fidelity.seed);
      if (!one) return FailCommand(kName, one.error());
      auto line = bench->Measure(*one, samples.Known(setting, one->id));
      if (!line) return FailCommand(kName, line.error());
      if (line->is_null()) continue;
      std::fprintf(stderr, "%s %u/%u %s\n", setting.c_str(), i + 1, bench_options.cases,
                   one->id.c_str());
      if (line->contains("not_kept")) {
        std::fprintf(stderr, "chunks are not kept: %s\n",
                     line->at("not_kept").get<std::string>().c_str());
      }
      const Status added = samples.Add(std::move(*line));
      if (!added.ok()) return FailCommand(kName, added);
    }
  }
  return Report(kName, options, samples.lines(), bench_options.fidelity.seed);
}

}  // namespace kvcommons
