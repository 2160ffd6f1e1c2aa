// Internal to kernels/: the streaming copy behind CopyBytes() and CopyWithChecksum().

#pragma once

#include <cstddef>

namespace kvcommons {

// Shorter copies are left to ordinary stores: see CopyBytes().
inline constexpr std::size_t kStreamBytesMin = 4096;

// Copies past the caches with non-temporal stores, whatever the alignment, and fences them.
void StreamBytes(const std::byte* source, std::byte* destination, std::size_t bytes);

}  // namespace kvcommons
