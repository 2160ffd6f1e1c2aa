// One slab: a memfd that the daemon writes and everybody else can only read.
//
// Guarantee: from Create() on, the memory cannot be resized and no new mapping of its descriptor is
// writable (seals SHRINK, GROW, FUTURE_WRITE, SEAL). F_SEAL_WRITE would be refused, since our own
// mapping lives, and FUTURE_WRITE forbids punching holes, so memory returns only as a whole slab.
// Pages are touched before Create() returns: a first touch costs several times a copy.
// Thread safety: immutable after Create(); its bytes are synchronised by whoever hands them out.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/status.h"

namespace kvcommons {

class SlabMemory {
 public:
  // REQUIRES: bytes is a positive multiple of 4096. kExhausted: no memory or descriptor left.
  static Result<std::unique_ptr<SlabMemory>> Create(std::uint64_t bytes);
  ~SlabMemory();
  SlabMemory(const SlabMemory&) = delete;
  SlabMemory& operator=(const SlabMemory&) = delete;

  std::byte* data() const { return data_; }
  std::uint64_t size_bytes() const { return bytes_; }
  int fd() const { return fd_; }

 private:
  SlabMemory(int fd, std::byte* data, std::uint64_t bytes) : fd_(fd), data_(data), bytes_(bytes) {}

  const int fd_;
  std::byte* const data_;
  const std::uint64_t bytes_;
};

}  // namespace kvcommons
