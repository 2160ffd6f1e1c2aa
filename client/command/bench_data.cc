#include "client/command/bench_data.h"

#include <sys/mman.h>

#include <cmath>
#include <cstring>

#include "base/assert.h"

namespace kvcommons {
namespace {

// Finite fp16 numbers below 2: rotation stays exact to compare, no NaN with a payload to lose.
constexpr std::uint64_t kFinite = 0xbfffbfffbfffbfffull;

// A row begins with these 4 bytes, which name its prompt, plane and token.
std::uint32_t StampOf(std::uint32_t salt, std::size_t plane, Position token) {
  std::uint64_t x = salt * 0x9e3779b97f4a7c15ull + plane * 0xc2b2ae3d27d4eb4full +
                    static_cast<std::uint64_t>(token) * 0x165667b19e3779f9ull;
  x ^= x >> 29;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 32;
  return static_cast<std::uint32_t>(x & kFinite);
}

ModelProfile ProfileOf(const char* name, std::uint32_t layers, std::uint32_t heads) {
  ModelProfile profile;
  profile.name = name;
  profile.weights_sha256.fill(0xbe);
  profile.tokenizer_sha256.fill(0x4c);
  profile.numeric_class = "kvcommons-bench";
  profile.layer_count = layers;
  profile.kv_head_count = heads;
  profile.head_dim = 64;
  profile.rotary_dim = 64;
  profile.pair_layout = PairLayout::kInterleaved;
  profile.element_type = ElementType::kFp16;
  profile.block_tokens = 64;
  profile.context_tokens = 1u << 18;
  profile.vocabulary_size = 49'152;
  for (int i = 0; i < 32; ++i) {
    profile.omega.push_back(static_cast<float>(std::pow(1e5, -2.0 * i / 64.0)));
  }
  return profile;
}

}  // namespace

ModelProfile BenchProfile() { return ProfileOf("bench-smollm2-135m", 30, 3); }
ModelProfile ThinProfile() { return ProfileOf("bench-thin", 1, 1); }

GateReport PassedGate() {
  GateReport gate;
  gate.passed = true;
  gate.weakest_control = 1;
  return gate;
}

BenchBuffer::BenchBuffer(std::size_t bytes) : bytes_(bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  KVC_ASSERT(data != MAP_FAILED);
  data_ = static_cast<std::byte*>(data);
}

BenchBuffer::~BenchBuffer() { munmap(data_, bytes_); }

BenchData::BenchData(const ModelProfile& profile, std::size_t max_tokens, std::uint64_t seed)
    : profile_(profile),
      planes_(profile.planes()),
      token_bytes_(planes_.TokenBytes()),
      max_tokens_(max_tokens),
      random_(seed),
      rows_(token_bytes_ * max_tokens) {
  std::size_t offset = 0;
  for (const std::uint32_t row : planes_.row_bytes) {
    plane_offsets_.push_back(offset);
    offset += row;
  }
  for (std::size_t i = 0; i + sizeof(std::uint64_t) <= rows_.bytes(); i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random_() & kFinite;
    std::memcpy(rows_.data() + i, &word, sizeof word);
  }
}

BenchPrompt BenchData::NewPrompt(std::size_t count) {
  return {NewTokens(count), static_cast<std::uint32_t>(random_())};
}

std::vector<TokenId> BenchData::NewTokens(std::size_t count) {
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) {
    token = static_cast<TokenId>(random_() % profile_.vocabulary_size);
  }
  return tokens;
}

void BenchData::WriteRow(const BenchPrompt& prompt, std::size_t plane, Position token,
                         std::byte* destination) const {
  const std::size_t row = row_bytes(plane);
  const std::byte* source =
      rows_.data() + plane_offset(plane) * max_tokens_ + static_cast<std::size_t>(token) * row;
  std::memcpy(destination, source, row);
  const std::uint32_t stamp = StampOf(prompt.salt, plane, token);
  std::memcpy(destination, &stamp, sizeof stamp);
}

void BenchData::WriteRows(const BenchPrompt& prompt, Position begin, std::uint32_t count,
                          std::byte* destination) const {
  KVC_ASSERT(static_cast<std::size_t>(begin) + count <= max_tokens_);
  for (std::size_t plane = 0; plane < plane_count(); ++plane) {
    const std::size_t row = row_bytes(plane);
    std::memcpy(
        destination,
        rows_.data() + plane_offset(plane) * max_tokens_ + static_cast<std::size_t>(begin) * row,
        count * row);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t stamp = StampOf(prompt.salt, plane, begin + static_cast<Position>(i));
      std::memcpy(destination + i * row, &stamp, sizeof stamp);
    }
    destination += count * row;
  }
}

PlanHandle::RowReader BenchData::ReaderOf(const BenchPrompt& prompt) const {
  return [this, &prompt](Position begin, std::uint32_t count, std::byte* destination) {
    WriteRows(prompt, begin, count, destination);
    return Status();
  };
}

Status BenchData::CheckSpan(const BenchPrompt& prompt, const PlannedSpan& span) const {
  std::vector<std::byte> expected(4096);
  for (std::size_t plane = 0; plane < plane_count(); ++plane) {
    const std::size_t row = row_bytes(plane);
    KVC_ASSERT(row <= expected.size());
    const std::byte* stored =
        span.block + plane_offset(plane) * span.block_tokens + span.first_row * row;
    for (Position token = span.begin; token < span.end; ++token, stored += row) {
      WriteRow(prompt, plane, token, expected.data());
      if (std::memcmp(stored, expected.data(), row) == 0) continue;
      return Corrupted("plane " + std::to_string(plane) + " of token " + std::to_string(token) +
                       " is not what was uploaded");
    }
  }
  return Status();
}

}  // namespace kvcommons
