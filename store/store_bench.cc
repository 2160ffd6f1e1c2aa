// The store against the bounds of the machine, in the same run: upload against memcpy into touched
// pages; lookup of 128 K tokens; the index at a few million blocks. Ratios, since machines differ.

#include <benchmark/benchmark.h>

#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "store/chain_key.h"
#include "store/index.h"
#include "store/store.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kBlockTokens = 64;
constexpr std::uint32_t kPlaneCount = 60;
constexpr std::uint32_t kRowBytes = 384;  // 1.4 MiB a block: 30 layers, 3 KV heads of 64, fp16
constexpr std::size_t kBatchBlocks = 32;
constexpr std::size_t kBlockBytes = std::size_t{kBlockTokens} * kPlaneCount * kRowBytes;

SystemClock& BenchClock() {
  static SystemClock clock;
  return clock;
}

DomainId BenchDomain() {
  DomainId domain;
  domain.bytes.fill(1);
  return domain;
}

std::vector<std::byte> TouchedBytes(std::size_t bytes) {
  std::vector<std::byte> memory(bytes);
  for (std::size_t i = 0; i < bytes; i += 64) memory[i] = std::byte(i >> 6);
  return memory;
}

std::vector<TokenId> SomeTokens(std::size_t count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

// One iteration: memcpy of a batch into an arena-sized buffer, then Put of the same batch.
// Interleaved, so that both see the same machine; the ratio is of the medians.
void UploadAgainstMemcpy(benchmark::State& state) {
  constexpr std::uint64_t kArenaBytes = 512 * kMiB;
  Store::Options options;
  options.arena_bytes = kArenaBytes;
  options.clock = &BenchClock();
  const auto store = std::move(*Store::Open(std::move(options)));
  const auto source = TouchedBytes(kBatchBlocks * kBlockBytes);
  auto target = TouchedBytes(kArenaBytes);
  std::uint64_t next_key = 1;
  std::vector<Store::PutItem> items(kBatchBlocks);
  for (std::size_t i = 0; i < kBatchBlocks; ++i) {
    items[i].record.domain = BenchDomain();
    items[i].record.tokens = SomeTokens(kBlockTokens);
    items[i].record.planes.row_bytes.assign(kPlaneCount, kRowBytes);
    items[i].planes = source.data() + i * kBlockBytes;
  }
  const auto put = [&] {
    for (Store::PutItem& item : items) {
      std::memcpy(item.record.key.bytes.data(), &next_key, sizeof next_key);
      ++next_key;
    }
    KVC_ASSERT(store->Put(BenchDomain(), items, Ack::kHeld)->stored == kBatchBlocks);
  };
  for (std::uint64_t bytes = 0; bytes < 2 * kArenaBytes; bytes += kBatchBlocks * kBlockBytes) put();

  std::vector<double> copy_ns, put_ns;
  std::size_t offset = 0;
  for (auto _ : state) {
    const std::int64_t begin = BenchClock().NowNs();
    for (std::size_t i = 0; i < kBatchBlocks; ++i) {
      if (offset + kBlockBytes > target.size()) offset = 0;
      std::memcpy(target.data() + offset, source.data() + i * kBlockBytes, kBlockBytes);
      benchmark::ClobberMemory();
      offset += kBlockBytes;
    }
    const std::int64_t middle = BenchClock().NowNs();
    put();
    const std::int64_t end = BenchClock().NowNs();
    copy_ns.push_back(static_cast<double>(middle - begin));
    put_ns.push_back(static_cast<double>(end - middle));
    state.SetIterationTime(static_cast<double>(end - middle) / 1e9);
  }
  const auto median = [](std::vector<double>& values) {
    std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
  };
  const double batch_bytes = static_cast<double>(kBatchBlocks * kBlockBytes);
  const double copy = median(copy_ns), upload = median(put_ns);
  const Store::Stats stats = store->GetStats();
  state.counters["memcpy_GBps"] = batch_bytes / copy;
  state.counters["upload_GBps"] = batch_bytes / upload;
  state.counters["ratio"] = copy / upload;
  state.counters["slab_ms"] =
      static_cast<double>(stats.slab_made_us) / 1e3 / static_cast<double>(stats.slab_made_count);
}
BENCHMARK(UploadAgainstMemcpy)->UseManualTime()->Iterations(60)->Unit(benchmark::kMillisecond);

// Hashing and matching a prompt of 128 K tokens whose 2,048 blocks are all present.
void LookupOf128KTokens(benchmark::State& state) {
  Store::Options options;
  options.arena_bytes = 64 * kMiB;
  options.clock = &BenchClock();
  const auto store = std::move(*Store::Open(std::move(options)));
  const auto tokens = SomeTokens(131'072);
  const ChainHasher hasher(*store->SecretOf(BenchDomain()), Fingerprint{});
  const auto keys = hasher.Chain(tokens, kBlockTokens, false);
  const auto planes = TouchedBytes(4096);
  std::vector<Store::PutItem> items(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    items[i].record.key = keys[i];
    items[i].record.domain = BenchDomain();
    items[i].record.tokens = SomeTokens(kBlockTokens);
    items[i].record.planes.row_bytes = {4};
    items[i].planes = planes.data();
  }
  KVC_ASSERT(store->Put(BenchDomain(), items, Ack::kHeld).has_value());
  for (auto _ : state) {
    const auto chain = hasher.Chain(tokens, kBlockTokens, false);
    KVC_ASSERT(store->MatchPrefix(BenchDomain(), chain) == chain.size());
  }
}
BENCHMARK(LookupOf128KTokens)->Unit(benchmark::kMicrosecond);

void ChainKeysOf128KTokens(benchmark::State& state) {
  const ChainHasher hasher(DomainSecret{}, Fingerprint{});
  const auto tokens = SomeTokens(131'072);
  for (auto _ : state) benchmark::DoNotOptimize(hasher.Chain(tokens, kBlockTokens, false));
}
BENCHMARK(ChainKeysOf128KTokens)->Unit(benchmark::kMicrosecond);

// Random lookups in an index of `range(0)` blocks, with its memory per block: now, and the worst
// that was seen while it grew.
void IndexLookup(benchmark::State& state) {
  const std::uint64_t count = static_cast<std::uint64_t>(state.range(0));
  const auto key_of = [](std::uint64_t n) {
    std::mt19937_64 random(n);
    const std::uint64_t words[2] = {random(), random()};
    BlockKey key;
    std::memcpy(key.bytes.data(), words, sizeof words);
    return key;
  };
  Index index;
  double worst = 0;
  const std::int64_t begin = BenchClock().NowNs();
  for (std::uint64_t n = 0; n < count; ++n) {
    index.Insert(1, key_of(n));
    if (n > count / 2) {
      worst = std::max(
          worst, static_cast<double>(index.memory_bytes()) / static_cast<double>(index.size()));
    }
  }
  const std::int64_t end = BenchClock().NowNs();
  std::vector<BlockKey> keys(1 << 16);
  std::mt19937_64 random(1);
  for (BlockKey& key : keys) key = key_of(random() % count);
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(index.Find(1, keys[i++ & 0xFFFF]));
  state.counters["bytes_per_block"] =
      static_cast<double>(index.memory_bytes()) / static_cast<double>(index.size());
  state.counters["worst_bytes_per_block"] = worst;
  state.counters["insert_ns"] = static_cast<double>(end - begin) / static_cast<double>(count);
}
BENCHMARK(IndexLookup)->Arg(3'000'000)->Arg(5'000'000)->Unit(benchmark::kNanosecond);

}  // namespace
}  // namespace kvcommons
