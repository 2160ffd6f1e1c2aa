// Internal to the benchmarks of kernels/: the working set piece by piece, and the two bounds.

#pragma once

#include <benchmark/benchmark.h>

#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "kernels/bench_memory.h"

namespace kvcommons {

// Calls `one(source, destination, index)` for every piece of the working set.
template <typename One>
void OverTheWorkingSet(benchmark::State& state, std::size_t piece_bytes, One one) {
  std::byte* const source = Arena().data();
  std::byte* const destination = Engine().data();
  const std::size_t piece_count = kWorkingSetBytes / piece_bytes;
  for (auto _ : state) {
    for (std::size_t i = 0; i < piece_count; ++i) {
      one(source + i * piece_bytes, destination + i * piece_bytes, i);
    }
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(piece_count * piece_bytes));
}

inline void BM_Memcpy(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  OverTheWorkingSet(state, bytes, [&](const std::byte* from, std::byte* to, std::size_t) {
    std::memcpy(to, from, bytes);
  });
}

#if defined(__x86_64__)
inline void BM_PlainStreamingCopy(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  OverTheWorkingSet(state, bytes, [&](const std::byte* from, std::byte* to, std::size_t) {
    for (std::size_t i = 0; i + 16 <= bytes; i += 16) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    }
    _mm_sfence();
  });
}
#endif

}  // namespace kvcommons
