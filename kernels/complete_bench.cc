// Corrected placement from an arena into an engine's cache, against memcpy and a plain streaming
// copy of the same bytes in the same pieces, and against placement that corrects nothing. Read
// ratios, not rates, and only those of one run:
//   complete_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true
// One layer of a chunk of 128 rows: K plane and V plane, all rows corrected. The gain is warm, as
// it is behind the solve that made it.
// Arithmetic bounds rank 16 of 16-bit types, not memory: a line of 64 bytes takes 2 * rank fused
// multiply-adds of 64 bytes, and 8 more for the two rotations of keys; at two a cycle and 4 GHz
// that is 4.5 ns, where a copy takes 3.

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/bench_copies.h"
#include "kernels/complete.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kRows = 128;
constexpr std::int64_t kDelta = 517;

std::vector<float> Omega(const KeyRowFormat& format) {
  std::vector<float> omega(format.rotary_dim / 2);
  for (std::size_t c = 0; c < omega.size(); ++c) {
    omega[c] = static_cast<float>(
        std::pow(1e5, -static_cast<double>(c) / static_cast<double>(omega.size())));
  }
  return omega;
}

std::vector<float> SmallNumbers(std::size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.1F);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

void Place(benchmark::State& state, const KeyRowFormat& format) {
  const RotationTable table(Omega(format), kDelta);
  const std::size_t plane_bytes = kRows * format.row_bytes();
  OverTheWorkingSet(state, 2 * plane_bytes, [&](const std::byte* from, std::byte* to, std::size_t) {
    RotateRows(format, table, from, to, kRows, format.row_bytes());
    CopyBytes(from + plane_bytes, to + plane_bytes, plane_bytes);
  });
}

// The rows of a chunk and their cells, contiguous.
struct Chunk {
  explicit Chunk(const KeyRowFormat& format, std::uint32_t count) : cells(count) {
    std::iota(cells.begin(), cells.end(), 0U);
    rows.format = format;
    rows.rows = rows.cells = cells.data();
    rows.row_count = count;
    rows.key_stride_bytes = rows.value_stride_bytes = format.row_bytes();
    rows.value_element_stride_bytes = ElementBytes(format.type);
  }
  void Set(const std::byte* from, std::byte* to) {
    const std::size_t plane_bytes = kRows * rows.format.row_bytes();
    rows.stored_keys = from;
    rows.stored_values = from + plane_bytes;
    rows.keys = to;
    rows.values = to + plane_bytes;
  }

  std::vector<std::uint32_t> cells;
  ChunkRows rows;
};

void Complete(benchmark::State& state, const KeyRowFormat& format, std::uint32_t rank,
              std::size_t padding) {
  const RotationTable table(Omega(format), kDelta);
  const RowRotations rotations(Omega(format), kRows);
  Chunk chunk(format, kRows);
  const std::size_t plane_loadings = std::size_t{kRows} * rank;
  const auto loadings = SmallNumbers(2 * plane_loadings);
  const std::size_t gain_stride = 2 * chunk.rows.row_elements() + padding;
  const auto gain = SmallNumbers(gain_stride * rank);
  const CompletionUpdate update{rank, loadings.data(), loadings.data() + plane_loadings,
                                gain.data(), gain_stride};
  OverTheWorkingSet(state, 2 * kRows * format.row_bytes(),
                    [&](const std::byte* from, std::byte* to, std::size_t) {
                      chunk.Set(from, to);
                      CompleteRows(table, rotations, chunk.rows, update);
                    });
}

void RegisterAll() {
  struct Shape {
    std::uint32_t heads, head_dim;
  };
  for (const Shape shape : {Shape{3, 64}, Shape{8, 128}}) {
    for (const std::size_t element_bytes : {std::size_t{2}, std::size_t{4}}) {
      const auto bytes =
          static_cast<std::int64_t>(kRows * shape.heads * shape.head_dim * element_bytes);
      benchmark::RegisterBenchmark("memcpy", BM_Memcpy)->Arg(bytes);
#if defined(__x86_64__)
      benchmark::RegisterBenchmark("plain_streaming_copy", BM_PlainStreamingCopy)->Arg(bytes);
#endif
    }
    for (const ElementType type : {ElementType::kFp16, ElementType::kBf16, ElementType::kFp32}) {
      for (const PairLayout layout : {PairLayout::kInterleaved, PairLayout::kHalfSplit}) {
        const KeyRowFormat format{shape.heads, shape.head_dim, shape.head_dim, 0, layout, type};
        const std::string name = std::string(ElementTypeName(type)) +
                                 (layout == PairLayout::kInterleaved ? "/interleaved/" : "/half/") +
                                 std::to_string(shape.heads) + "x" + std::to_string(shape.head_dim);
        benchmark::RegisterBenchmark(("place/" + name).c_str(),
                                     [=](benchmark::State& state) { Place(state, format); });
        for (const std::uint32_t rank : {4U, 8U, 16U}) {
          const std::string complete = "complete/" + name + "/rank" + std::to_string(rank);
          benchmark::RegisterBenchmark(
              complete.c_str(), [=](benchmark::State& state) { Complete(state, format, rank, 0); });
          if (rank != 16) continue;
          benchmark::RegisterBenchmark(
              (complete + "/padded").c_str(),
              [=](benchmark::State& state) { Complete(state, format, rank, 32); });
        }
      }
    }
  }
}

const bool registered = (RegisterAll(), true);

}  // namespace
}  // namespace kvcommons
