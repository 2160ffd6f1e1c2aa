// `kvcommons-engine rag`: questions over shared passages, composed of canonical KV, beside full
// prefill: one row for every rule, with and without completion, at every budget.
//
// Thread safety: one call at a time.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agents/engine/commands.h"

namespace kvcommons {

struct RagOptions {
  std::string
      cases_path;  // JSON lines {"id", "chunks": [text, ...], "question"}; "-": standard input
  std::string prefaces_path;  // passages, an empty line between them; empty: no mean, no completion
  std::uint32_t prefaces = 8;  // to make a chunk behind, each of `passages` passages
  std::uint32_t passages = 3;
  std::uint32_t preface_tokens = 128;  // of a passage, at most
  std::uint32_t cases_max = 20;
  std::uint32_t chunks_max = 6;      // of a case; chunk 0 follows the system prompt and is exact
  std::uint32_t chunk_tokens = 128;  // longer chunks are cut
  std::uint32_t forced_tokens = 32;  // compared, of full prefill's own continuation
  std::vector<std::string> rules = {"design"};
  std::vector<double> budgets = {0.17};
  std::string completion = "on";  // on, off, both
  std::uint64_t seed = 1;
};

// Exit code 0 done, 1 failed, 2 wrong use.
int RunRagCommand(const CommonOptions& options, const RagOptions& rag);

}  // namespace kvcommons
