#include "client/command/plain_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace kvcommons {
namespace {

Status FileFailure(const std::string& what) {
  return Unavailable(what + ": " + std::strerror(errno) + "; name another folder with --scratch");
}

}  // namespace

Result<PlainFile> PlainFile::Create(const std::string& folder) {
  std::string path = folder + "/kvcommons-bench-plain-XXXXXX";
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return Fail(FileFailure("cannot make a file in " + folder));
  const int direct_fd = open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  unlink(path.c_str());
  return PlainFile(fd, direct_fd);
}

PlainFile::PlainFile(PlainFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), direct_fd_(std::exchange(other.direct_fd_, -1)) {}

PlainFile::~PlainFile() {
  if (fd_ >= 0) close(fd_);
  if (direct_fd_ >= 0) close(direct_fd_);
}

Status PlainFile::AppendAndSync(const std::byte* bytes, std::size_t size) {
  while (size > 0) {
    const ssize_t written = write(fd_, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return FileFailure("cannot write the plain file");
    bytes += written;
    size -= static_cast<std::size_t>(written);
  }
  return fdatasync(fd_) == 0 ? Status() : FileFailure("cannot sync the plain file");
}

Status PlainFile::ReadDirect(std::uint64_t offset, std::byte* destination, std::size_t size) {
  if (!is_direct()) {
    static_cast<void>(posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(size),
                                    POSIX_FADV_DONTNEED));
  }
  while (size > 0) {
    const ssize_t count =
        pread(is_direct() ? direct_fd_ : fd_, destination, size, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return FileFailure("cannot read the plain file");
    destination += count;
    offset += static_cast<std::uint64_t>(count);
    size -= static_cast<std::size_t>(count);
  }
  return Status();
}

}  // namespace kvcommons
