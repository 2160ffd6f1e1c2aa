#include "agents/team/whole_answer.h"

namespace kvcommons {

Result<std::vector<TokenId>> WholeAnswer(Engine& engine, Position begin, std::uint32_t max_tokens) {
  auto answer = engine.Generate(max_tokens);
  if (!answer) return answer;
  if (engine.held_end() < begin + static_cast<Position>(answer->size())) {
    if (engine.held_end() == static_cast<Position>(engine.context_tokens())) {
      answer->pop_back();
    } else {
      KVC_FAIL_IF_ERROR(engine.RunToken(answer->back()));
    }
  }
  return answer;
}

}  // namespace kvcommons
