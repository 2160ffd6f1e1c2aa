#include "daemon/prompt.h"

#include <algorithm>
#include <cstring>
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

std::span<const BlockKey> ChainMemo::Known(std::span<const TokenId> tokens,
                                           std::uint32_t block_tokens) const {
  const std::size_t blocks = std::min(keys_.size(), tokens.size() / block_tokens);
  std::size_t equal = 0;
  while (equal < blocks &&
         std::memcmp(tokens.data() + equal * block_tokens, tokens_.data() + equal * block_tokens,
                     block_tokens * sizeof(TokenId)) == 0) {
    ++equal;
  }
  return std::span(keys_).first(equal);
}

void ChainMemo::Remember(std::span<const TokenId> tokens, const std::vector<ChainBlock>& blocks) {
  tokens = tokens.first(std::min(tokens.size(), kMaxTokens));
  tokens_.assign(tokens.begin(), tokens.end());
  keys_.clear();
  for (const ChainBlock& block : blocks) {
    if (static_cast<std::size_t>(block.end) > tokens.size()) break;
    keys_.push_back(block.key);
  }
}

PromptChain CutChain(const OpenedModel& model, const PromptRequest& request, ChainMemo* memo) {
  const auto block_tokens = static_cast<Position>(model.profile.block_tokens);
  const std::span<const TokenId> tokens(request.tokens);
  const Position short_end =
      request.store_tokens > 0 ? request.store_tokens : static_cast<Position>(tokens.size());
  std::span<const BlockKey> known;
  if (memo != nullptr) known = memo->Known(tokens, model.profile.block_tokens);
  const std::span<const TokenId> stored = tokens.first(static_cast<std::size_t>(short_end));
  std::vector<BlockKey> keys = model.hasher.Chain(
      stored, model.profile.block_tokens, true,
      known.first(std::min(known.size(), stored.size() / model.profile.block_tokens)));
  PromptChain chain;
  if (short_end % block_tokens != 0) {
    chain.short_last.push_back({keys.back(), short_end / block_tokens * block_tokens, short_end});
    keys.pop_back();
  }
  // Full blocks may lie beyond the short one.
  keys = model.hasher.Chain(tokens, model.profile.block_tokens, false,
                            known.size() > keys.size() ? known : std::span<const BlockKey>(keys));
  chain.full.reserve(keys.size());
  Position begin = 0;
  for (const BlockKey& key : keys) {
    chain.full.push_back({key, begin, begin + block_tokens});
    begin += block_tokens;
  }
  if (memo != nullptr) memo->Remember(tokens, chain.full);
  return chain;
}

}  // namespace kvcommons
