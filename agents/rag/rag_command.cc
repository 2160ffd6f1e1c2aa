#include "agents/rag/rag_command.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <set>

#include "agents/rag/data_cases.h"
#include "agents/rag/fidelity_report.h"

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
  const Json rows = FidelityRows(lines, seed);
  if (options.json_path != "-") std::fputs(FidelityTable(rows).c_str(), stdout);
  if (options.json_path.empty()) return 0;
  const Status written = WriteText(options.json_path, rows.dump(1));
  return written.ok() ? 0 : FailCommand(name, written);
}

// In one write, so that processes that add to one file do not mix; begun with a line's end, since a
// kill may have cut off the one before.
Status AddLine(const std::string& path, const std::string& line) {
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return Unavailable("cannot write " + path);
  const std::string text = '\n' + line + '\n';
  const bool whole = ::write(file, text.data(), text.size()) == std::ssize(text);
  if (::close(file) != 0 || !whole) return Unavailable("cannot write " + path);
  return Status();
}

}  // namespace

int RunRagCommand(const CommonOptions& options, const RagOptions& rag) {
  constexpr const char* kName = "rag";
  auto engine = OpenEngine(options);
  if (!engine) return FailCommand(kName, engine.error());
  auto bench = FidelityBench::Create(**engine, rag.fidelity);
  if (!bench) return FailCommand(kName, bench.error());
  std::ifstream file;
  if (rag.cases_path != "-") {
    file.open(rag.cases_path);
    if (!file) return FailCommand(kName, NotFound("cannot read " + rag.cases_path));
  }
  std::istream& input = rag.cases_path == "-" ? std::cin : file;
  std::vector<Json> lines;
  for (std::string text; lines.size() < rag.cases_max && std::getline(input, text);) {
    auto parsed = ParseCase(**engine, text, rag.limits);
    if (!parsed) return FailCommand(kName, parsed.error());
    parsed->setting = "cases";
    auto line = bench->Measure(*parsed);
    if (!line) return FailCommand(kName, line.error());
    std::fprintf(stderr, "%zu %s\n", lines.size() + 1, parsed->id.c_str());
    if (!line->is_null()) lines.push_back(std::move(*line));
  }
  return Report(kName, options, lines, rag.fidelity.seed);
}

int RunFidelityBench(const CommonOptions& options, const FidelityBenchOptions& bench_options) {
  constexpr const char* kName = "bench fidelity";
  std::vector<Json> lines;
  std::set<std::pair<std::string, std::string>> known;  // (setting, id)
  std::size_t others = 0;
  std::ifstream samples(bench_options.samples_path);
  for (std::string text; std::getline(samples, text);) {
    Json line = Json::parse(text, nullptr, false);
    // A line that was cut off, by a kill, is no JSON.
    if (text.empty()) continue;
    if (!line.is_object() || line.value("revision", 1) != kFidelityRevision) {
      ++others;
      continue;
    }
    if (!line.contains("setting") || !line.contains("id")) {
      ++others;
      continue;
    }
    known.emplace(line.at("setting"), line.at("id"));
    lines.push_back(std::move(line));
  }
  if (others > 0) {
    std::fprintf(stderr,
                 "%s: %zu lines of other revisions of the methods, or cut off, are left out\n",
                 bench_options.samples_path.c_str(), others);
  }
  auto engine = OpenEngine(options);
  if (!engine) return FailCommand(kName, engine.error());
  auto bench = FidelityBench::Create(**engine, bench_options.fidelity);
  if (!bench) return FailCommand(kName, bench.error());
  for (const std::string& setting : bench_options.settings) {
    const auto cases = DataCases::Open(bench_options.data_path, setting);
    if (!cases) return FailCommand(kName, cases.error());
    for (std::uint32_t i = 0; i < bench_options.cases; ++i) {
      const std::uint32_t index = bench_options.first + i;
      const auto one = cases->Make(**engine, index, bench_options.fidelity.seed);
      if (!one) return FailCommand(kName, one.error());
      if (known.contains({setting, one->id})) continue;
      auto line = bench->Measure(*one);
      if (!line) return FailCommand(kName, line.error());
      std::fprintf(stderr, "%s %u/%u %s\n", setting.c_str(), i + 1, bench_options.cases,
                   one->id.c_str());
      if (line->is_null()) continue;
      if (line->contains("not_kept")) {
        std::fprintf(stderr, "chunks are not kept: %s\n",
                     line->at("not_kept").get<std::string>().c_str());
      }
      if (!bench_options.samples_path.empty()) {
        const Status added = AddLine(bench_options.samples_path, line->dump());
        if (!added.ok()) return FailCommand(kName, added);
      }
      lines.push_back(std::move(*line));
    }
  }
  return Report(kName, options, lines, bench_options.fidelity.seed);
}

}  // namespace kvcommons
