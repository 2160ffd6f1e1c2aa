// `kvcommons-engine library put` and `library prepare`: what a library needs a model for. Listing
// and removing need none: `kvcommons library`.
//
// Each returns the process's exit code: 0 done, 1 failed, 2 wrong use, 3 documents were passed over
// (kExitSkipped); what happened is on the error stream. Thread safety: one call at a time.

#pragma once

#include <string>
#include <vector>

#include "agents/engine/commands.h"
#include "agents/rag/prompt_format.h"

namespace kvcommons {

inline constexpr int kExitSkipped = 3;

struct LibraryPutOptions {
  std::vector<std::string> paths;    // one document each
  std::string name;                  // of a single one; empty: the file's name
  std::vector<std::string> related;  // names of documents that these are used together with
  PromptText prompt;                 // that the documents are to stand in
};
int RunLibraryPut(const CommonOptions& options, const LibraryPutOptions& put);

struct LibraryPrepareOptions {
  std::vector<std::string> variants;  // sink, system, warm, mean, near; empty: system, mean, near
  bool watch = false;                 // go on until interrupted
  bool held_only = false;             // do not wait for the disk
  PromptText prompt;                  // that the documents are to stand in
};
int RunLibraryPrepare(const CommonOptions& options, const LibraryPrepareOptions& prepare);

// Bits 1 << RootKind of names; kInvalidArgument names those that are known.
Result<std::uint32_t> ParseVariants(const std::vector<std::string>& names);

}  // namespace kvcommons
