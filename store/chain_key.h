// Chain keys: 128 bits of SHA-256 that name a block with its whole left context.
//
//   hash key = HMAC-SHA-256(domain secret; label, fingerprint)
//   key_i = SHA-256(hash key; format, root kind, root id; key_{i-1}, block size, ids of block i)
//
// A canonical chain is rooted at prefaces, whose tokens are the root id, and key_{-1} is its
// chunk's content key: loadings are learned on a whole chunk, so equal beginnings of two chunks
// must not share a block.
//
// The hash key comes from the domain's secret, so a key cannot be computed, guessed or tested
// outside the daemon (I7). Half of the digest is dropped, so no key can be extended to another.
// Every kind of key (chain, revision, content, document) has its own label, and every field is of
// fixed length or comes last. Thread safety: pure after construction.

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "kernels/loadings_layout.h"

namespace kvcommons {

using DomainSecret = std::array<std::uint8_t, 32>;

struct ChainRoot {
  RootKind kind = RootKind::kEmpty;
  RootId id;  // zero: the empty root
  friend bool operator==(const ChainRoot& a, const ChainRoot& b) {
    return a.kind == b.kind && a.id == b.id;
  }
};

class ChainHasher {
 public:
  ChainHasher(const DomainSecret& secret, const Fingerprint& fingerprint);

  // Keys of the blocks of `tokens` cut every `block_tokens` (not 0); a short last block gets a key
  // too when `with_short_last`. Rooted at the empty root. `known` are the keys of the first blocks,
  // hashed before; no more of them than `tokens` has full blocks.
  std::vector<BlockKey> Chain(std::span<const TokenId> tokens, std::uint32_t block_tokens,
                              bool with_short_last, std::span<const BlockKey> known = {}) const;

  // The root that `prefaces` are, in their order. With several of them rows have loadings, whose
  // version is part of it: what another release prepared is a miss, and is prepared again.
  // REQUIRES: kind is not kEmpty.
  ChainRoot RootOf(RootKind kind, std::span<const std::vector<TokenId>> prefaces,
                   std::uint32_t loadings_version = kLoadingsVersion) const;
  // Keys of a whole chunk behind that root, the short last block included.
  std::vector<BlockKey> CanonicalChain(const ChainRoot& root, std::span<const TokenId> chunk,
                                       std::uint32_t block_tokens) const;

  // The private key of block `index` of one document revision.
  BlockKey RevisionKey(const DocumentKey& document, std::uint64_t revision,
                       std::uint32_t index) const;

  DocumentKey KeyOfDocument(std::string_view name) const;
  DocumentKey KeyOfLibraryDocument(std::string_view name) const;
  ContentKey ContentKeyOf(std::span<const TokenId> tokens) const;

  // An id of a kind of its own, which `label` tells; as private as all others.
  template <typename Id>
  Id IdOf(const char (&label)[9], std::string_view message) const {
    return Id{Digest(label, message)};
  }

 private:
  // `keys` are those known; the first block's parent is `parent`.
  std::vector<BlockKey> ChainFrom(const ChainRoot& root, const BlockKey& parent,
                                  std::span<const TokenId> tokens, std::uint32_t block_tokens,
                                  bool with_short_last, std::vector<BlockKey> keys) const;

  std::array<std::uint8_t, 16> Digest(const char (&label)[9], std::string_view message) const;

  std::array<std::uint8_t, 32> hash_key_;
};

}  // namespace kvcommons
