// How one number of a KV row is stored.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvcommons {

// Values are part of fingerprints and of stored records: append, never renumber.
enum class ElementType : std::uint8_t { kFp16 = 0, kBf16 = 1, kFp32 = 2 };

constexpr std::size_t ElementBytes(ElementType type) { return type == ElementType::kFp32 ? 4 : 2; }

constexpr std::string_view ElementTypeName(ElementType type) {
  return type == ElementType::kFp16 ? "fp16" : type == ElementType::kBf16 ? "bf16" : "fp32";
}

// Which two elements of a head form a rotary pair. d = rotary width.
// (specs: positional re-encoding §2.2)
enum class PairLayout : std::uint8_t {
  kHalfSplit = 0,    // pair c = (c, c + d/2): Hugging Face, vLLM; GGUF "NEOX"
  kInterleaved = 1,  // pair c = (2c, 2c + 1): GPT-J; GGUF "NORM", which Llama files use
};

}  // namespace kvcommons
