#include "agents/rag/decode_repair.h"

namespace kvcommons {

Status DecodeRepair::RunLast() {
  const auto end = static_cast<Position>(tokens_.size());
  std::vector<TokenRun> runs;
  for (const Position row : chosen_) runs.push_back({row, row + 1});
  runs.push_back({end - 1, end});
  const bool probes = !stale_.rows.empty();  // not every engine can
  if (probes) {
    AttentionProbe probe;
    probe.rows = {end - 1};
    probe.layers = {kCheckLayer};
    KVC_RETURN_IF_ERROR(engine_.ProbeAttention(std::move(probe)));
  }
  KVC_RETURN_IF_ERROR(engine_.Run(tokens_, runs, 1));
  repaired_ += static_cast<std::uint32_t>(chosen_.size());
  stale_ = Computed(stale_, chosen_);
  chosen_.clear();
  if (!probes) return Status();
  const AttentionWeights& weights = engine_.probed().front();
  std::vector<float> attention(stale_.rows.size(), 0.0F);
  for (std::size_t i = 0; i < attention.size(); ++i) {
    for (std::uint32_t head = 0; head < weights.head_count; ++head) {
      attention[i] += weights.weights[std::size_t{head} * weights.columns +
                                      static_cast<std::size_t>(stale_.rows[i])];
    }
  }
  auto chosen = ChooseAtDecode(stale_, attention, rows_per_token_);
  if (!chosen) return chosen.error();
  chosen_ = std::move(*chosen);
  return Status();
}

Status DecodeRepair::Run(TokenId token) {
  tokens_.push_back(token);
  return RunLast();
}

Result<LogitRows> DecodeRepair::TeacherForce(std::span<const TokenId> forced) {
  const std::size_t prompt = tokens_.size();
  LogitRows rows;
  KVC_FAIL_IF_ERROR(RunLast());
  for (std::size_t i = 0;; ++i) {
    const std::span<const float> logits = engine_.Logits(0);
    rows.emplace_back(logits.begin(), logits.end());
    if (i + 1 >= forced.size()) break;
    KVC_FAIL_IF_ERROR(Run(forced[i]));
  }
  tokens_.resize(prompt);
  KVC_FAIL_IF_ERROR(engine_.RemoveFrom(static_cast<Position>(prompt)));
  return rows;
}

Result<std::vector<TokenId>> DecodeRepair::Generate(std::uint32_t max_tokens) {
  std::vector<TokenId> answer;
  if (max_tokens == 0) return answer;
  for (;;) {
    const TokenId token = engine_.Greedy();
    if (engine_.EndsGeneration(token)) break;
    answer.push_back(token);
    if (answer.size() == max_tokens || tokens_.size() == engine_.context_tokens()) break;
    KVC_FAIL_IF_ERROR(Run(token));
  }
  return answer;
}

}  // namespace kvcommons
