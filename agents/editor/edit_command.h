// `kvcommons-engine edit` and `kvcommons-engine bench edits`: an edit, or many real ones, measured
// and told as a table and as JSON.
//
// Thread safety: one call at a time. Each returns the process's exit code and has said on the error
// stream what went wrong and what to do next.

#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "agents/editor/edit_runner.h"
#include "agents/engine/commands.h"

namespace kvcommons {

// What both commands share.
struct EditCommandOptions {
  CommonOptions common;
  std::string policy = "edit";
  bool compare = false;
  std::uint32_t max_tokens = 32;
  std::uint32_t after_rows = EditOptions{}.after_rows;
  std::uint32_t min_run = EditOptions{}.min_run;
  std::string ask = EditRunOptions{}.ask;
  bool held_only = false;  // acknowledge in memory instead of on disk
  bool generate = true;    // in a comparison: also what edit reuse goes on with
};

struct EditFiles {
  std::string before_path;
  std::string after_path;
  std::string document;  // name of the lineage; empty: the path of the file before
};
int RunEditCommand(const EditCommandOptions& options, const EditFiles& files);

// Many edits: one JSON object a line, {"id", "base", "edits": [{"ops": [[begin, end, text], ...]},
// ...]} with ops as byte ranges of the text before that edit.
struct EditBenchOptions {
  std::string cases_path;  // "-": standard input
  std::uint32_t documents_max = 40;
  std::uint32_t tokens_min = 2000;
  std::uint32_t tokens_max = 7500;
  double changed_share_max =
      0.02;                     // of the document's bytes, by one edit; larger edits end a chain
  std::uint32_t edits_max = 7;  // of one document's chain
  std::vector<std::uint32_t> after_rows;  // each value runs the whole set; empty: the default
  std::string dump_path;                  // JSON lines of token ids, for peers in other processes
  bool with_shift_peer = false;           // also llama.cpp's own shift of cached keys
  std::string same_as_path;               // JSON of an earlier run whose logits must be the same
};
int RunEditBench(const EditCommandOptions& options, const EditBenchOptions& bench);

// The machine-readable form of one edit.
nlohmann::json ToJson(const EditResult& result, Policy policy);

}  // namespace kvcommons
