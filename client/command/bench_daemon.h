// The daemon that is measured: one of our own, on a temporary folder, or the one at a socket.
//
// Guarantee: a daemon of our own does not outlive this object nor this process, and its folder is
// removed with it.
// Thread safety: none; the thread that starts it must live as long (the kernel ends the daemon with
// that thread).

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/status.h"
#include "client/client.h"
#include "client/command/arguments.h"

namespace kvcommons {

class BenchDaemon {
 public:
  static Result<std::unique_ptr<BenchDaemon>> Open(const Arguments& arguments);
  ~BenchDaemon();
  BenchDaemon(const BenchDaemon&) = delete;
  BenchDaemon& operator=(const BenchDaemon&) = delete;

  bool is_own() const { return pid_ > 0; }
  const std::string& socket() const { return socket_; }
  // Where plain files are written: on the data folder's file system as far as that is known.
  const std::string& scratch() const { return scratch_; }

  // A new connection; every measurement has its own, so that a failed one disturbs no other.
  Result<std::unique_ptr<Client>> Connect() const;

  // Ends the own daemon by SIGTERM, empties the page cache of its files and starts it again with so
  // much memory for blocks. REQUIRES: is_own().
  Status RestartCold(std::uint64_t memory_bytes);

 private:
  BenchDaemon() = default;
  Status Start();
  // Waits for its end; SIGKILL after a while.
  void Stop();
  std::string LogTail() const;

  std::string folder_;  // own: everything is in it
  std::string binary_;
  std::string socket_;
  std::string scratch_;
  std::string memory_;  // of --memory; empty: the daemon's default
  pid_t pid_ = 0;
};

// Set by SIGINT and SIGTERM from the first BenchDaemon on: measurements stop at the next repeat, so
// that folders are removed. A second signal ends the process.
bool BenchInterrupted();

}  // namespace kvcommons
