// Placement from an arena into an engine's cache, against memcpy and a plain streaming copy of the
// same bytes in the same pieces. Read ratios, not rates, and only those of one run:
//   rotate_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true
// "place": one K plane rotated and one V plane copied, in turn.

#include <benchmark/benchmark.h>

#include <cmath>
#include <vector>

#include "kernels/bench_copies.h"
#include "kernels/rotate.h"

namespace kvcommons {
namespace {

constexpr std::size_t kRows = 64;

void BM_CopyBytes(benchmark::State& state) {
  const auto bytes = static_cast<std::size_t>(state.range(0));
  OverTheWorkingSet(state, bytes, [&](const std::byte* from, std::byte* to, std::size_t) {
    CopyBytes(from, to, bytes);
  });
}

RotationTable TableFor(const KeyRowFormat& format, std::int64_t delta) {
  std::vector<float> omega(format.rotary_dim / 2);
  for (std::size_t c = 0; c < omega.size(); ++c) {
    omega[c] = static_cast<float>(
        std::pow(1e5, -static_cast<double>(c) / static_cast<double>(omega.size())));
  }
  return RotationTable(omega, delta);
}

void Rotate(benchmark::State& state, const KeyRowFormat& format, std::int64_t delta,
            bool with_values) {
  const RotationTable table = TableFor(format, delta);
  const std::size_t bytes = kRows * format.row_bytes();
  OverTheWorkingSet(state, bytes, [&](const std::byte* from, std::byte* to, std::size_t i) {
    if (with_values && i % 2 == 1) {
      CopyBytes(from, to, bytes);
    } else {
      RotateRows(format, table, from, to, kRows, format.row_bytes());
    }
  });
}

void RegisterAll() {
  for (const std::int64_t bytes : {2048, 4096, 8192, 16384, 24576, 131072, 1474560}) {
    benchmark::RegisterBenchmark("memcpy", BM_Memcpy)->Arg(bytes);
#if defined(__x86_64__)
    benchmark::RegisterBenchmark("plain_streaming_copy", BM_PlainStreamingCopy)->Arg(bytes);
#endif
    benchmark::RegisterBenchmark("copy_bytes", BM_CopyBytes)->Arg(bytes);
  }
  struct Shape {
    std::uint32_t heads, head_dim;
  };
  for (const Shape shape : {Shape{3, 64}, Shape{8, 128}}) {
    for (const ElementType type : {ElementType::kFp16, ElementType::kBf16, ElementType::kFp32}) {
      for (const PairLayout layout : {PairLayout::kInterleaved, PairLayout::kHalfSplit}) {
        const KeyRowFormat format{shape.heads, shape.head_dim, shape.head_dim, 0, layout, type};
        const std::string name = std::string(ElementTypeName(type)) +
                                 (layout == PairLayout::kInterleaved ? "/interleaved/" : "/half/") +
                                 std::to_string(shape.heads) + "x" + std::to_string(shape.head_dim);
        benchmark::RegisterBenchmark(("rotate/" + name).c_str(), [=](benchmark::State& state) {
          Rotate(state, format, 17, false);
        });
        benchmark::RegisterBenchmark(("place/" + name).c_str(), [=](benchmark::State& state) {
          Rotate(state, format, 17, true);
        });
      }
    }
    const KeyRowFormat format{shape.heads, shape.head_dim, shape.head_dim};
    benchmark::RegisterBenchmark(
        ("place_unmoved/" + std::to_string(shape.heads) + "x" + std::to_string(shape.head_dim))
            .c_str(),
        [=](benchmark::State& state) { Rotate(state, format, 0, true); });
  }
}

const bool registered = (RegisterAll(), true);

}  // namespace
}  // namespace kvcommons
