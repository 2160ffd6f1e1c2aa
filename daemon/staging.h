// Staging: shared memory that one client writes its uploads to and the daemon copies them out of.
//
// The size is sealed, so that no client can make the daemon's reads fault by shrinking it. Its
// content may change at any time: read each byte once, never trust a second look.
// Thread safety: immutable after Create().

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"

namespace kvcommons {

class Staging {
 public:
  // REQUIRES: bytes > 0. Rounded up to whole pages.
  static Result<std::shared_ptr<const Staging>> Create(std::uint64_t bytes);

  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  int fd() const { return fd_; }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  Staging(int fd, std::span<const std::byte> bytes) : fd_(fd), bytes_(bytes) {}

  const int fd_;
  const std::span<const std::byte> bytes_;
};

}  // namespace kvcommons
