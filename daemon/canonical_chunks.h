// What a library holds of the chunks of a prompt: for each, the variants it may be served from.
//
// Thread safety: plain data.

#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "store/chain_key.h"

namespace kvcommons {

// Tokens [begin, end) of a prompt.
struct ChunkRange {
  static constexpr std::size_t kMaxChunks = 1024;  // of one prompt

  Position begin = 0;
  Position end = 0;
};

struct CanonicalVariant {
  ChainRoot root;
  std::vector<BlockKey> keys;  // of all blocks of the chunk
};

struct CanonicalChunk {
  ChunkRange range;
  ContentKey content;
  std::string document;                    // a name; empty: in no library
  std::vector<CanonicalVariant> variants;  // best first
};

}  // namespace kvcommons
