// The cost model of this engine on this machine, measured in a few short passes.

#include <algorithm>
#include <chrono>

#include "agents/engine/llama_worker.h"

namespace kvcommons {
namespace {

double Us(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

template <typename Work>
double TimeUs(Work work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return Us(std::chrono::steady_clock::now() - start);
}

}  // namespace

// A measurement that fails leaves the default: a plan may then be a little worse, never wrong.
void LlamaWorker::MeasureCosts() {
  constexpr double kBudgetUs = 400'000;
  const std::uint32_t context = context_tokens();
  if (context < 256) return;
  const std::vector<TokenId> tokens(context, vocabulary_size() > 100 ? 100 : 0);
  const auto pass_us = [&](std::vector<TokenRun> runs) {
    double us = 0;
    const auto end = static_cast<std::size_t>(runs.back().end);
    us = TimeUs([&] {
      if (!Run(std::span(tokens).first(end), runs, 1).ok()) us = -1;
    });
    return us;
  };

  // The first pass of a size builds its graph; the second is what requests see.
  Clear();
  const double first_us = pass_us({{0, 16}});
  Clear();
  const Position rows = first_us * 8 < kBudgetUs / 4 ? 64 : 16;
  const double near_us = pass_us({{0, rows}});
  double spent_us = first_us + near_us;

  // Rows behind a long context of zeros: attention's cost does not depend on what the rows are.
  const auto far = static_cast<Position>(std::min<std::uint32_t>(context - 128, 2048));
  std::vector<std::byte> block(profile_.planes().BlockBytes(profile_.block_tokens));
  std::vector<PlaceSpan> spans;
  for (Position at = 0; at + static_cast<Position>(profile_.block_tokens) <= far;
       at += static_cast<Position>(profile_.block_tokens)) {
    spans.push_back({at, profile_.block_tokens, 0, block.data(), profile_.block_tokens, 0});
  }
  if (spans.empty()) return;
  const Position far_end = spans.back().begin + static_cast<Position>(profile_.block_tokens);
  if (!Place(spans).ok()) return;
  const double place_us = TimeUs([&] { static_cast<void>(Place(spans)); });
  costs_.place_us_per_token = place_us / far_end;
  if (!profile_.omega.empty()) {
    std::vector<PlaceSpan> moved = spans;
    for (PlaceSpan& span : moved) span.delta = span.begin == 0 ? 0 : 1;
    const double moved_us = TimeUs([&] { static_cast<void>(Place(moved)); });
    costs_.rotate_us_per_token = std::max(0.0, (moved_us - place_us) / far_end);
  }
  spent_us += 3 * place_us;

  const double near_per_row = near_us / rows;
  costs_.prefill_us_per_token = near_per_row;
  if (spent_us + rows * near_per_row * 1.5 < kBudgetUs) {
    const double far_us = pass_us({{far_end, far_end + rows}});
    const double thousands = (far_end + rows / 2) / 1000.0;
    costs_.attention_us_per_token_k = std::max(0.0, (far_us / rows - near_per_row) / thousands);
    // The same number of rows in one run and in many.
    const double one_us = pass_us({{far_end - 8, far_end}});
    std::vector<TokenRun> many;
    for (Position i = 0; i < 8; ++i) many.push_back({64 + 16 * i, 65 + 16 * i});
    if (many.back().end <= far_end) {
      const double many_us = pass_us(many);
      if (many_us >= 0) costs_.run_us = std::max(1.0, (many_us - one_us) / 7);
    }
  }
  Clear();
}

}  // namespace kvcommons
