// Internal to the benchmarks of kernels/: working sets far larger than the caches that count, warm
// pages, and the two bounds that every rate is read against.

#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "base/assert.h"

namespace kvcommons {

inline constexpr std::size_t kWorkingSetBytes = std::size_t{144} << 20;

// Shared memory as a block arena has it (a memfd, 4 KiB pages), or private memory as an engine's
// cache has it; every page touched.
class BenchMemory {
 public:
  enum class Kind { kArena, kEngine };

  explicit BenchMemory(Kind kind) {
    const int fd = kind == Kind::kArena ? memfd_create("bench", MFD_CLOEXEC) : -1;
    if (kind == Kind::kArena) KVC_ASSERT(fd >= 0 && ftruncate(fd, kWorkingSetBytes) == 0);
    void* mapped = mmap(nullptr, kWorkingSetBytes, PROT_READ | PROT_WRITE,
                        kind == Kind::kArena ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
    KVC_ASSERT(mapped != MAP_FAILED);
    if (fd >= 0) close(fd);
    data_ = static_cast<std::byte*>(mapped);
    for (std::size_t i = 0; i < kWorkingSetBytes; ++i) {
      // Small fp16 and bf16 numbers: no infinities, no subnormals.
      data_[i] = static_cast<std::byte>(i % 2 == 0 ? i * 2654435761u >> 13 : 0x38 + i / 2 % 8);
    }
  }
  ~BenchMemory() { munmap(data_, kWorkingSetBytes); }
  BenchMemory(const BenchMemory&) = delete;
  BenchMemory& operator=(const BenchMemory&) = delete;

  std::byte* data() { return data_; }

 private:
  std::byte* data_;
};

inline BenchMemory& Arena() {
  static BenchMemory memory(BenchMemory::Kind::kArena);
  return memory;
}
inline BenchMemory& Engine() {
  static BenchMemory memory(BenchMemory::Kind::kEngine);
  return memory;
}

}  // namespace kvcommons
