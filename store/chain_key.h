// Chain keys: 128 bits of SHA-256 that name a block with its whole left context.
//
//   hash key = HMAC-SHA-256(domain secret; label, fingerprint)
//   key_i = SHA-256(hash key; format, root kind, root id; key_{i-1}, block size, ids of block i)
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

namespace kvcommons {

using DomainSecret = std::array<std::uint8_t, 32>;

class ChainHasher {
 public:
  ChainHasher(const DomainSecret& secret, const Fingerprint& fingerprint);

  // Keys of the blocks of `tokens` cut every `block_tokens` (not 0); a short last block gets a key
  // too when `with_short_last`. Rooted at the empty root. `known` are the keys of the first blocks,
  // hashed before; no more of them than `tokens` has full blocks.
  std::vector<BlockKey> Chain(std::span<const TokenId> tokens, std::uint32_t block_tokens,
                              bool with_short_last, std::span<const BlockKey> known = {}) const;

  // The private key of block `index` of one document revision.
  BlockKey RevisionKey(const DocumentKey& document, std::uint64_t revision,
                       std::uint32_t index) const;

  DocumentKey KeyOfDocument(std::string_view name) const;
  ContentKey ContentKeyOf(std::span<const TokenId> tokens) const;

 private:
  std::array<std::uint8_t, 32> hash_key_;
};

}  // namespace kvcommons
