#include "agents/engine/commands.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "agents/engine/convert.h"

namespace kvcommons {
namespace {

constexpr std::size_t kMaxPromptBytes = 16U << 20;

Result<std::string> ReadText(const std::string& path) {
  std::ifstream file;
  if (path != "-") {
    file.open(path, std::ios::binary);
    if (!file) return Fail(InvalidArgument("cannot read " + path));
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::string text;
  char piece[65536];
  while (in.read(piece, sizeof piece) || in.gcount() > 0) {
    text.append(piece, static_cast<std::size_t>(in.gcount()));
    if (text.size() > kMaxPromptBytes) {
      return Fail(InvalidArgument(path + " has more than " + std::to_string(kMaxPromptBytes) +
                                  " bytes, which is the limit"));
    }
  }
  return text;
}

double MsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

int FailCommand(const char* command, const Status& status) {
  std::fprintf(stderr, "kvcommons-engine %s: %s\n", command, status.ToString().c_str());
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

Status WriteJson(const std::string& path, const nlohmann::json& json) {
  const std::string text = json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (path == "-") {
    std::cout << text << "\n" << std::flush;
    return std::cout ? Status() : Unavailable("cannot write to standard output");
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text << "\n";
  file.close();
  return file ? Status() : Unavailable("cannot write " + path + "; name another file");
}

Result<EngineOptions> ToEngineOptions(const CommonOptions& options) {
  EngineOptions engine;
  if (options.model_path.empty()) {
    return Fail(InvalidArgument("no model; give --model FILE or set KVCOMMONS_MODEL"));
  }
  engine.model_path = options.model_path;
  engine.threads = options.threads;
  engine.context_tokens = options.context_tokens;
  engine.measure_costs = options.measure_costs;
  if (options.kv_type != "f16" && options.kv_type != "f32") {
    return Fail(InvalidArgument("--kv is " + options.kv_type + "; known are f16 and f32"));
  }
  engine.kv_type = options.kv_type == "f32" ? ElementType::kFp32 : ElementType::kFp16;
  if (options.flash != "auto" && options.flash != "on" && options.flash != "off") {
    return Fail(InvalidArgument("--flash is " + options.flash + "; known are auto, on, off"));
  }
  engine.flash = options.flash == "on"    ? FlashAttention::kOn
                 : options.flash == "off" ? FlashAttention::kOff
                                          : FlashAttention::kAuto;
  return engine;
}

int RunGenerateCommand(const CommonOptions& options, const GenerateOptions& generate) {
  constexpr const char* kName = "generate";
  Result<EngineOptions> engine_options = ToEngineOptions(options);
  if (!engine_options) return FailCommand(kName, engine_options.error());
  std::string prompt = generate.prompt;
  if (!generate.prompt_path.empty()) {
    Result<std::string> text = ReadText(generate.prompt_path);
    if (!text) return FailCommand(kName, text.error());
    prompt = std::move(*text);
  }
  if (prompt.empty()) {
    return FailCommand(kName,
                       InvalidArgument("the prompt is empty; give --prompt or --prompt-file"));
  }
  engine_options->measure_costs = false;
  const Result<std::unique_ptr<Engine>> engine = Engine::Open(*engine_options);
  if (!engine) return FailCommand(kName, engine.error());
  const auto tokens = (*engine)->Tokenize(prompt, !generate.raw);
  if (!tokens) return FailCommand(kName, tokens.error());
  const auto start = std::chrono::steady_clock::now();
  if (Status status = (*engine)->RunRest(*tokens); !status.ok()) {
    return FailCommand(kName, status);
  }
  const double prefill_ms = MsSince(start);
  const auto answer = (*engine)->Generate(generate.max_tokens);
  if (!answer) return FailCommand(kName, answer.error());
  const double generate_ms = MsSince(start) - prefill_ms;
  const auto text = (*engine)->Detokenize(*answer);
  if (!text) return FailCommand(kName, text.error());
  if (options.json_path.empty()) {
    std::printf("%s\n", text->c_str());
    return 0;
  }
  const nlohmann::json json = {{"text", *text},
                               {"tokens", *answer},
                               {"prompt_tokens", tokens->size()},
                               {"prefill_ms", prefill_ms},
                               {"generate_ms", generate_ms}};
  const Status written = WriteJson(options.json_path, json);
  return written.ok() ? 0 : FailCommand(kName, written);
}

int RunConvertCommand(const CommonOptions& options, const std::string& type,
                      const std::string& target) {
  constexpr const char* kName = "convert";
  if (options.model_path.empty()) {
    return FailCommand(kName,
                       InvalidArgument("no model; give --model FILE or set KVCOMMONS_MODEL"));
  }
  if (type != "f32" && type != "f16") {
    return FailCommand(kName, InvalidArgument("--type is " + type + "; known are f32 and f16"));
  }
  const Status status = ConvertWeights(options.model_path, target,
                                       type == "f32" ? WeightType::kFp32 : WeightType::kFp16);
  return status.ok() ? 0 : FailCommand(kName, status);
}

int RunGateCommand(const CommonOptions& options) {
  constexpr const char* kName = "gate";
  Result<EngineOptions> engine_options = ToEngineOptions(options);
  if (!engine_options) return FailCommand(kName, engine_options.error());
  engine_options->measure_costs = false;
  const Result<std::unique_ptr<Engine>> engine = Engine::Open(*engine_options);
  if (!engine) return FailCommand(kName, engine.error());
  const Result<GateReport> report = (*engine)->RunGate();
  if (!report) return FailCommand(kName, report.error());
  const ModelProfile& profile = (*engine)->profile();
  if (options.json_path.empty()) {
    std::printf("%s: %s\n", profile.name.c_str(), report->passed ? "passed" : "failed");
    std::printf("  class              %s\n", profile.numeric_class.c_str());
    std::printf("  fingerprint        %s\n", FingerprintOf(profile).ToHex().c_str());
    std::printf("  worst key error    %.3g\n", report->worst_key_error);
    std::printf("  worst value error  %.3g\n", report->worst_value_error);
    std::printf("  weakest control    %.3g\n", report->weakest_control);
    if (!report->passed) std::printf("  reason             %s\n", report->reason.c_str());
  } else {
    const nlohmann::json json = {{"model", profile.name},
                                 {"numeric_class", profile.numeric_class},
                                 {"fingerprint", FingerprintOf(profile).ToHex()},
                                 {"passed", report->passed},
                                 {"worst_key_error", report->worst_key_error},
                                 {"worst_value_error", report->worst_value_error},
                                 {"weakest_control", report->weakest_control},
                                 {"reason", report->reason}};
    const Status written = WriteJson(options.json_path, json);
    if (!written.ok()) return FailCommand(kName, written);
  }
  return report->passed ? 0 : 1;
}

}  // namespace kvcommons
