// Internal to kernels/: the streaming copies behind CopyBytes(), RotateRows() and
// CopyWithChecksum().
//
// A streaming copy stores past the caches, which saves reading each destination line before it is
// overwritten. Such stores are ordered by no lock or atomic: FenceStream() comes before anybody is
// told that the bytes are there.

#pragma once

#include <cstddef>

namespace kvcommons {

// Shorter copies are left to ordinary stores: see CopyBytes().
inline constexpr std::size_t kStreamBytesMin = 4096;

// How far ahead of what they copy the loops ask for memory. Hardware prefetchers begin anew in
// every 4 KiB page, so one page. Measured on an EPYC of 2024: a page 1.1 of memcpy, a quarter of
// it 1.0, none 0.9.
inline constexpr std::size_t kAheadBytes = 4096;

// Copies with streaming stores, whatever the alignment, and fences them.
void StreamBytes(const std::byte* source, std::byte* destination, std::size_t bytes);

// The two halves of a copy by way of a small buffer that stays in the first-level cache.
// StreamPiece() also asks for the `next_bytes` at `next`, so that the next ReadPiece() finds them
// in the cache, and does not fence. `piece` is aligned to 64 bytes.
void ReadPiece(const std::byte* source, std::byte* piece, std::size_t bytes);
void StreamPiece(const std::byte* piece, std::byte* destination, std::size_t bytes,
                 const std::byte* next, std::size_t next_bytes);
void FenceStream();

}  // namespace kvcommons
