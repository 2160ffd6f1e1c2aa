// KVCOMM's kernels against a streaming read of the bytes that they must read. Read ratios, not
// rates, and only those of one run:
//   anchor_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true
// One plane of a content of 512 rows beside those of m anchors. Bytes are those of the anchors and
// of the content's own plane once; a blend writes a plane, too, which is not counted.

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/anchor_rows.h"
#include "kernels/bench_copies.h"

namespace kvcommons {
namespace {

constexpr std::size_t kRows = 512;

std::vector<float> Omega(const KeyRowFormat& format) {
  std::vector<float> omega(format.rotary_dim / 2);
  for (std::size_t c = 0; c < omega.size(); ++c) {
    omega[c] = 1.0f / static_cast<float>(1 + c * c);
  }
  return omega;
}

// `one(first plane, a plane to write)`; a piece is the content's plane and the anchors'.
template <typename One>
void OverPlanes(benchmark::State& state, const KeyRowFormat& format, std::size_t anchors, One one) {
  const std::size_t plane = kRows * format.row_bytes();
  OverTheWorkingSet(
      state, (anchors + 1) * plane,
      [&](const std::byte* from, std::byte* to, std::size_t) { one(from, to, plane); });
}

void StreamingRead(benchmark::State& state, const KeyRowFormat& format, std::size_t anchors) {
  OverPlanes(state, format, anchors, [&](const std::byte* from, std::byte*, std::size_t plane) {
    // Two stretches at once, which is faster than one.
    const std::size_t words = (anchors + 1) * plane / sizeof(std::uint64_t) / 2;
    const auto* const data = reinterpret_cast<const std::uint64_t*>(from);
    std::uint64_t sums[16] = {};
    for (std::size_t i = 0; i + 8 <= words; i += 8) {
      for (std::size_t j = 0; j < 8; ++j) {
        sums[j] += data[i + j];
        sums[8 + j] += data[words + i + j];
      }
    }
    for (std::uint64_t& sum : sums) benchmark::DoNotOptimize(sum);
  });
}

void Gate(benchmark::State& state, const KeyRowFormat& format, std::size_t anchors) {
  OverPlanes(state, format, anchors, [&](const std::byte* from, std::byte*, std::size_t plane) {
    for (std::size_t i = 1; i <= anchors; ++i) {
      benchmark::DoNotOptimize(
          SquaredDistance(format.type, from, from + i * plane, plane / ElementBytes(format.type)));
    }
  });
}

void RowWeights(benchmark::State& state, const KeyRowFormat& format, std::size_t anchors) {
  const std::size_t elements = std::size_t{format.head_count} * format.head_dim;
  std::vector<double> sums(kRows);
  OverPlanes(state, format, anchors, [&](const std::byte* from, std::byte*, std::size_t plane) {
    for (std::size_t i = 1; i <= anchors; ++i) {
      AddRowDistances(format.type, from, from + i * plane, kRows, elements, sums.data());
    }
  });
}

void ElementWeights(benchmark::State& state, const KeyRowFormat& format, std::size_t anchors,
                    bool turned) {
  const RotationTable shift(Omega(format), -40);
  std::vector<double> sums(std::size_t{format.head_count} * format.head_dim);
  OverPlanes(state, format, anchors, [&](const std::byte* from, std::byte*, std::size_t plane) {
    for (std::size_t i = 1; i <= anchors; ++i) {
      AddElementDistances(format, turned ? &shift : nullptr, from, from + i * plane, kRows,
                          sums.data());
    }
  });
}

void BlendPlane(benchmark::State& state, const KeyRowFormat& format, std::size_t anchors,
                bool is_key) {
  const RotationTable move(Omega(format), 300), start(Omega(format), 712);
  const std::vector<float> weights(anchors * kRows, 1.0f / static_cast<float>(anchors));
  std::vector<const std::byte*> offsets(anchors);
  OverPlanes(state, format, anchors, [&](const std::byte* from, std::byte* to, std::size_t plane) {
    for (std::size_t i = 0; i < anchors; ++i) offsets[i] = from + (i + 1) * plane;
    Blend({.format = format,
           .move = is_key ? &move : nullptr,
           .start = is_key ? &start : nullptr,
           .base = from,
           .out = to,
           .rows = kRows,
           .offset_type = format.type,
           .offsets = offsets,
           .weights = weights.data()});
  });
}

void RegisterAll() {
  struct Shape {
    std::uint32_t heads, head_dim;
  };
  for (const Shape shape : {Shape{3, 64}, Shape{8, 128}}) {
    for (const ElementType type : {ElementType::kFp16, ElementType::kFp32}) {
      for (const std::size_t anchors : {std::size_t{1}, std::size_t{20}}) {
        const KeyRowFormat format{shape.heads, shape.head_dim,         shape.head_dim,
                                  0,           PairLayout::kHalfSplit, type};
        const std::string name = "/" + std::string(ElementTypeName(type)) + "/" +
                                 std::to_string(shape.heads) + "x" +
                                 std::to_string(shape.head_dim) + "/" + std::to_string(anchors);
        const auto add = [&](const std::string& what, auto run) {
          benchmark::RegisterBenchmark((what + name).c_str(), run);
        };
        using State = benchmark::State;
        add("read", [=](State& state) { StreamingRead(state, format, anchors); });
        add("gate", [=](State& state) { Gate(state, format, anchors); });
        add("row_weights", [=](State& state) { RowWeights(state, format, anchors); });
        add("element_weights",
            [=](State& state) { ElementWeights(state, format, anchors, false); });
        add("element_weights_turned",
            [=](State& state) { ElementWeights(state, format, anchors, true); });
        add("blend_values", [=](State& state) { BlendPlane(state, format, anchors, false); });
        add("blend_keys", [=](State& state) { BlendPlane(state, format, anchors, true); });
      }
    }
  }
}

const bool registered = (RegisterAll(), true);

}  // namespace
}  // namespace kvcommons
