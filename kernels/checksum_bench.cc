// The daemon's copy of an upload, with its checksum, against memcpy of the same bytes in the same
// run:
//   checksum_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true

#include <benchmark/benchmark.h>

#include <cstring>

#include "kernels/bench_memory.h"
#include "kernels/checksum.h"
#include "kernels/rotate.h"

namespace kvcommons {
namespace {

// From one shared memory into another: staging and arena are both.
template <typename One>
void OverTheWorkingSet(benchmark::State& state, One one) {
  static BenchMemory staging(BenchMemory::Kind::kArena);
  const auto bytes = static_cast<std::size_t>(state.range(0));
  const std::size_t piece_count = kWorkingSetBytes / bytes;
  for (auto _ : state) {
    for (std::size_t i = 0; i < piece_count; ++i) {
      one(staging.data() + i * bytes, Arena().data() + i * bytes, bytes);
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(piece_count * bytes));
}

void BM_Memcpy(benchmark::State& state) {
  OverTheWorkingSet(state, [](const std::byte* from, std::byte* to, std::size_t bytes) {
    std::memcpy(to, from, bytes);
  });
}
void BM_CopyBytes(benchmark::State& state) { OverTheWorkingSet(state, CopyBytes); }
void BM_CopyWithChecksum(benchmark::State& state) { OverTheWorkingSet(state, CopyWithChecksum); }
void BM_CopyThenChecksum(benchmark::State& state) {
  OverTheWorkingSet(state, [](const std::byte* from, std::byte* to, std::size_t bytes) {
    CopyBytes(from, to, bytes);
    benchmark::DoNotOptimize(ChecksumOf(to, bytes));
  });
}
void BM_ChecksumOf(benchmark::State& state) {
  OverTheWorkingSet(state, [](const std::byte* from, std::byte*, std::size_t bytes) {
    benchmark::DoNotOptimize(ChecksumOf(from, bytes));
  });
}

// A block of SmolLM2-135M (64 tokens x 23,040 bytes), and one plane of it.
BENCHMARK(BM_Memcpy)->Arg(1474560)->Arg(24576);
BENCHMARK(BM_CopyBytes)->Arg(1474560)->Arg(24576);
BENCHMARK(BM_CopyWithChecksum)->Arg(1474560)->Arg(24576);
BENCHMARK(BM_CopyThenChecksum)->Arg(1474560)->Arg(24576);
BENCHMARK(BM_ChecksumOf)->Arg(1474560)->Arg(24576);

}  // namespace
}  // namespace kvcommons
