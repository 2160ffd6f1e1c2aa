// What the benchmarks upload and check: a model's shape, tokens that no run has used before, and
// rows that are a function of their prompt, plane and token, so that any row that comes back can be
// judged.
//
// Thread safety: none.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "client/client.h"

namespace kvcommons {

// Shaped like SmolLM2-135M: 30 layers, 3 KV heads of 64, fp16, interleaved pairs, base 1e5.
ModelProfile BenchProfile();
// A block of it has 16 KiB: for paths that are about tokens, not bytes.
ModelProfile ThinProfile();
GateReport PassedGate();

// Memory on a page boundary, every page touched.
class BenchBuffer {
 public:
  explicit BenchBuffer(std::size_t bytes);
  ~BenchBuffer();
  BenchBuffer(const BenchBuffer&) = delete;
  BenchBuffer& operator=(const BenchBuffer&) = delete;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* data_;
  std::size_t bytes_;
};

// A prompt and what its rows are.
struct BenchPrompt {
  std::vector<TokenId> tokens;
  std::uint32_t salt = 0;
};

class BenchData {
 public:
  // Rows for prompts of up to `max_tokens` tokens.
  BenchData(const ModelProfile& profile, std::size_t max_tokens, std::uint64_t seed);

  const ModelProfile& profile() const { return profile_; }
  std::size_t token_bytes() const { return token_bytes_; }
  // Of plane `plane` for one token; the offset of the plane for one token.
  std::size_t row_bytes(std::size_t plane) const { return planes_.row_bytes[plane]; }
  std::size_t plane_offset(std::size_t plane) const { return plane_offsets_[plane]; }
  std::size_t plane_count() const { return plane_offsets_.size(); }
  // Warm bytes to write or copy where their meaning does not matter.
  const BenchBuffer& bytes() const { return rows_; }

  // Random tokens, `count` of them: equal to an earlier prompt's only by a miracle.
  BenchPrompt NewPrompt(std::size_t count);
  std::vector<TokenId> NewTokens(std::size_t count);

  // Writes the rows of the prompt's tokens [begin, begin + count) as [plane][token][row].
  void WriteRows(const BenchPrompt& prompt, Position begin, std::uint32_t count,
                 std::byte* destination) const;
  // Writes one row, before any rotation.
  void WriteRow(const BenchPrompt& prompt, std::size_t plane, Position token,
                std::byte* destination) const;
  PlanHandle::RowReader ReaderOf(const BenchPrompt& prompt) const;

  // Compares every byte of a span's rows with what the prompt's rows are; kCorrupted names the
  // first that differs. REQUIRES: the span is not computed and not moved.
  Status CheckSpan(const BenchPrompt& prompt, const PlannedSpan& span) const;

 private:
  const ModelProfile profile_;
  const PlaneLayout planes_;
  std::size_t token_bytes_;
  std::vector<std::size_t> plane_offsets_;  // of one token
  std::size_t max_tokens_;
  std::mt19937_64 random_;
  BenchBuffer rows_;  // [plane][token][row]
};

}  // namespace kvcommons
