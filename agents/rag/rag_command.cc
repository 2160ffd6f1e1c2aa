#include "agents/rag/rag_command.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <tuple>

#include "agents/editor/fidelity.h"
#include "agents/engine/teacher_force.h"
#include "agents/rag/compose.h"
#include "base/clock.h"

namespace kvcommons {
namespace {

constexpr const char* kSystem =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
    "Face<|im_end|>\n<|im_start|>user\nRead the passages, then answer the question at the end in "
    "one or two full sentences, naming the facts you used.\n\n";
constexpr const char* kSinks = "\n\n\n\n";  // four tokens that only take up the attention

struct RagCase {
  std::string id;
  std::vector<std::vector<TokenId>> chunks;
  std::vector<TokenId> tail;
};

// What is measured of one case with one setting.
struct RagSample {
  double kl = 0, top1 = 0, charged = 0, ttft_ms = 0, look_ms = 0;
};

// (rule, completion, budget); the controls "sink", "system" and "mean" have neither.
using Setting = std::tuple<std::string, bool, double>;

class RagBench {
 public:
  RagBench(const RagOptions& options, std::unique_ptr<Engine> engine)
      : options_(options), engine_(std::move(engine)) {}

  Status ReadPrefaces() {
    auto system = engine_->Tokenize(kSystem, true);
    if (!system) return system.error();
    system_ = *system;
    auto sinks = engine_->Tokenize(kSinks, false);
    if (!sinks) return sinks.error();
    sinks_ = *sinks;
    if (options_.prefaces_path.empty()) return Status();
    std::ifstream file(options_.prefaces_path);
    if (!file) return NotFound("cannot read " + options_.prefaces_path);
    std::vector<std::vector<TokenId>> passages;
    std::string text, line;
    const auto end_of_passage = [&]() -> Status {
      if (text.empty()) return Status();
      auto ids = engine_->Tokenize("Passage: " + text, false);
      if (!ids) return ids.error();
      ids->resize(std::min<std::size_t>(ids->size(), options_.preface_tokens));
      passages.push_back(std::move(*ids));
      text.clear();
      return Status();
    };
    while (std::getline(file, line)) {
      if (line.empty()) {
        KVC_RETURN_IF_ERROR(end_of_passage());
      } else {
        text += (text.empty() ? "" : "\n") + line;
      }
    }
    KVC_RETURN_IF_ERROR(end_of_passage());
    const std::size_t wanted = std::size_t{options_.prefaces} * options_.passages;
    if (passages.size() < wanted) {
      return InvalidArgument(options_.prefaces_path + " has " + std::to_string(passages.size()) +
                             " passages; " + std::to_string(wanted) + " are needed");
    }
    for (std::uint32_t p = 0; p < options_.prefaces; ++p) {
      std::vector<TokenId> preface = system_;
      for (std::uint32_t i = 0; i < options_.passages; ++i) {
        const auto& passage = passages[p * options_.passages + i];
        preface.insert(preface.end(), passage.begin(), passage.end());
      }
      prefaces_.push_back(std::move(preface));
    }
    return Status();
  }

  Result<RagCase> Parse(const std::string& line) const {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_discarded() || !json.contains("chunks") || !json["chunks"].is_array() ||
        !json.contains("question") || !json["question"].is_string()) {
      return Fail(InvalidArgument(R"(a case is no {"id", "chunks": [text, ...], "question"})"));
    }
    RagCase parsed;
    parsed.id = json.value("id", "");
    for (const auto& text : json["chunks"]) {
      if (!text.is_string() || text.get<std::string>().empty()) {
        return Fail(InvalidArgument("case " + parsed.id + ": chunk " +
                                    std::to_string(parsed.chunks.size()) + " is empty or no text"));
      }
      if (parsed.chunks.size() == options_.chunks_max) break;
      auto ids = engine_->Tokenize("Passage: " + text.get<std::string>(), false);
      if (!ids) return Fail(ids.error());
      ids->resize(std::min<std::size_t>(ids->size(), options_.chunk_tokens));
      parsed.chunks.push_back(std::move(*ids));
    }
    if (parsed.chunks.size() < 2) {
      return Fail(InvalidArgument("case " + parsed.id + " has fewer than two chunks"));
    }
    const auto question = json["question"].get<std::string>();
    if (question.empty()) {
      return Fail(InvalidArgument("case " + parsed.id + ": the question is empty"));
    }
    auto tail = engine_->Tokenize(
        "\n\nQuestion: " + question + "<|im_end|>\n<|im_start|>assistant\n", true);
    if (!tail) return Fail(tail.error());
    parsed.tail = std::move(*tail);
    return parsed;
  }

