// What a plan for 4 K tokens costs in the control call: a plain chain, and small edits of a parent.

#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "align/plan.h"

namespace kvcommons {
namespace {

constexpr Position kTokens = 4096;

std::vector<TokenId> RandomIds(std::size_t size) {
  std::mt19937 random(1);
  std::vector<TokenId> ids(size);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % 50'000);
  return ids;
}

void PlanExactChain(benchmark::State& state) {
  const std::vector<TokenId> ids = RandomIds(kTokens);
  PlanInput input;
  input.tokens = ids;
  input.exact_tokens = kTokens - 100;
  for (auto _ : state) benchmark::DoNotOptimize(MakePlan(input));
}
BENCHMARK(PlanExactChain);

// range(0): places edited, one token each.
void PlanEdit(benchmark::State& state) {
  const std::vector<TokenId> parent = RandomIds(kTokens);
  std::vector<TokenId> ids = parent;
  const auto places = static_cast<std::size_t>(state.range(0));
  for (std::size_t i = 0; i < places; ++i) {
    ids.insert(ids.begin() + static_cast<std::ptrdiff_t>((i + 1) * kTokens / (places + 1)), -1);
  }
  const ParentSegment all{0, kTokens, 0, {}};
  PlanInput input;
  input.tokens = ids;
  input.parent_tokens = parent;
  input.parent_segments = {&all, 1};
  input.policy = Policy::kEdit;
  for (auto _ : state) benchmark::DoNotOptimize(MakePlan(input));
}
BENCHMARK(PlanEdit)->Arg(0)->Arg(1)->Arg(10)->Arg(100);

}  // namespace
}  // namespace kvcommons
