// A model that exists only as a profile, with KV bytes that follow from tokens and positions: what
// a test can check byte by byte without computing anything.
//
// Thread safety: pure functions.

#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "align/model_profile.h"
#include "client/client.h"

namespace kvcommons {

// 2 layers, 1 KV head of 64, fp16, blocks of 16 tokens: 8 KiB a block.
ModelProfile SyntheticProfile();
GateReport PassedGate();

std::vector<TokenId> RandomTokens(std::mt19937_64& random, std::size_t count);

// Writes rows [begin, begin + count) of the prompt in store layout. Every byte depends on the row's
// token, its position and its plane, and on the token before it.
void WriteRows(std::span<const TokenId> prompt, Position begin, std::uint32_t count,
               std::byte* destination);

// Counts the rows of the plan's reused spans whose bytes are not those of WriteRows() (for exact
// spans of this prompt).
std::size_t CountWrongRows(std::span<const TokenId> prompt, const PlanHandle& plan);

// Plans under `policy`, checks the reused rows, and commits what the daemon asks for.
struct StoreOutcome {
  Status status;            // of the commit, or of the plan
  std::uint32_t exact = 0;  // rows that were there
  std::size_t wrong = 0;
  std::uint64_t revision = 0;
};
StoreOutcome StorePrompt(ModelHandle& model, std::span<const TokenId> prompt,
                         const std::string& document, UploadAck ack);

}  // namespace kvcommons
