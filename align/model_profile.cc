#include "align/model_profile.h"

#include <openssl/evp.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/assert.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kMaxContextTokens = 1u << 24;
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxTextBytes = 4096;

Status CheckRange(std::string_view field, std::uint64_t value, std::uint64_t low,
                  std::uint64_t high) {
  if (value >= low && value <= high) return Status();
  return InvalidArgument(std::string(field) + " is " + std::to_string(value) + "; the limit is " +
                         std::to_string(low) + " to " + std::to_string(high));
}

Status CheckLength(std::string_view field, const std::string& text, std::size_t limit) {
  if (text.size() <= limit) return Status();
  return InvalidArgument(std::string(field) + " has " + std::to_string(text.size()) +
                         " bytes; the limit is " + std::to_string(limit));
}

// SHA-256 over (tag length, tag, value length, value) per field: no two lists of fields have the
// same bytes, so a value can never pass for the end of one field and the start of another.
class FieldHash {
 public:
  FieldHash() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    KVC_ASSERT(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }

  void Add(std::string_view tag, const void* bytes, std::size_t size) {
    AddLength(tag.size());
    Update(tag.data(), tag.size());
    AddLength(size);
    Update(bytes, size);
  }
  void Add(std::string_view tag, std::string_view text) { Add(tag, text.data(), text.size()); }
  void Add(std::string_view tag, std::uint32_t value) {
    std::uint8_t bytes[4];
    Store(value, bytes);
    Add(tag, bytes, sizeof bytes);
  }
  void Add(std::string_view tag, const std::vector<float>& values) {
    std::vector<std::uint8_t> bytes(4 * values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      Store(std::bit_cast<std::uint32_t>(values[i]), &bytes[4 * i]);
    }
    Add(tag, bytes.data(), bytes.size());
  }

  Fingerprint Finish() {
    std::uint8_t digest[32];
    unsigned int size = 0;
    KVC_ASSERT(EVP_DigestFinal_ex(context_.get(), digest, &size) == 1 && size == sizeof digest);
    Fingerprint result;
    std::memcpy(result.bytes.data(), digest, result.bytes.size());
    return result;
  }

 private:
  // Little-endian on every machine: fingerprints are compared across hosts.
  static void Store(std::uint32_t value, std::uint8_t* bytes) {
    for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  void AddLength(std::size_t size) {
    std::uint8_t bytes[4];
    Store(static_cast<std::uint32_t>(size), bytes);
    Update(bytes, sizeof bytes);
  }
  void Update(const void* bytes, std::size_t size) {
    KVC_ASSERT(EVP_DigestUpdate(context_.get(), bytes, size) == 1);
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

KeyRowFormat ModelProfile::key_row() const {
  KeyRowFormat format;
  format.head_count = kv_head_count;
  format.head_dim = head_dim;
  format.rotary_dim = rotary_dim;
  format.rotary_offset = rotary_offset;
  format.layout = pair_layout;
  format.type = element_type;
  return format;
}

PlaneLayout ModelProfile::planes() const {
  PlaneLayout layout;
  layout.row_bytes.assign(2 * static_cast<std::size_t>(layer_count),
                          static_cast<std::uint32_t>(key_row().row_bytes()));
  return layout;
}

Status Validate(const ModelProfile& profile) {
  KVC_RETURN_IF_ERROR(CheckLength("name", profile.name, kMaxNameBytes));
  KVC_RETURN_IF_ERROR(CheckLength("adapters", profile.adapters, kMaxTextBytes));
  KVC_RETURN_IF_ERROR(CheckLength("numeric_class", profile.numeric_class, kMaxNameBytes));
  KVC_RETURN_IF_ERROR(CheckLength("omega_refusal", profile.omega_refusal, kMaxTextBytes));
  KVC_RETURN_IF_ERROR(CheckRange("layer_count", profile.layer_count, 1, 1024));
  KVC_RETURN_IF_ERROR(CheckRange("kv_head_count", profile.kv_head_count, 1, 1024));
  KVC_RETURN_IF_ERROR(CheckRange("head_dim", profile.head_dim, 1, 1024));
  KVC_RETURN_IF_ERROR(CheckRange("rotary_dim", profile.rotary_dim, 0, profile.head_dim));
  if (profile.rotary_dim % 2 != 0) {
    return InvalidArgument("rotary_dim is " + std::to_string(profile.rotary_dim) +
                           "; it must be even");
  }
  KVC_RETURN_IF_ERROR(
      CheckRange("rotary_offset", profile.rotary_offset, 0, profile.head_dim - profile.rotary_dim));
  KVC_RETURN_IF_ERROR(
      CheckRange("pair_layout", static_cast<std::uint64_t>(profile.pair_layout), 0, 1));
  KVC_RETURN_IF_ERROR(
      CheckRange("element_type", static_cast<std::uint64_t>(profile.element_type), 0, 2));
  KVC_RETURN_IF_ERROR(CheckRange("block_tokens", profile.block_tokens, 16, 256));
  KVC_RETURN_IF_ERROR(CheckRange("context_tokens", profile.context_tokens, 1, kMaxContextTokens));
  KVC_RETURN_IF_ERROR(CheckRange("vocabulary_size", profile.vocabulary_size, 1, 0x7fffffffu));
  if (profile.omega.empty()) return Status();
  if (profile.omega.size() != profile.rotary_dim / 2) {
    return InvalidArgument("omega has " + std::to_string(profile.omega.size()) +
                           " frequencies; rotary_dim " + std::to_string(profile.rotary_dim) +
                           " needs " + std::to_string(profile.rotary_dim / 2));
  }
  for (std::size_t c = 0; c < profile.omega.size(); ++c) {
    if (!std::isfinite(profile.omega[c]) || profile.omega[c] < 0) {
      return InvalidArgument("omega[" + std::to_string(c) + "] is " +
                             std::to_string(profile.omega[c]) +
                             "; it must be finite and not negative");
    }
  }
  return Status();
}

Fingerprint FingerprintOf(const ModelProfile& profile) {
  FieldHash hash;
  hash.Add("format", std::string_view("kvcommons-fingerprint-1"));
  hash.Add("weights", profile.weights_sha256.data(), profile.weights_sha256.size());
  hash.Add("tokenizer", profile.tokenizer_sha256.data(), profile.tokenizer_sha256.size());
  hash.Add("adapters", profile.adapters);
  hash.Add("numeric_class", profile.numeric_class);
  hash.Add("layer_count", profile.layer_count);
  hash.Add("kv_head_count", profile.kv_head_count);
  hash.Add("head_dim", profile.head_dim);
  hash.Add("rotary_dim", profile.rotary_dim);
  hash.Add("rotary_offset", profile.rotary_offset);
  hash.Add("pair_layout", static_cast<std::uint32_t>(profile.pair_layout));
  hash.Add("element_type", static_cast<std::uint32_t>(profile.element_type));
  hash.Add("block_tokens", profile.block_tokens);
  hash.Add("vocabulary_size", profile.vocabulary_size);
  hash.Add("omega", profile.omega);
  return hash.Finish();
}

}  // namespace kvcommons
