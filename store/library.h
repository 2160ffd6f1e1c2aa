// A library document: text of one domain that prompts are composed of, and what is known about it.
//
// Its rows are canonical blocks under keys that follow from this record: the tokens and the root of
// each variant. So the record names no block, and removing it removes exactly its own. Encoded with
// magic and format version 2, of which version 1 is a part: its variants were never `renamed`.
// Decoding refuses what is torn, out of its limits or of another version.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "store/chain_key.h"

namespace kvcommons {

// One way in which the document's canonical rows were made.
struct LibraryVariant {
  ChainRoot root;
  RootId set;  // of the preface set that it belongs to: the id of the set's mean root
  std::uint32_t preface_count = 0;
  std::uint64_t prepare_us = 0;        // what making it took, all prefaces together
  bool ready = false;                  // its blocks were stored; they may have been evicted since
  bool renamed = false;                // kNear: `related` has other names since it was made
  std::vector<ContentKey> neighbours;  // kNear: whose text its prefaces hold, in their order
};

// A document that was used in one prompt with this one, and how often (an upper bound: counts are
// inherited when the list is full).
struct LibraryNeighbour {
  DocumentKey document;
  std::uint32_t count = 0;
};

struct LibraryDocument {
  static constexpr std::size_t kMaxNameBytes = 1024;
  static constexpr std::size_t kMaxTokens = 1u << 20;
  static constexpr std::size_t kMaxRelated = 32;
  static constexpr std::size_t kMaxVariants = 32;
  static constexpr std::size_t kMaxNeighbours = 32;
  static constexpr std::size_t kMaxPerDomain = 65536;

  DocumentKey document;
  std::string name;  // the caller's, or the content key in hexadecimal
  DomainId domain;
  Fingerprint fingerprint;
  std::uint32_t block_tokens = 0;
  std::vector<TokenId> tokens;
  std::int64_t created_us = 0;
  std::vector<std::string> related;  // names, by the caller
  std::vector<LibraryVariant> variants;
  std::vector<LibraryNeighbour> neighbours;

  // Null: there is none.
  LibraryVariant* Find(RootKind kind, const RootId& set);
  const LibraryVariant* Find(RootKind kind, const RootId& set) const;

  // One more prompt held `other` too. A full list gives up its rarest (the first of them), whose
  // count the newcomer inherits, so that one that comes often is never missed. True: a count
  // reached a power of two, so the record is worth writing back.
  bool CountTogether(const DocumentKey& other);
};

// Keys of the blocks of one variant.
std::vector<BlockKey> BlocksOf(const LibraryDocument& document, const ChainRoot& root,
                               const ChainHasher& hasher);

// kInvalidArgument, naming field, value and limit, for a record that no store may hold.
Status CheckLibraryDocument(const LibraryDocument& document);

// Encodes any record; decoding refuses those that CheckLibraryDocument refuses.
std::string EncodeLibraryDocument(const LibraryDocument& document);
// kCorrupted on anything but what EncodeLibraryDocument wrote; kUnsupported on another version.
Result<LibraryDocument> DecodeLibraryDocument(std::string_view bytes);

}  // namespace kvcommons
