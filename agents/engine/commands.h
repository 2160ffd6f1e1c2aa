// The commands of `kvcommons-engine` that need no daemon: what they do, without how they are
// spelled.
//
// Each returns the process's exit code (0 done, 1 failed, 2 wrong use) and has said on the error
// stream what went wrong and what to do next.
//
// Thread safety: one call at a time.

#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "agents/engine/llama_engine.h"

namespace kvcommons {

// What every command takes.
struct CommonOptions {
  std::string model_path;
  std::string socket_path;  // empty: the default socket
  std::uint32_t threads = 0;
  std::uint32_t context_tokens = 0;
  std::string kv_type = "f16";  // or f32
  std::string flash = "auto";   // or on, off
  bool measure_costs = true;    // false: the cost model's defaults
  std::string json_path;        // "-": standard output; empty: text for people
};

// The engine's options, or why they make no sense.
Result<EngineOptions> ToEngineOptions(const CommonOptions& options);

struct GenerateOptions {
  std::string prompt;
  std::string prompt_path;  // instead of `prompt`; "-": standard input
  std::uint32_t max_tokens = 64;
  bool raw = false;  // control tokens in the prompt are text
};
int RunGenerateCommand(const CommonOptions& options, const GenerateOptions& generate);

int RunConvertCommand(const CommonOptions& options, const std::string& type,
                      const std::string& target);

int RunGateCommand(const CommonOptions& options);

struct PrefillBenchOptions {
  std::uint32_t behind = 0;  // rows that are there already
  std::uint32_t tokens = 512;
  std::uint32_t repeats = 7;
};
// Prefill through Engine beside the same prefill through plain libllama, turn by turn, medians.
int RunPrefillBench(const CommonOptions& options, const PrefillBenchOptions& bench);

// For commands: says `status` for `command` and returns its exit code.
int FailCommand(const char* command, const Status& status);
// Writes `json` to the file, or to standard output for "-". Text that was cut within a character,
// as a model's answer may be, has a replacement character there.
Status WriteJson(const std::string& path, const nlohmann::json& json);

}  // namespace kvcommons
