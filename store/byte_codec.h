// How the store's small records become bytes: a frame around fixed-width little-endian fields.
//
//   magic u32 | version u32 | payload length u64 | payload | XXH3-128 of all before
//
// A frame opens only if every byte of it is as it was sealed; nothing may follow it. Another
// version is told apart from damage, so that a store of a newer release is refused by name. Thread
// safety: none is needed; objects are used by one thread.

#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

static_assert(std::endian::native == std::endian::little, "stored integers are little endian");

class ByteWriter {
 public:
  template <typename T>
  void Put(const T& value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <typename Tag>
  void Put(const Id128<Tag>& id) {
    bytes_.append(id.view());
  }
  void PutText(std::string_view text) {
    Put(static_cast<std::uint64_t>(text.size()));
    bytes_.append(text);
  }
  template <typename T>
  void PutArray(const std::vector<T>& values) {
    static_assert(std::is_integral_v<T>);
    Put(static_cast<std::uint64_t>(values.size()));
    if (values.empty()) return;
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Every Get answers whether there were enough bytes; after a false the value is unspecified.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  [[nodiscard]] bool Get(T* value) {
    static_assert(std::is_arithmetic_v<T>);
    if (bytes_.size() < sizeof *value) return false;
    std::memcpy(value, bytes_.data(), sizeof *value);
    bytes_.remove_prefix(sizeof *value);
    return true;
  }
  template <typename Tag>
  [[nodiscard]] bool Get(Id128<Tag>* id) {
    if (bytes_.size() < id->bytes.size()) return false;
    std::memcpy(id->bytes.data(), bytes_.data(), id->bytes.size());
    bytes_.remove_prefix(id->bytes.size());
    return true;
  }
  [[nodiscard]] bool GetText(std::string* text, std::size_t max_bytes) {
    std::uint64_t size = 0;
    if (!Get(&size) || size > max_bytes || size > bytes_.size()) return false;
    text->assign(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return true;
  }
  // Allocates no more than what is there: a lying count cannot exhaust memory.
  template <typename T>
  [[nodiscard]] bool GetArray(std::vector<T>* values, std::size_t max_count) {
    static_assert(std::is_integral_v<T>);
    std::uint64_t count = 0;
    if (!Get(&count) || count > max_count || count > bytes_.size() / sizeof(T)) return false;
    values->resize(count);
    if (count > 0) std::memcpy(values->data(), bytes_.data(), count * sizeof(T));
    bytes_.remove_prefix(count * sizeof(T));
    return true;
  }
  std::size_t remaining_bytes() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

struct FrameKind {
  std::string_view name;  // for messages: "block record"
  std::uint32_t magic;
  std::uint32_t version;
};

std::string SealFrame(const FrameKind& kind, std::string_view payload);
// The payload, a view into `bytes`. kUnsupported: right magic, other version. kCorrupted: all else.
Result<std::string_view> OpenFrame(const FrameKind& kind, std::string_view bytes);

}  // namespace kvcommons
