// Ids and units as types, so that no two bare integers can be swapped in a call.

#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

namespace kvcommons {

// A token of a model's vocabulary, and its place in a prompt. Both fit 32 bits in every model.
using TokenId = std::int32_t;
using Position = std::int32_t;

// 128 bits with a name. Tag only tells one kind of id from another.
template <typename Tag>
struct Id128 {
  std::array<std::uint8_t, 16> bytes{};

  friend bool operator==(const Id128& a, const Id128& b) { return a.bytes == b.bytes; }
  friend bool operator!=(const Id128& a, const Id128& b) { return a.bytes != b.bytes; }
  friend bool operator<(const Id128& a, const Id128& b) { return a.bytes < b.bytes; }

  bool is_zero() const { return *this == Id128{}; }
  std::string_view view() const {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  // 32 lower-case hexadecimal digits.
  std::string ToHex() const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    hex.reserve(2 * bytes.size());
    for (const std::uint8_t byte : bytes) {
      hex.push_back(kDigits[byte >> 4]);
      hex.push_back(kDigits[byte & 15]);
    }
    return hex;
  }
};

// Keys are output of a cryptographic hash, so eight of their bytes are a hash already.
template <typename Tag>
struct Id128Hash {
  std::size_t operator()(const Id128<Tag>& id) const {
    std::size_t value = 0;
    std::memcpy(&value, id.bytes.data(), sizeof value);
    return value;
  }
};

// Names one stored block: a chain key (exact, canonical) or a private key of a revision or team.
using BlockKey = Id128<struct BlockKeyTag>;
// Names tokens alone, without left context.
using ContentKey = Id128<struct ContentKeyTag>;
// Hash of a model profile: everything that decides KV bytes.
using Fingerprint = Id128<struct FingerprintTag>;
// Who may see. Derived from the authenticated principal, never from a request field (I7).
using DomainId = Id128<struct DomainIdTag>;
// A document's lineage within one domain and one fingerprint.
using DocumentKey = Id128<struct DocumentKeyTag>;
// Names the prefaces that a canonical chain is rooted at.
using RootId = Id128<struct RootIdTag>;

// What a chain starts from. All but the first are canonical variants: how the prefaces were made.
// Values are stored, hashed and travel: append, never renumber.
enum class RootKind : std::uint8_t {
  kEmpty = 0,   // a request's beginning
  kSink = 1,    // tokens that only take up attention
  kSystem = 2,  // the application's system prompt
  kWarm = 3,    // and neutral passages
  kMean = 4,    // the mean over several of those
  kNear = 5,    // the same, half of the passages from documents used together with this one
};
inline constexpr std::uint8_t kMaxRootKind = static_cast<std::uint8_t>(RootKind::kNear);
// The word used in messages, reasons and JSON.
constexpr std::string_view RootKindName(RootKind kind) {
  switch (kind) {
    case RootKind::kEmpty:
      return "empty";
    case RootKind::kSink:
      return "sink";
    case RootKind::kSystem:
      return "system";
    case RootKind::kWarm:
      return "warm";
    case RootKind::kMean:
      return "mean";
    case RootKind::kNear:
      return "near";
  }
  return "unknown";
}

}  // namespace kvcommons

template <typename Tag>
struct std::hash<kvcommons::Id128<Tag>> : kvcommons::Id128Hash<Tag> {};
