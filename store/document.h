// A document revision: which stored rows make up one version of an edited document.
//
// Rows are never copied by an edit: a segment points at rows of a block that some earlier revision
// or exact chain stored, at the position they have now; their origin is in the block's record. A
// segment whose block is gone is a miss for those rows, nothing else.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "store/block_record.h"

namespace kvcommons {

struct DocumentSegment {
  Position begin = 0;  // [begin, end) of this revision; at most one block's tokens
  Position end = 0;
  BlockKey block;
  std::uint32_t first_row = 0;  // row of the block that lands at `begin`
  Position origin = 0;          // position that row's key is rotated for
  // Staleness record (specs: positional re-encoding §1.8); generation 0 is exact.
  std::uint32_t generation = 0;
  std::uint32_t edited_tokens_left = 0;
  std::uint32_t min_distance_tokens = 0;
};

struct DocumentRevision {
  static constexpr std::size_t kMaxNameBytes = 1024;
  static constexpr std::size_t kMaxTokens = 1u << 24;
  static constexpr std::size_t kMaxSegments = 1u << 20;  // each at most one block's tokens long

  DocumentKey document;
  std::string name;  // the client's; 1 to kMaxNameBytes
  DomainId domain;
  Fingerprint fingerprint;
  std::uint64_t revision = 0;  // counts from 1
  std::vector<TokenId> tokens;
  std::vector<DocumentSegment> segments;  // ascending, disjoint
  std::int64_t created_us = 0;
};

// What a listing says of a document: its newest revision without content.
struct DocumentSummary {
  DocumentKey document;
  std::string name;
  std::uint64_t revision = 0;
  std::uint32_t token_count = 0;
  std::int64_t created_us = 0;
};
DocumentSummary Summarize(const DocumentRevision& revision);

// kInvalidArgument, naming field, value and limit, for a revision that no store may hold.
Status CheckDocument(const DocumentRevision& revision);

// Encodes any revision; decoding refuses those that CheckDocument refuses.
std::string EncodeDocument(const DocumentRevision& revision);
// kCorrupted on anything but what EncodeDocument wrote; kUnsupported on another version.
Result<DocumentRevision> DecodeDocument(std::string_view bytes);

}  // namespace kvcommons
