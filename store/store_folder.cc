#include "store/store_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace kvcommons {
namespace {

constexpr std::string_view kFormatPrefix = "kvcommons store ";

Status Failed(const std::string& what, const std::string& path) {
  return Unavailable(what + " " + path + ": " + std::strerror(errno));
}

// Written beside and renamed: after a power loss the file is whole or absent.
Status WriteFormat(const std::string& folder) {
  const std::string path = folder + "/format";
  const std::string text =
      std::string(kFormatPrefix) + std::to_string(StoreFolder::kFormatVersion) + "\n";
  const int fd = open((path + ".new").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Failed("create", path + ".new");
  const bool written =
      write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
  close(fd);
  if (!written || rename((path + ".new").c_str(), path.c_str()) != 0) return Failed("write", path);
  const int folder_fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder_fd >= 0 && fsync(folder_fd) == 0;
  if (folder_fd >= 0) close(folder_fd);
  return synced ? Status() : Failed("sync folder", folder);
}

Status CheckFormat(const std::string& folder) {
  const std::string path = folder + "/format";
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno != ENOENT) return Failed("open", path);
  if (fd < 0) {
    std::error_code error;
    if (std::filesystem::exists(folder + "/index", error) ||
        std::filesystem::exists(folder + "/extents", error)) {
      return Unsupported("store " + folder + " has no format file; this release reads version " +
                         std::to_string(StoreFolder::kFormatVersion));
    }
    return WriteFormat(folder);
  }
  char buffer[64];
  const ssize_t size = read(fd, buffer, sizeof buffer);
  close(fd);
  if (size < 0) return Failed("read", path);
  std::string text(buffer, static_cast<std::size_t>(size));
  if (!text.empty() && text.back() == '\n') text.pop_back();
  const std::string wanted =
      std::string(kFormatPrefix) + std::to_string(StoreFolder::kFormatVersion);
  if (text == wanted) return Status();
  return Unsupported("store " + folder + " has format '" + text + "'; this release reads '" +
                     wanted + "'");
}

}  // namespace

Result<std::unique_ptr<StoreFolder>> StoreFolder::Open(const std::string& path) {
  if (path.empty()) return Fail(InvalidArgument("store folder is empty; name a folder"));
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Fail(Failed("create", path));
  const std::string lock_path = path + "/lock";
  const int lock_fd = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd < 0) return Fail(Failed("open", lock_path));
  std::unique_ptr<StoreFolder> folder(new StoreFolder(path, lock_fd));
  if (flock(lock_fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Fail(Failed("lock", lock_path));
    return Fail(Unavailable("store folder " + path + " is in use by another kvcommonsd"));
  }
  KVC_FAIL_IF_ERROR(CheckFormat(path));
  return folder;
}

StoreFolder::~StoreFolder() { close(lock_fd_); }

}  // namespace kvcommons
