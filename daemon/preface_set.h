// The prefaces that an application's canonical rows are made behind, and the roots that they are.
//
// A preface is the system prompt and some passages: of public text, or, for `near`, of documents of
// the same domain. Text of a request never enters one. Thread safety: immutable values.

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "store/chain_key.h"

namespace kvcommons {

using TokenList = std::vector<TokenId>;

struct PrefaceSet {
  static constexpr std::uint32_t kMaxPrefaces = 64;
  static constexpr std::uint32_t kMaxPassagesPerPreface = 16;
  static constexpr std::uint32_t kMaxPrefaceTokens = 8192;
  static constexpr std::size_t kMaxPassages = 4096;
  static constexpr std::size_t kMaxTokens = 1u << 20;  // of everything in it

  TokenList sink_tokens, system_tokens;
  std::vector<TokenList> neutral;  // prefaces * passages_per_preface at least
  std::uint32_t prefaces = 8;      // of `mean` and `near`
  std::uint32_t passages_per_preface = 3;
  std::uint32_t preface_tokens = 512;  // the most of one passage

  // Of the longest preface that any document may be put behind.
  std::size_t LongestTokens() const;
  std::size_t TotalTokens() const;

  friend bool operator==(const PrefaceSet&, const PrefaceSet&) = default;
};

// kInvalidArgument, naming field, value and limit. A context of `context_tokens` must hold the
// longest preface and one token.
Status CheckPrefaceSet(const PrefaceSet& set, std::uint32_t context_tokens);

// A checked set and its roots.
class PrefaceRoots {
 public:
  PrefaceRoots(PrefaceSet set, const ChainHasher& hasher);

  const PrefaceSet& set() const { return set_; }
  // Names the set: the id of its mean root, which binds everything but the sink.
  const RootId& id() const { return roots_[static_cast<std::size_t>(RootKind::kMean)].id; }
  // REQUIRES: neither kEmpty nor kNear.
  const ChainRoot& Root(RootKind kind) const { return roots_[static_cast<std::size_t>(kind)]; }
  std::vector<TokenList> Prefaces(RootKind kind) const;

  // How many documents the prefaces of `near` have room for.
  std::size_t NeighbourLimit() const;
  // Every second preface, the first included, has documents in the place of its passages, as many
  // as there are and each cut to preface_tokens; what they leave free stays neutral.
  std::vector<TokenList> NearPrefaces(std::span<const TokenList> neighbours) const;

 private:
  TokenList Preface(std::size_t first_passage) const;

  PrefaceSet set_;
  std::array<ChainRoot, kMaxRootKind + 1> roots_;
};

}  // namespace kvcommons