  Status Measure(const RagCase& rag_case) {
    std::vector<TokenId> head_tokens = system_;
    head_tokens.insert(head_tokens.end(), rag_case.chunks[0].begin(), rag_case.chunks[0].end());
    auto head = MakeExactHead(*engine_, head_tokens);
    if (!head) return head.error();
    const auto prepare =
        [&](std::span<const std::vector<TokenId>> prefaces) -> Result<std::vector<CanonicalChunk>> {
      std::vector<CanonicalChunk> chunks;
      for (std::size_t i = 1; i < rag_case.chunks.size(); ++i) {
        auto chunk = MakeCanonical(*engine_, rag_case.chunks[i], prefaces);
        if (!chunk) return Fail(chunk.error());
        chunks.push_back(std::move(*chunk));
      }
      return chunks;
    };
    auto sink = prepare({&sinks_, 1});
    if (!sink) return sink.error();
    auto system = prepare({&system_, 1});
    if (!system) return system.error();
    std::optional<std::vector<CanonicalChunk>> mean;
    if (!prefaces_.empty()) {
      auto made = prepare(prefaces_);
      if (!made) return made.error();
      for (const CanonicalChunk& chunk : *made) prepare_ms_ += chunk.prepare_ms;
      mean = std::move(*made);
    }

    // The reference: full prefill and what it goes on with.
    const std::vector<CanonicalChunk>& base = mean ? *mean : *system;
    Composer composer = ComposerOf(*head, base, rag_case.tail);
    const SystemClock clock;
    engine_->Clear();
    const std::int64_t full_ns = clock.NowNs();
    KVC_RETURN_IF_ERROR(engine_->RunRest(composer.prompt()));
    full_ms_.push_back(static_cast<double>(clock.NowNs() - full_ns) / 1e6);
    auto forced = engine_->Generate(options_.forced_tokens);
    if (!forced) return forced.error();
    if (forced->empty()) return Status();  // It has nothing to say to this.
    const auto prompt_end = static_cast<Position>(composer.prompt().size());
    KVC_RETURN_IF_ERROR(engine_->RemoveFrom(prompt_end));
    auto reference = TeacherForce(*engine_, composer.prompt(), *forced);
    if (!reference) return reference.error();

    const auto run = [&](Composer& with, const Setting& setting,
                         const ComposeOptions& compose) -> Status {
      auto report = with.Run(compose);
      if (!report) return report.error();
      auto logits = TeacherForce(*engine_, with.prompt(), *forced);
      if (!logits) return logits.error();
      const Fidelity fidelity = Compare(*reference, *logits);
      samples_[setting].push_back({fidelity.kl_mean, fidelity.top1_agreement, report->charged,
                                   report->ttft_ms, report->look_ms});
      return Status();
    };
    const ComposeOptions nothing{"none", 0, false, options_.seed};
    Composer of_sink = ComposerOf(*head, *sink, rag_case.tail);
    KVC_RETURN_IF_ERROR(run(of_sink, {"sink", false, 0}, nothing));
    Composer of_system = ComposerOf(*head, *system, rag_case.tail);
    KVC_RETURN_IF_ERROR(run(of_system, {"system", false, 0}, nothing));
    if (mean) KVC_RETURN_IF_ERROR(run(composer, {"mean", false, 0}, nothing));
    for (const std::string& rule : options_.rules) {
      for (const double budget : options_.budgets) {
        for (const bool completion : {false, true}) {
          if (options_.completion != "both" && completion != (options_.completion == "on"))
            continue;
          if (completion && !mean) continue;
          KVC_RETURN_IF_ERROR(
              run(composer, {rule, completion, budget}, {rule, budget, completion, options_.seed}));
        }
      }
    }
    ++cases_;
    tokens_ += composer.prompt().size();
    return Status();
  }

  nlohmann::json Rows() const {
    const auto kl_sum = [&](const char* name) {
      double sum = 0;
      for (const RagSample& sample : samples_.at({name, false, 0})) sum += sample.kl;
      return sum;
    };
    const double of_sink = kl_sum("sink"), of_system = kl_sum("system");
    nlohmann::json rows = nlohmann::json::array();
    for (const auto& measured : samples_) {
      const auto& [rule, completion, budget] = measured.first;
      const std::vector<RagSample>& samples = measured.second;
      const auto mean = [&samples](auto get) {
        double sum = 0;
        for (const RagSample& sample : samples) sum += get(sample);
        return sum / static_cast<double>(samples.size());
      };
      const double kl = mean([](const RagSample& s) { return s.kl; });
      const auto [low, high] = BootstrapOfMean(samples);
      const double kl_total = kl * static_cast<double>(samples.size());
      rows.push_back({{"setting", std::to_string(tokens_ / cases_) + " tokens"},
                      {"rule", rule},
                      {"completion", completion},
                      {"budget", budget},
                      {"charged", mean([](const RagSample& s) { return s.charged; })},
                      {"kl", kl},
                      {"kl_low", low},
                      {"kl_high", high},
                      {"top1", mean([](const RagSample& s) { return s.top1; })},
                      {"recovered", 1 - kl_total / of_sink},
                      {"recovered_system", 1 - kl_total / of_system},
                      {"f1", nullptr},
                      {"ttft_full_ms", Median(full_ms_)},
                      {"ttft_ms", mean([](const RagSample& s) { return s.ttft_ms; })},
                      {"look_ms", mean([](const RagSample& s) { return s.look_ms; })},
                      {"prep_ms", prepare_ms_ / static_cast<double>(cases_)},
                      {"cases", samples.size()}});
    }
    return rows;
  }

