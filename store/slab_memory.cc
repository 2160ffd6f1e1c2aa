#include "store/slab_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/assert.h"

namespace kvcommons {
namespace {

constexpr std::uint64_t kHugePageBytes = 2ull << 20;

std::string What(const char* call, std::uint64_t bytes) {
  return std::string(call) + " of a slab of " + std::to_string(bytes) +
         " bytes: " + std::strerror(errno);
}

// Maps the descriptor at a multiple of the huge page size, or huge pages could not be used.
std::byte* MapAligned(int fd, std::uint64_t bytes) {
  const std::uint64_t reserved_bytes = bytes + kHugePageBytes;
  void* const reserved =
      mmap(nullptr, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(reserved);
  const std::uint64_t past = reinterpret_cast<std::uintptr_t>(begin) % kHugePageBytes;
  const std::uint64_t skip = past == 0 ? 0 : kHugePageBytes - past;
  void* const mapped =
      mmap(begin + skip, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
  if (mapped == MAP_FAILED) {
    munmap(reserved, reserved_bytes);
    return nullptr;
  }
  if (skip > 0) munmap(begin, skip);
  munmap(begin + skip + bytes, kHugePageBytes - skip);
  return static_cast<std::byte*>(mapped);
}

}  // namespace

Result<std::unique_ptr<SlabMemory>> SlabMemory::Create(std::uint64_t bytes) {
  KVC_ASSERT(bytes > 0 && bytes % 4096 == 0);
  const int fd = memfd_create("kvcommons-slab", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Fail(Exhausted(What("memfd_create", bytes)));
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    Status failure = Exhausted(What("ftruncate", bytes));
    close(fd);
    return Fail(std::move(failure));
  }
  std::byte* const data = MapAligned(fd, bytes);
  if (data == nullptr) {
    Status failure = Exhausted(What("mmap", bytes));
    close(fd);
    return Fail(std::move(failure));
  }
  std::unique_ptr<SlabMemory> slab(new SlabMemory(fd, data, bytes));
  madvise(data, bytes, MADV_HUGEPAGE);  // Only a wish: many kernels have none for shared memory.
  if (madvise(data, bytes, MADV_POPULATE_WRITE) != 0) {
    // EINVAL: a kernel before 5.14, which faults page by page at first use. Anything else, such as
    // a control group at its limit, would kill us with SIGBUS later.
    if (errno != EINVAL) return Fail(Exhausted(What("populating", bytes)));
  }
  if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) !=
      0) {
    return Fail(Unsupported(What("sealing", bytes) + " (Linux 5.1 or later is needed)"));
  }
  return slab;
}

SlabMemory::~SlabMemory() {
  munmap(data_, bytes_);
  close(fd_);
}

}  // namespace kvcommons
