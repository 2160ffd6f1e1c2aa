// Copies in vector code. What limits them is the latency of reading: see kAheadBytes.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/copy.cc"
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/rotate.h"
#include "kernels/stream_copy.h"

#ifndef KVCOMMONS_KERNELS_COPY_LINE
#define KVCOMMONS_KERNELS_COPY_LINE
namespace kvcommons {

constexpr std::size_t kLineBytes = 64;

// Bytes up to the first line boundary at or behind `at`.
inline std::size_t BytesToLine(const std::byte* at) {
  return (kLineBytes - reinterpret_cast<std::uintptr_t>(at) % kLineBytes) % kLineBytes;
}

}  // namespace kvcommons
#endif

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <bool kStream>
HWY_INLINE void CopyLine(const std::byte* HWY_RESTRICT from, std::byte* HWY_RESTRICT to) {
  const hn::CappedTag<std::uint8_t, kLineBytes> d;
  for (std::size_t i = 0; i < kLineBytes; i += hn::Lanes(d)) {
    const auto v = hn::LoadU(d, reinterpret_cast<const std::uint8_t*>(from + i));
    if constexpr (kStream) {
      hn::Stream(v, d, reinterpret_cast<std::uint8_t*>(to + i));
    } else {
      hn::Store(v, d, reinterpret_cast<std::uint8_t*>(to + i));
    }
  }
}

// Copies whole lines and asks for what lies kAheadBytes further on, also where that is behind the
// source's end: whoever copies a block's planes in their order finds the next one under way.
// Returns the bytes copied, all but a part of a line. REQUIRES: `destination` lies at a line.
template <bool kStream>
std::size_t CopyLines(const std::byte* source, std::byte* destination, std::size_t bytes) {
  std::size_t done = 0;
  for (; bytes - done >= kLineBytes; done += kLineBytes) {
    hwy::Prefetch(source + done + kAheadBytes);
    CopyLine<kStream>(source + done, destination + done);
  }
  return done;
}

void StreamBytesKernel(const std::byte* source, std::byte* destination, std::size_t bytes) {
  const std::size_t head = std::min(bytes, BytesToLine(destination));
  std::memcpy(destination, source, head);
  const std::size_t done = head + CopyLines<true>(source + head, destination + head, bytes - head);
  std::memcpy(destination + done, source + done, bytes - done);
}

void ReadPieceKernel(const std::byte* source, std::byte* piece, std::size_t bytes) {
  const std::size_t done = CopyLines<false>(source, piece, bytes);
  std::memcpy(piece + done, source + done, bytes - done);
}

void StreamPieceKernel(const std::byte* piece, std::byte* destination, std::size_t bytes,
                       const std::byte* next, std::size_t next_bytes) {
  // One line of what is written next: not for its bytes, but so that its page is translated by
  // then.
  hwy::Prefetch(destination + kAheadBytes);
  const std::size_t head = std::min(bytes, BytesToLine(destination));
  std::memcpy(destination, piece, head);
  std::size_t done = head;
  for (; bytes - done >= kLineBytes; done += kLineBytes) {
    CopyLine<true>(piece + done, destination + done);
    if (done < next_bytes) hwy::Prefetch(next + done);
  }
  std::memcpy(destination + done, piece + done, bytes - done);
}

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {

HWY_EXPORT(StreamBytesKernel);
HWY_EXPORT(ReadPieceKernel);
HWY_EXPORT(StreamPieceKernel);

void StreamBytes(const std::byte* source, std::byte* destination, std::size_t bytes) {
  HWY_DYNAMIC_DISPATCH(StreamBytesKernel)(source, destination, bytes);
  FenceStream();
}

void ReadPiece(const std::byte* source, std::byte* piece, std::size_t bytes) {
  HWY_DYNAMIC_DISPATCH(ReadPieceKernel)(source, piece, bytes);
}

void StreamPiece(const std::byte* piece, std::byte* destination, std::size_t bytes,
                 const std::byte* next, std::size_t next_bytes) {
  HWY_DYNAMIC_DISPATCH(StreamPieceKernel)(piece, destination, bytes, next, next_bytes);
}

void FenceStream() { hwy::FlushStream(); }

void CopyBytes(const std::byte* source, std::byte* destination, std::size_t bytes) {
  if (bytes == 0) return;  // memcpy must not see the null pointers that come with no bytes.
  // Measured over 144 MiB with pieces of 24 KiB and 1.4 MiB: the streaming copy is 1.5 to 1.8 times
  // as fast as memcpy, which has to read each destination line first. Below a page the fence costs
  // what that saves, and so short a destination is likely to be read soon.
  if (bytes < kStreamBytesMin) {
    std::memcpy(destination, source, bytes);
  } else {
    StreamBytes(source, destination, bytes);
  }
}

}  // namespace kvcommons
#endif  // HWY_ONCE
