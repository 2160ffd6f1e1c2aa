#include "tests/integration/synthetic_model.h"

#include <cmath>
#include <cstring>

namespace kvcommons {
namespace {

// The bytes of one row of one plane: a small generator started from what the row depends on.
void FillRow(TokenId token, TokenId before, Position position, std::size_t plane, std::byte* row,
             std::size_t bytes) {
  std::uint64_t state = 0x9e3779b97f4a7c15ull * (static_cast<std::uint64_t>(token) + 1) ^
                        0xbf58476d1ce4e5b9ull * (static_cast<std::uint64_t>(before) + 7) ^
                        0x94d049bb133111ebull * (static_cast<std::uint64_t>(position) + 13) ^
                        (plane << 56);
  for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(row + i, &state, 8);
  }
}

}  // namespace

ModelProfile SyntheticProfile() {
  ModelProfile profile;
  profile.name = "synthetic";
  profile.weights_sha256.fill(1);
  profile.tokenizer_sha256.fill(2);
  profile.numeric_class = "synthetic";
  profile.layer_count = 2;
  profile.kv_head_count = 1;
  profile.head_dim = 64;
  profile.rotary_dim = 64;
  profile.pair_layout = PairLayout::kInterleaved;
  profile.block_tokens = 16;
  profile.context_tokens = 8192;
  profile.vocabulary_size = 50'000;
  for (int c = 0; c < 32; ++c) {
    profile.omega.push_back(static_cast<float>(std::pow(1e5, -2.0 * c / 64.0)));
  }
  return profile;
}

GateReport PassedGate() {
  GateReport gate;
  gate.passed = true;
  gate.weakest_control = 1;
  return gate;
}

std::vector<TokenId> RandomTokens(std::mt19937_64& random, std::size_t count) {
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 50'000);
  return tokens;
}

void WriteRows(std::span<const TokenId> prompt, Position begin, std::uint32_t count,
               std::byte* destination) {
  const PlaneLayout planes = SyntheticProfile().planes();
  for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
    std::byte* rows = destination + planes.PlaneOffset(plane, count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(begin) + i;
      FillRow(prompt[at], at == 0 ? 0 : prompt[at - 1], static_cast<Position>(at), plane,
              rows + i * planes.row_bytes[plane], planes.row_bytes[plane]);
    }
  }
}

std::size_t CountWrongRows(std::span<const TokenId> prompt, const PlanHandle& plan) {
  const PlaneLayout planes = SyntheticProfile().planes();
  std::size_t wrong = 0;
  std::vector<std::byte> expected;
  for (const PlannedSpan& span : plan.spans) {
    if (span.block == nullptr || span.kind != SpanKind::kExact) continue;
    const auto count = static_cast<std::uint32_t>(span.end - span.begin);
    expected.resize(planes.BlockBytes(count));
    WriteRows(prompt, span.begin, count, expected.data());
    for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
      const std::size_t row_bytes = planes.row_bytes[plane];
      const std::byte* actual =
          span.block + planes.PlaneOffset(plane, span.block_tokens) + span.first_row * row_bytes;
      for (std::uint32_t i = 0; i < count; ++i) {
        wrong += std::memcmp(actual + i * row_bytes,
                             expected.data() + planes.PlaneOffset(plane, count) + i * row_bytes,
                             row_bytes) == 0
                     ? 0
                     : 1;
      }
    }
  }
  return wrong;
}

StoreOutcome StorePrompt(ModelHandle& model, std::span<const TokenId> prompt,
                         const std::string& document, UploadAck ack) {
  StoreOutcome outcome;
  PlanRequest request;
  request.tokens = prompt;
  request.policy = document.empty() ? Policy::kExact : Policy::kEdit;
  request.document = document;
  request.store_tokens = static_cast<std::uint32_t>(prompt.size());
  auto plan = model.Plan(request);
  if (!plan.has_value()) {
    outcome.status = plan.error();
    return outcome;
  }
  outcome.exact = (*plan)->exact_rows;
  outcome.wrong = CountWrongRows(prompt, **plan);
  auto committed = (*plan)->Commit(
      [&](Position begin, std::uint32_t count, std::byte* destination) {
        WriteRows(prompt, begin, count, destination);
        return Status();
      },
      ack);
  if (!committed.has_value()) {
    outcome.status = committed.error();
    return outcome;
  }
  outcome.revision = committed->revision;
  return outcome;
}

}  // namespace kvcommons