  std::size_t cases() const { return cases_; }

 private:
  Composer ComposerOf(const ExactHead& head, const std::vector<CanonicalChunk>& chunks,
                      std::span<const TokenId> tail) {
    std::vector<const CanonicalChunk*> pointers;
    for (const CanonicalChunk& chunk : chunks) pointers.push_back(&chunk);
    return Composer(*engine_, head, pointers, tail);
  }

  static double Median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values.empty() ? 0 : values[values.size() / 2];
  }

  // 90 % interval over cases.
  std::pair<double, double> BootstrapOfMean(const std::vector<RagSample>& samples) const {
    constexpr int kRounds = 1000;
    std::mt19937_64 random(options_.seed);
    std::vector<double> means;
    for (int round = 0; round < kRounds; ++round) {
      double sum = 0;
      for (std::size_t i = 0; i < samples.size(); ++i) sum += samples[random() % samples.size()].kl;
      means.push_back(sum / static_cast<double>(samples.size()));
    }
    std::sort(means.begin(), means.end());
    return {means[kRounds / 20], means[kRounds - 1 - kRounds / 20]};
  }

  const RagOptions& options_;
  std::unique_ptr<Engine> engine_;
  std::vector<TokenId> system_, sinks_;
  std::vector<std::vector<TokenId>> prefaces_;
  std::map<Setting, std::vector<RagSample>> samples_;
  std::vector<double> full_ms_;
  double prepare_ms_ = 0;
  std::size_t cases_ = 0, tokens_ = 0;
};

}  // namespace

int RunRagCommand(const CommonOptions& options, const RagOptions& rag) {
  constexpr const char* kName = "rag";
  if (rag.completion != "on" && rag.completion != "off" && rag.completion != "both") {
    return FailCommand(
        kName, InvalidArgument("--completion is '" + rag.completion + "'; use on, off or both"));
  }
  for (const std::string& rule : rag.rules) {
    if (auto made = MakeSelectRule(rule); !made) return FailCommand(kName, made.error());
  }
  auto engine_options = ToEngineOptions(options);
  if (!engine_options) return FailCommand(kName, engine_options.error());
  engine_options->measure_costs = false;
  engine_options->ubatch_tokens = 4096;  // a pass is one ubatch: see Composer
  auto engine = Engine::Open(*engine_options);
  if (!engine) return FailCommand(kName, engine.error());
  RagBench bench(rag, std::move(*engine));
  if (const Status read = bench.ReadPrefaces(); !read.ok()) return FailCommand(kName, read);

  std::ifstream file;
  if (rag.cases_path != "-") {
    file.open(rag.cases_path);
    if (!file) return FailCommand(kName, NotFound("cannot read " + rag.cases_path));
  }
  std::istream& input = rag.cases_path == "-" ? std::cin : file;
  for (std::string line; bench.cases() < rag.cases_max && std::getline(input, line);) {
    auto parsed = bench.Parse(line);
    if (!parsed) return FailCommand(kName, parsed.error());
    if (const Status done = bench.Measure(*parsed); !done.ok()) return FailCommand(kName, done);
    std::fprintf(stderr, "%zu %s\n", bench.cases(), parsed->id.c_str());
  }
  if (bench.cases() == 0) return FailCommand(kName, NotFound("no cases"));
  const nlohmann::json rows = bench.Rows();
  std::printf("%-16s %5s %7s %8s %10s %21s %6s %9s %9s %9s\n", "rule", "compl", "budget", "charged",
              "KL", "90 % of cases", "top-1", "recovered", "of system", "ttft");
  for (const auto& row : rows) {
    std::printf("%-16s %5s %7.2f %8.3f %10.4f %10.4f %10.4f %6.3f %9.3f %9.3f %9.3f\n",
                row["rule"].get<std::string>().c_str(), row["completion"].get<bool>() ? "on" : "-",
                row["budget"].get<double>(), row["charged"].get<double>(), row["kl"].get<double>(),
                row["kl_low"].get<double>(), row["kl_high"].get<double>(),
                row["top1"].get<double>(), row["recovered"].get<double>(),
                row["recovered_system"].get<double>(),
                row["ttft_ms"].get<double>() / row["ttft_full_ms"].get<double>());
  }
  if (options.json_path.empty()) return 0;
  const Status written = WriteText(options.json_path, rows.dump(1));
  return written.ok() ? 0 : FailCommand(kName, written);
}

}  // namespace kvcommons
