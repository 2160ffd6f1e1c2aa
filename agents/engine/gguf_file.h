// A GGUF file's metadata, checked before llama.cpp sees it: llama.cpp aborts the process on some
// lies.
//
// Guarantee: after Open() every tensor's bytes lie inside the file, the counts and sizes that
// llama.cpp asserts on are in their ranges, and the values that we read have the types that we read
// them as. A refusal names the file, the field, its value and the limit.
//
// Thread safety: const functions may run at the same time.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

struct gguf_context;

namespace kvcommons {

using Sha256 = std::array<std::uint8_t, 32>;

class GgufFile {
 public:
  static Result<GgufFile> Open(const std::string& path);

  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;
  ~GgufFile();

  const std::string& architecture() const { return architecture_; }
  const gguf_context* context() const { return context_.get(); }
  // The whole file, mapped read-only.
  const std::byte* bytes() const { return bytes_; }
  std::size_t size() const { return size_; }

  bool Has(const std::string& key) const;
  // The value of `key`; the architecture's own keys are given without its name: "block_count".
  std::optional<double> Number(std::string_view key) const;
  std::optional<std::string> Text(std::string_view key) const;
  // True if `key` is an array whose elements are not all equal.
  bool Varies(std::string_view key) const;
  // The fp32 tensor of that name, or nothing.
  std::optional<std::vector<float>> Floats(const char* tensor) const;

  // SHA-256 over every "tokenizer." key: name, type, value.
  Sha256 TokenizerHash() const;
  // SHA-256 over the architecture's own keys, and every tensor's name, type, shape and bytes. Names
  // and licences ("general.") do not count.
  Sha256 WeightsHash() const;

 private:
  struct Free {
    void operator()(gguf_context* context) const;
  };
  GgufFile() = default;
  Status Map(const std::string& path);
  Status CheckTensors() const;
  Status CheckTokenizer() const;
  Status CheckNumbers() const;
  std::int64_t Find(std::string_view key) const;

  std::string architecture_;
  std::unique_ptr<gguf_context, Free> context_;
  const std::byte* bytes_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace kvcommons
