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

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void StreamBytesKernel(const std::byte* HWY_RESTRICT source, std::byte* HWY_RESTRICT destination,
                       std::size_t bytes) {
  const hn::ScalableTag<std::uint8_t> d;
  const std::size_t vector_bytes = hn::Lanes(d);
  const auto stream = [&](std::size_t offset) HWY_ATTR {
    const auto v = hn::LoadU(d, reinterpret_cast<const std::uint8_t*>(source + offset));
    hn::Stream(v, d, reinterpret_cast<std::uint8_t*>(destination + offset));
  };

  constexpr std::size_t kLineBytes = 64;
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(destination) % kLineBytes;
  const std::size_t head = std::min(bytes, misaligned == 0 ? 0 : kLineBytes - misaligned);
  std::memcpy(destination, source, head);
  source += head;
  destination += head;
  bytes -= head;

  // Four runs side by side: at the start of each 4 KiB page the hardware prefetcher begins anew,
  // and with one run at a time the copy waits for it.
  constexpr std::size_t kRuns = 4;
  constexpr std::size_t kRunBytesMax = 4096;
  while (bytes >= kRuns * kLineBytes) {
    const std::size_t run = std::min(bytes / kRuns, kRunBytesMax) / kLineBytes * kLineBytes;
    for (std::size_t line = 0; line < run; line += kLineBytes) {
      for (std::size_t r = 0; r < kRuns; ++r) {
        for (std::size_t v = 0; v < kLineBytes; v += vector_bytes) stream(r * run + line + v);
      }
    }
    source += kRuns * run;
    destination += kRuns * run;
    bytes -= kRuns * run;
  }
  std::memcpy(destination, source, bytes);
  hwy::FlushStream();
}

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {

HWY_EXPORT(StreamBytesKernel);

void StreamBytes(const std::byte* source, std::byte* destination, std::size_t bytes) {
  HWY_DYNAMIC_DISPATCH(StreamBytesKernel)(source, destination, bytes);
}

void CopyBytes(const std::byte* source, std::byte* destination, std::size_t bytes) {
  if (bytes == 0) return;
  if (bytes < kStreamBytesMin) {
    std::memcpy(destination, source, bytes);
  } else {
    StreamBytes(source, destination, bytes);
  }
}

}  // namespace kvcommons
#endif  // HWY_ONCE
