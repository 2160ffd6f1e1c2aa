#include "agents/engine/teacher_force.h"

namespace kvcommons {

Result<LogitRows> TeacherForce(Engine& engine, std::span<const TokenId> prompt,
                               std::span<const TokenId> forced) {
  std::vector<TokenId> tokens(prompt.begin(), prompt.end());
  tokens.insert(tokens.end(), forced.begin(), forced.end() - 1);
  const auto rows = static_cast<std::uint32_t>(forced.size());
  const TokenRun run{static_cast<Position>(prompt.size()) - 1,
                     static_cast<Position>(tokens.size())};
  KVC_FAIL_IF_ERROR(engine.Run(tokens, {&run, 1}, rows));
  LogitRows logits;
  for (std::uint32_t i = 0; i < engine.logit_count(); ++i) {
    const std::span<const float> row = engine.Logits(i);
    logits.emplace_back(row.begin(), row.end());
  }
  KVC_FAIL_IF_ERROR(engine.RemoveFrom(static_cast<Position>(prompt.size())));
  return logits;
}

}  // namespace kvcommons
