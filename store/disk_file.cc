#include "store/disk_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/assert.h"
#include "store/ring_reader.h"

namespace kvcommons {
namespace {

Status Failed(const char* operation, const std::string& path, int error) {
  const std::string message = std::string(operation) + " " + path + ": " + std::strerror(error);
  return error == ENOENT ? NotFound(message) : Unavailable(message);
}

class PosixFile final : public DiskFile {
 public:
  PosixFile(int fd, std::string path, bool direct)
      : fd_(fd), path_(std::move(path)), direct_(direct) {}
  ~PosixFile() override { close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Status WriteAt(std::uint64_t offset, std::span<const WritePiece> pieces) override {
    std::vector<iovec> vectors;
    for (const WritePiece& piece : pieces) {
      vectors.push_back({const_cast<std::byte*>(piece.data()), piece.size()});
    }
    return Transfer("write", offset, std::move(vectors), pwritev);
  }

  Status ReadAt(std::uint64_t offset, std::span<const ReadPiece> pieces) override {
    std::vector<iovec> vectors;
    std::uint64_t bytes = 0;
    for (const ReadPiece& piece : pieces) {
      vectors.push_back({piece.data(), piece.size()});
      bytes += piece.size();
    }
    KVC_RETURN_IF_ERROR(Transfer("read", offset, std::move(vectors), preadv));
    if (!direct_) {
      posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                    POSIX_FADV_DONTNEED);
    }
    return Status();
  }

  Status ReadInOrder(std::uint64_t offset, std::span<const ReadPiece> pieces,
                     const std::function<void(std::size_t piece)>& arrived) override {
    // Buffered reads would only be copied by another thread of the kernel's.
    const int error = direct_ ? RingRead(fd_, offset, pieces, arrived) : ENOSYS;
    if (error == 0) return Status();
    if (error == ENOSYS) return DiskFile::ReadInOrder(offset, pieces, arrived);
    if (error == ENODATA) return Corrupted("read " + path_ + ": the file ends");
    return Failed("read", path_, error);
  }

  Status Sync() override {
    if (fdatasync(fd_) != 0) return Failed("fdatasync", path_, errno);
    if (!direct_) posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
    return Status();
  }

 private:
  template <typename Call>
  Status Transfer(const char* operation, std::uint64_t offset, std::vector<iovec> vectors,
                  Call call) {
    std::size_t next = 0;
    while (next < vectors.size()) {
      const int count = static_cast<int>(std::min<std::size_t>(vectors.size() - next, IOV_MAX));
      const ssize_t done = call(fd_, vectors.data() + next, count, static_cast<off_t>(offset));
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) return Failed(operation, path_, errno);
      if (done == 0) return Corrupted(std::string(operation) + " " + path_ + ": the file ends");
      offset += static_cast<std::uint64_t>(done);
      std::size_t left = static_cast<std::size_t>(done);
      while (next < vectors.size() && left >= vectors[next].iov_len) {
        left -= vectors[next++].iov_len;
      }
      if (left > 0) {
        vectors[next].iov_base = static_cast<std::byte*>(vectors[next].iov_base) + left;
        vectors[next].iov_len -= left;
      }
    }
    return Status();
  }

  const int fd_;
  const std::string path_;
  const bool direct_;
};

class PosixFolder final : public DiskFolder {
 public:
  PosixFolder(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFolder() override { close(fd_); }
  PosixFolder(const PosixFolder&) = delete;
  PosixFolder& operator=(const PosixFolder&) = delete;

  Result<std::unique_ptr<DiskFile>> Create(const std::string& name, std::uint64_t bytes) override {
    Result<std::unique_ptr<PosixFile>> file = OpenFile(name, O_CREAT | O_EXCL);
    if (!file) return Fail(file.error());
    const int fd = openat(fd_, name.c_str(), O_RDWR | O_CLOEXEC);
    // posix_fallocate would write zeros where fallocate is unknown; then the file just grows.
    const int failed = fd < 0 ? errno : fallocate(fd, 0, 0, static_cast<off_t>(bytes)) ? errno : 0;
    if (fd >= 0) close(fd);
    if (failed != 0 && failed != EOPNOTSUPP) {
      unlinkat(fd_, name.c_str(), 0);
      return Fail(Failed("allocate", path_ + "/" + name, failed));
    }
    return std::unique_ptr<DiskFile>(*std::move(file));
  }

  Result<std::unique_ptr<DiskFile>> Open(const std::string& name) override {
    Result<std::unique_ptr<PosixFile>> file = OpenFile(name, 0);
    if (!file) return Fail(file.error());
    return std::unique_ptr<DiskFile>(*std::move(file));
  }

  Status Remove(const std::string& name) override {
    if (unlinkat(fd_, name.c_str(), 0) == 0) return Status();
    return Failed("remove", path_ + "/" + name, errno);
  }

  Status SyncNames() override {
    return fsync(fd_) == 0 ? Status() : Failed("sync folder", path_, errno);
  }

  Result<std::vector<FileInfo>> List() override {
    DIR* const dir = opendir(path_.c_str());
    if (dir == nullptr) return Fail(Failed("list", path_, errno));
    std::vector<FileInfo> files;
    while (const dirent* entry = readdir(dir)) {
      struct stat info = {};
      if (fstatat(fd_, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (!S_ISREG(info.st_mode)) continue;
      files.push_back({entry->d_name, static_cast<std::uint64_t>(info.st_size),
                       static_cast<std::uint64_t>(info.st_blocks) * 512});
    }
    closedir(dir);
    return files;
  }

 private:
  Result<std::unique_ptr<PosixFile>> OpenFile(const std::string& name, int flags) {
    const std::string path = path_ + "/" + name;
    bool direct = true;
    int fd = openat(fd_, name.c_str(), O_RDWR | O_CLOEXEC | O_DIRECT | flags, 0600);
    if (fd < 0 && errno == EINVAL) {  // Such as tmpfs. The refused open may have created the file.
      direct = false;
      fd = openat(fd_, name.c_str(), O_RDWR | O_CLOEXEC | (flags & ~O_EXCL), 0600);
    }
    if (fd < 0) return Fail(Failed("open", path, errno));
    return std::make_unique<PosixFile>(fd, path, direct);
  }

  const int fd_;
  const std::string path_;
};

}  // namespace

Status DiskFile::ReadInOrder(std::uint64_t offset, std::span<const ReadPiece> pieces,
                             const std::function<void(std::size_t piece)>& arrived) {
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    KVC_RETURN_IF_ERROR(ReadAt(offset, pieces.subspan(p, 1)));
    offset += pieces[p].size();
    arrived(p);
  }
  return Status();
}

Result<std::unique_ptr<DiskFolder>> OpenDiskFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Fail(Failed("create folder", path, errno));
  }
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Fail(Failed("open folder", path, errno));
  return std::make_unique<PosixFolder>(fd, path);
}

DiskBuffer::DiskBuffer(std::size_t bytes)
    : size_(RoundUpToPage(bytes)),
      data_(static_cast<std::byte*>(std::aligned_alloc(kDiskPageBytes, size_))) {
  KVC_ASSERT(data_ != nullptr);
}

void DiskBuffer::Free::operator()(std::byte* data) const { std::free(data); }

}  // namespace kvcommons
