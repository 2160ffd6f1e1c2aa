// `kvcommons-engine rag --daemon`: questions over a library's documents, composed from the daemon's
// memory, beside full prefill.
//
// Returns the process's exit code: 0 done, 1 failed, 2 wrong use. Thread safety: one call at a
// time.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/commands.h"
#include "agents/rag/auto_budget.h"
#include "agents/rag/prompt_format.h"

namespace kvcommons {

struct DaemonRagOptions {
  std::string cases_path;  // JSON lines (daemon_cases.h); "-": standard input
  std::uint32_t cases_max = 20;
  std::vector<std::string> rules = {"design"};
  std::vector<std::string> budgets = {"0.17"};  // auto: the loading controller's
  AutoBudget auto_budget;
  PromptText prompt;
  std::string completion = "on";      // on, off, both
  std::vector<std::string> variants;  // that may be used; empty: all
  std::uint32_t max_tokens = 32;      // of the answer, and to compare on
  bool compare = false;               // also prefill in full
  bool put = false;                   // put texts into the library and prepare them first
  bool place_before = false;          // all rows before any pass, not beside the first
  bool store = false;                 // keep exact rows of the prompts' beginnings
  double canary_share = 0.01;
  // Which prompts are drawn. Unset: by chance, since a process that asks a few questions would
  // otherwise draw the same ones, or none, every time.
  std::optional<std::uint64_t> canary_seed;
  std::uint64_t seed = 1;
};
int RunDaemonRagCommand(const CommonOptions& options, const DaemonRagOptions& rag);

}  // namespace kvcommons
