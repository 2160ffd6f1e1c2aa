// Chunks that were prepared for a campaign, kept in a folder, so that other rules, budgets and
// completions are measured on the same questions without preparing them again: on a small machine
// that is two thirds of a case.
//
// A folder is of one way of making them: what `made_with` says, model and prefaces, stands in it,
// and another way is refused. A file that is cut off, damaged or of other tokens is as good as
// none; files appear whole. Not the store: nothing here is shared, bounded or evicted.
//
// Thread safety: none; two processes may use one folder.

#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/rag/canonical.h"

namespace kvcommons {

struct PreparedChunks {
  std::vector<CanonicalChunk> chunks;
  double prepare_ms = 0;  // of all, prefaces included
};

class KeptChunks {
 public:
  // Makes the folder. kInvalidArgument: it is of chunks that were made otherwise. kUnavailable: it
  // cannot be written.
  static Result<KeptChunks> Open(const std::string& folder, const std::string& made_with);

  // `name` is any text that tells these chunks from others; null: not there.
  std::optional<PreparedChunks> Find(const std::string& name,
                                     std::span<const std::vector<TokenId>> tokens) const;
  Status Keep(const std::string& name, const PreparedChunks& prepared) const;

 private:
  explicit KeptChunks(std::string folder) : folder_(std::move(folder)) {}
  std::string PathOf(const std::string& name) const;

  std::string folder_;
};

}  // namespace kvcommons
