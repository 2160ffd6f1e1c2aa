#include "daemon/prompt.h"

#include <span>
#include <utility>

namespace kvcommons {
namespace {

std::string MoveRefusal(const ModelProfile& profile, const GateReport& gate) {
  if (profile.omega.empty()) {
    return profile.omega_refusal.empty() ? "the model has no frequencies" : profile.omega_refusal;
  }
  if (!gate.passed) return "the model gate failed: " + gate.reason;
  return "";
}

}  // namespace

OpenedModel::OpenedModel(Tenant t, ModelProfile p, const GateReport& gate,
                         const DomainSecret& secret)
    : tenant(std::move(t)),
      profile(std::move(p)),
      fingerprint(FingerprintOf(profile)),
      planes(profile.planes()),
      hasher(secret, fingerprint),
      move_refusal(MoveRefusal(profile, gate)) {}

PromptChain CutChain(const OpenedModel& model, const PromptRequest& request) {
  const auto block_tokens = static_cast<Position>(model.profile.block_tokens);
  const std::span<const TokenId> tokens(request.tokens);
  const auto count = static_cast<Position>(tokens.size());
  const Position short_end = request.store_tokens > 0 ? request.store_tokens : count;
  // One pass hashes both, unless full blocks lie beyond the short one.
  const bool one_pass = count / block_tokens == short_end / block_tokens;
  std::vector<BlockKey> keys = model.hasher.Chain(tokens.first(static_cast<std::size_t>(short_end)),
                                                  model.profile.block_tokens, true);
  PromptChain chain;
  if (short_end % block_tokens != 0) {
    chain.short_last.push_back({keys.back(), short_end / block_tokens * block_tokens, short_end});
    keys.pop_back();
  }
  if (!one_pass) keys = model.hasher.Chain(tokens, model.profile.block_tokens, false);
  chain.full.reserve(keys.size());
  Position begin = 0;
  for (const BlockKey& key : keys) {
    chain.full.push_back({key, begin, begin + block_tokens});
    begin += block_tokens;
  }
  return chain;
}

}  // namespace kvcommons
