// What a plan is made for: an opened model of one tenant, and a request that was checked.
//
// A prompt's chain is cut into blocks here, once, for everybody who needs it. Thread safety: plain
// data.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "align/gate.h"
#include "align/model_profile.h"
#include "align/plan.h"
#include "base/ids.h"
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

PromptChain CutChain(const OpenedModel& model, const PromptRequest& request);

}  // namespace kvcommons
