// A mapping of memory whose descriptor the daemon passed: a slab to read, or staging to write.
//
// Guarantee: every byte of it can be touched; a descriptor smaller than the size that was told with
// it is refused, since touching what is not there kills the process.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/status.h"

namespace kvcommons {

class Mapping {
 public:
  enum class Access { kRead, kReadWrite };

  // Does not take `fd`, which may be closed as soon as this returned.
  static Result<std::shared_ptr<Mapping>> Open(int fd, std::uint64_t bytes, Access access);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::byte* data() const { return data_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  Mapping(std::byte* data, std::uint64_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* data_;
  std::uint64_t bytes_;
};

}  // namespace kvcommons
