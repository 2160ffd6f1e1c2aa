#include "daemon/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace kvcommons {
namespace {

constexpr int kBacklog = 128;

Status Failed(const std::string& path, const char* step) {
  return Unavailable("socket is '" + path + "': " + step + ": " + std::strerror(errno));
}

Result<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Fail(InvalidArgument("socket is '" + path.substr(0, 256) + "' of " +
                                std::to_string(path.size()) + " bytes; the limit is 1 to " +
                                std::to_string(sizeof address.sun_path - 1)));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Status MakeFolder(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  std::error_code error;
  if (!std::filesystem::exists(folder.parent_path(), error)) {
    std::filesystem::create_directories(folder.parent_path(), error);
    if (error) return Unavailable("socket is '" + path + "': its folder: " + error.message());
  }
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return Failed(path, "its folder");
  struct stat info {};
  if (stat(folder.c_str(), &info) != 0) return Failed(path, "its folder");
  // Whoever owns the folder can replace the socket, and would be sent our tenants' prompts.
  if (info.st_uid != geteuid() && info.st_uid != 0) {
    return PermissionDenied("socket is '" + path + "': its folder belongs to uid " +
                            std::to_string(info.st_uid) + "; it must be ours or root's");
  }
  return Status();
}

// Does somebody answer at `address`? A full backlog is an answer too.
bool IsServed(const sockaddr_un& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const bool served = result == 0 || (errno != ECONNREFUSED && errno != ENOENT);
  close(fd);
  return served;
}

}  // namespace

Result<std::unique_ptr<ListeningSocket>> ListeningSocket::Open(const std::string& path,
                                                               mode_t mode) {
  const auto address = AddressOf(path);
  if (!address) return Fail(address.error());
  KVC_FAIL_IF_ERROR(MakeFolder(path));
  const int lock_fd =
      open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_fd < 0) return Fail(Failed(path, "its lock file"));
  std::unique_ptr<ListeningSocket> socket(new ListeningSocket(path, lock_fd));
  if (flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
    return Fail(AlreadyExists("socket is '" + path + "': another daemon serves it"));
  }
  KVC_FAIL_IF_ERROR(socket->Listen(mode));
  return socket;
}

Status ListeningSocket::Listen(mode_t mode) {
  const sockaddr_un address = *AddressOf(path_);
  struct stat info {};
  if (lstat(path_.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) {
      return AlreadyExists("socket is '" + path_ + "': a file is there that is no socket");
    }
    if (IsServed(address)) {
      return AlreadyExists("socket is '" + path_ + "': another daemon serves it");
    }
    if (unlink(path_.c_str()) != 0) return Failed(path_, "removing a stale socket");
  }
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return Failed(path_, "socket");
  if (bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Failed(path_, "bind");
  }
  bound_ = true;
  // Before listen(): until then nobody can connect, whatever the umask left open.
  if (chmod(path_.c_str(), mode) != 0) return Failed(path_, "chmod");
  if (lstat(path_.c_str(), &info) != 0) return Failed(path_, "stat");
  device_ = info.st_dev;
  inode_ = info.st_ino;
  if (listen(fd_, kBacklog) != 0) return Failed(path_, "listen");
  return Status();
}

void ListeningSocket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  struct stat info {};
  if (bound_ && lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ &&
      info.st_ino == inode_) {
    unlink(path_.c_str());
  }
  bound_ = false;
}

ListeningSocket::~ListeningSocket() {
  Close();
  close(lock_fd_);  // The file stays: removing a lock file lets two daemons hold two locks.
}

}  // namespace kvcommons
