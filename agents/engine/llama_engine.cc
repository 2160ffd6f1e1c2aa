#include "agents/engine/llama_engine.h"

#include <algorithm>
#include <cstring>

#include "agents/engine/cache_memory.h"
#include "base/assert.h"

namespace kvcommons {

Status Engine::RunRest(std::span<const TokenId> prompt, std::uint32_t logit_rows) {
  const TokenRun rest{held_end(), static_cast<Position>(prompt.size())};
  return Run(prompt, std::span(&rest, 1), logit_rows);
}

TokenId Engine::Greedy() const {
  KVC_ASSERT(logit_count() > 0);
  const std::span<const float> logits = Logits(logit_count() - 1);
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Result<std::vector<TokenId>> Engine::Generate(std::uint32_t count) {
  std::vector<TokenId> tokens;
  if (count == 0) return tokens;
  if (logit_count() == 0) return Fail(InvalidArgument("no logits; run the prompt first"));
  for (;;) {
    const TokenId token = Greedy();
    if (EndsGeneration(token)) break;
    tokens.push_back(token);
    if (tokens.size() == count || held_end() >= static_cast<Position>(context_tokens())) break;
    KVC_FAIL_IF_ERROR(RunToken(token));
  }
  return tokens;
}

Result<GateReport> Engine::RunGate() {
  if (profile().omega.empty()) {
    GateReport report;
    report.reason = "this model's keys cannot be moved: " + profile().omega_refusal;
    return report;
  }
  constexpr std::uint32_t kTokens = 64;
  const std::uint32_t last = context_tokens() - kTokens;
  // Any tokens do, if they differ: a fixed walk through the vocabulary.
  std::vector<TokenId> tokens;
  for (std::uint32_t i = 0; i < kTokens; ++i) {
    tokens.push_back(static_cast<TokenId>((i * 7919U + 1009U) % vocabulary_size()));
  }
  std::vector<Position> shifts{0};
  for (const std::uint32_t shift : {1U, 7U, 256U, 4096U}) {
    const auto clipped = static_cast<Position>(std::min(shift, last));
    if (clipped > shifts.back()) shifts.push_back(clipped);
  }
  const PlaneLayout planes = profile().planes();
  const std::size_t row_elements = std::size_t{profile().kv_head_count} * profile().head_dim;
  const std::size_t plane_elements = kTokens * row_elements;
  std::vector<std::vector<float>> rows;
  std::vector<std::byte> block(planes.BlockBytes(kTokens));
  for (const Position shift : shifts) {
    KVC_FAIL_IF_ERROR(RunApart(tokens, shift));
    KVC_FAIL_IF_ERROR(ReadRows(shift, kTokens, block.data()));
    std::vector<float> values(planes.plane_count() * plane_elements);
    LoadRow(profile().element_type, block.data(), ElementBytes(profile().element_type), values);
    rows.push_back(std::move(values));
  }
  Clear();
  std::vector<GateProbe> probes;
  for (std::size_t s = 1; s < shifts.size(); ++s) {
    for (std::uint32_t layer = 0; layer < profile().layer_count; ++layer) {
      const auto plane = [&](std::size_t run, std::size_t index) {
        return std::span<const float>(rows[run]).subspan(index * plane_elements, plane_elements);
      };
      probes.push_back({layer, shifts[s], plane(0, 2 * layer), plane(s, 2 * layer),
                        plane(0, 2 * layer + 1), plane(s, 2 * layer + 1)});
    }
  }
  return EvaluateGate(profile(), probes);
}

}  // namespace kvcommons
