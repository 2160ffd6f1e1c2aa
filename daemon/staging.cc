#include "daemon/staging.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/assert.h"

namespace kvcommons {
namespace {

Status Failed(const char* step) {
  return Exhausted(std::string("staging: ") + step + ": " + std::strerror(errno));
}

}  // namespace

Result<std::shared_ptr<const Staging>> Staging::Create(std::uint64_t bytes) {
  KVC_ASSERT(bytes > 0);
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::uint64_t size = (bytes + page - 1) / page * page;
  const int fd = memfd_create("kvcommons-staging", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return Fail(Failed("memfd_create"));
  if (ftruncate(fd, static_cast<off_t>(size)) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    const Status failure = Failed("sizing");
    close(fd);
    return Fail(failure);
  }
  void* const mapping = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) {
    const Status failure = Failed("mmap");
    close(fd);
    return Fail(failure);
  }
  return std::shared_ptr<const Staging>(
      new Staging(fd, {static_cast<const std::byte*>(mapping), size}));
}

Staging::~Staging() {
  munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  close(fd_);
}

}  // namespace kvcommons
