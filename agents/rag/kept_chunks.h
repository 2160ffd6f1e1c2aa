// Chunks that were prepared for a campaign, kept in a folder, so that other rules, budgets and
// completions are measured on the same questions without preparing them again.
//
// What is found was made with the same `made_with` (model, prefaces, way of learning), for the same
// name and tokens; whatever else a folder has, a file that is cut off or damaged among it, is as
// good as nothing. Files appear whole. Not the store: nothing here is shared, bounded or evicted.
//
// Thread safety: none; processes may use one folder at once.

#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/rag/canonical.h"

namespace kvcommons {

class KeptChunks {
 public:
  // Makes the folder. kUnavailable: it cannot be made.
  static Result<KeptChunks> Open(const std::string& folder, std::string made_with);

  // Null: not there. Their preparation times are those of nobody: 0.
  std::optional<std::vector<CanonicalChunk>> Find(
      const std::string& name, std::span<const std::vector<TokenId>> tokens) const;
  // kUnavailable: it cannot be written; then nothing is there.
  Status Keep(const std::string& name, std::span<const CanonicalChunk> chunks) const;

 private:
  KeptChunks(std::string folder, std::string made_with)
      : folder_(std::move(folder)), made_with_(std::move(made_with)) {}
  std::string PathOf(const std::string& name) const;

  std::string folder_, made_with_;
};

}  // namespace kvcommons
