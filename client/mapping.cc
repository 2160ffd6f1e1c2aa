#include "client/mapping.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace kvcommons {

Result<std::shared_ptr<Mapping>> Mapping::Open(int fd, std::uint64_t bytes, Access access) {
  constexpr std::uint64_t kMaxBytes = 1ull << 46;  // more than the address space of a process
  if (bytes == 0 || bytes > kMaxBytes) {
    return Fail(Internal("the daemon passed memory of " + std::to_string(bytes) +
                         " bytes; the limit is 1 to " + std::to_string(kMaxBytes)));
  }
  struct stat info = {};
  if (fstat(fd, &info) != 0) {
    return Fail(Internal(std::string("fstat of the daemon's memory: ") + std::strerror(errno)));
  }
  if (info.st_size < 0 || static_cast<std::uint64_t>(info.st_size) < bytes) {
    return Fail(Corrupted("the daemon passed memory of " + std::to_string(info.st_size) +
                          " bytes and said " + std::to_string(bytes)));
  }
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) {
    return Fail(Exhausted("cannot map " + std::to_string(bytes) +
                          " bytes of the daemon's memory: " + std::strerror(errno)));
  }
  // Only a wish: where the kernel allows huge pages for shared memory they save most of the faults.
  static_cast<void>(madvise(data, bytes, MADV_HUGEPAGE));
  return std::shared_ptr<Mapping>(new Mapping(static_cast<std::byte*>(data), bytes));
}

Mapping::~Mapping() { munmap(data_, bytes_); }

}  // namespace kvcommons
