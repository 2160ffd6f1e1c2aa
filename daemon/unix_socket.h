// The daemon's Unix socket: made, locked, listened on, and removed again.
//
// Guarantee: two daemons never serve one path. `<path>.lock` is held (flock) while the object
// lives, so a socket file that is found under the lock belongs to a daemon that died, and is
// replaced; a server that holds no such lock but answers is respected as well. Refuses: a path over
// the system's 107 bytes, a path that is something else than a socket, a folder that belongs to
// another user than root.

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/status.h"

namespace kvcommons {

class ListeningSocket {
 public:
  // An absent folder is made with mode 0700. `mode` is that of the socket file.
  static Result<std::unique_ptr<ListeningSocket>> Open(const std::string& path, mode_t mode);

  ~ListeningSocket();
  ListeningSocket(const ListeningSocket&) = delete;
  ListeningSocket& operator=(const ListeningSocket&) = delete;

  int fd() const { return fd_; }  // non-blocking
  const std::string& path() const { return path_; }

  // Refuses new connections and removes the socket file, if it is still ours. The lock stays held.
  void Close();

 private:
  ListeningSocket(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}
  Status Listen(mode_t mode);

  const std::string path_;
  const int lock_fd_;
  int fd_ = -1;
  bool bound_ = false;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace kvcommons
