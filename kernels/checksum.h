// XXH3-128 of a block's planes, alone or fused with the copy of an upload.
//
// Not a defence against an adversary (keys are: they come from SHA-256); it finds torn and rotten
// bytes. Thread safety: pure functions.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace kvcommons {

struct Checksum128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const Checksum128& a, const Checksum128& b) {
    return a.low == b.low && a.high == b.high;
  }
  friend bool operator!=(const Checksum128& a, const Checksum128& b) { return !(a == b); }
};

Checksum128 ChecksumOf(const std::byte* bytes, std::size_t size);

// Copies `size` bytes and returns the checksum of what was written to `destination`, piece by
// piece, so that a source that changes meanwhile (a client's staging memory) cannot leave the copy
// and its checksum in disagreement.
Checksum128 CopyWithChecksum(const std::byte* source, std::byte* destination, std::size_t size);

}  // namespace kvcommons
