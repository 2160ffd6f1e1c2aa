// `kvcommons-engine rag` and `bench fidelity`: questions over shared passages, composed of
// canonical KV, beside full prefill.
//
// Thread safety: one call at a time.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agents/engine/commands.h"
#include "agents/rag/fidelity_bench.h"

namespace kvcommons {

struct RagOptions {
  std::string cases_path;  // JSON lines (cases.h); "-": standard input
  std::uint32_t cases_max = 20;
  CaseLimits limits;
  FidelityOptions fidelity;
};
// Exit code 0 done, 1 failed, 2 wrong use.
int RunRagCommand(const CommonOptions& options, const RagOptions& rag);

struct FidelityBenchOptions {
  std::string data_path;  // the folder of real data
  std::vector<std::string> settings = {"musique-0.8k"};
  std::uint32_t first = 0;   // case of each setting
  std::uint32_t cases = 20;  // of each setting, that one included
  std::string samples_path;  // fidelity_samples.h: rows that are there are not made again
  FidelityOptions fidelity;
};
int RunFidelityBench(const CommonOptions& options, const FidelityBenchOptions& bench);

}  // namespace kvcommons
