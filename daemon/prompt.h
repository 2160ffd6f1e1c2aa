// What a plan is made for: an opened model of one tenant, and a request that was checked.
//
// A prompt's chain is cut into blocks here, once, for everybody who needs it. Thread safety: plain
// data.

#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "align/gate.h"
#include "align/model_profile.h"
#include "align/plan.h"
#include "base/ids.h"
#include "daemon/canonical_chunks.h"
#include "daemon/tenant.h"
#include "store/chain_key.h"

namespace kvcommons {

// A model as one session opened it. Immutable, shared by its plans.
struct OpenedModel {
  OpenedModel(Tenant t, ModelProfile p, const GateReport& gate, const DomainSecret& secret);

  const Tenant tenant;
  const ModelProfile profile;
  const Fingerprint fingerprint;
  const PlaneLayout planes;
  const ChainHasher hasher;
  const std::string move_refusal;  // why rows cannot be moved; empty: they can
};

struct PromptRequest {
  std::vector<TokenId> tokens;
  Policy policy = Policy::kExact;
  std::string document;
  Position store_tokens = 0;  // leading tokens that may be asked for; at most tokens.size()
  CostModel costs;
  EditOptions edit;
  std::vector<ChunkRange> chunks;  // kCompose; ascending, disjoint
  std::uint32_t variants = 0;      // kCompose: bit 1 << RootKind; 0: all
  ComposeOptions compose;
  std::vector<SlotOffer> slots;  // kTeam; ascending, disjoint
};

struct ChainBlock {
  BlockKey key;
  Position begin = 0;
  Position end = 0;
};

struct PromptChain {
  std::vector<ChainBlock> full;  // every full block of the prompt
  // None or one, after the full blocks before it: it ends where storing ends or, when nothing is to
  // be stored, with the prompt. A full block may lie over it and beyond it.
  std::vector<ChainBlock> short_last;
};

// The keys of the last prompt that one session planned with one model. The next prompt begins like
// it more often than not (a conversation grows, a document is edited), and hashing is most of what
// a plan costs: blocks that are equal, and equally preceded, are not hashed again.
class ChainMemo {
 public:
  // Keys of the leading full blocks of `tokens` that are the last prompt's too.
  std::span<const BlockKey> Known(std::span<const TokenId> tokens,
                                  std::uint32_t block_tokens) const;
  void Remember(std::span<const TokenId> tokens, const std::vector<ChainBlock>& blocks);

 private:
  static constexpr std::size_t kMaxTokens = 1 << 17;  // A longer prompt is remembered in part.

  std::vector<TokenId> tokens_;
  std::vector<BlockKey> keys_;  // of full blocks
};

// `memo`, which must be of this model, may be null.
PromptChain CutChain(const OpenedModel& model, const PromptRequest& request, ChainMemo* memo);

}  // namespace kvcommons
