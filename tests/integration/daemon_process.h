// A real kvcommonsd on a socket in a temporary folder, for tests that cross processes.
//
// Thread safety: one owner. The daemon is killed, and the folder removed, with this.

#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "client/client.h"

namespace kvcommons {

class DaemonProcess {
 public:
  // A fresh folder; nothing is started.
  DaemonProcess();
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  // Starts the program with --data-dir and --socket in the folder and waits until a client can log
  // in. Fails with the end of its log when it exits instead.
  Status Start(const std::vector<std::string>& more_arguments = {});
  // Sends SIGKILL and reaps it.
  void Kill();
  // Sends SIGTERM and returns the exit code (128 + signal when it was killed by one).
  int Stop();

  Result<std::unique_ptr<Client>> Connect(const std::string& name = "test") const;

  const std::string& folder() const { return folder_; }
  std::string data_folder() const { return folder_ + "/data"; }
  std::string socket_path() const { return folder_ + "/kvcommons.sock"; }
  std::string Log() const;  // its last 4 KiB
  pid_t pid() const { return pid_; }

 private:
  std::string folder_;
  pid_t pid_ = -1;
};

// Runs a program to its end: exit code and everything it printed.
struct ProgramOutput {
  int exit_code = -1;
  std::string output;
};
ProgramOutput RunProgram(const std::vector<std::string>& arguments);

}  // namespace kvcommons
