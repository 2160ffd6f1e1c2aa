#include "tests/integration/daemon_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/assert.h"

extern char** environ;

namespace kvcommons {
namespace {

constexpr std::chrono::seconds kStartLimit{60};

pid_t Spawn(const std::vector<std::string>& arguments, int output) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? pid : -1;
}

int ExitCode(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

}  // namespace

DaemonProcess::DaemonProcess() {
  std::string pattern = (std::filesystem::temp_directory_path() / "kvcommons-test-XXXXXX").string();
  KVC_ASSERT(mkdtemp(pattern.data()) != nullptr);
  folder_ = pattern;
}

DaemonProcess::~DaemonProcess() {
  Kill();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

Status DaemonProcess::Start(const std::vector<std::string>& more_arguments) {
  KVC_ASSERT(pid_ == -1);
  std::vector<std::string> arguments = {KVCOMMONSD_BINARY, "--data-dir", data_folder(), "--socket",
                                        socket_path(),     "--http",     "off"};
  arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
  const int log = open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  pid_ = Spawn(arguments, log);
  close(log);
  if (pid_ == -1) return Unavailable(std::string("cannot start ") + KVCOMMONSD_BINARY);
  const auto limit = std::chrono::steady_clock::now() + kStartLimit;
  while (std::chrono::steady_clock::now() < limit) {
    int wait_status = 0;
    if (waitpid(pid_, &wait_status, WNOHANG) == pid_) {
      pid_ = -1;
      return Unavailable("kvcommonsd exited with " + std::to_string(ExitCode(wait_status)) + ": " +
                         Log());
    }
    if (access(socket_path().c_str(), F_OK) == 0 && Connect("readiness").has_value())
      return Status();
    std::this_thread::yield();
  }
  return Unavailable("kvcommonsd is not ready after a minute: " + Log());
}

void DaemonProcess::Kill() {
  if (pid_ == -1) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

int DaemonProcess::Stop() {
  KVC_ASSERT(pid_ != -1);
  kill(pid_, SIGTERM);
  int wait_status = 0;
  waitpid(pid_, &wait_status, 0);
  pid_ = -1;
  return ExitCode(wait_status);
}

Result<std::unique_ptr<Client>> DaemonProcess::Connect(const std::string& name) const {
  return Client::Connect({.socket_path = socket_path(), .name = name});
}

std::string DaemonProcess::Log() const {
  std::ifstream file(folder_ + "/log");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  constexpr std::size_t kLogBytes = 4096;
  return text.size() > kLogBytes ? text.substr(text.size() - kLogBytes) : text;
}

ProgramOutput RunProgram(const std::vector<std::string>& arguments) {
  ProgramOutput result;
  int ends[2];
  KVC_ASSERT(pipe2(ends, O_CLOEXEC) == 0);
  const pid_t pid = Spawn(arguments, ends[1]);
  close(ends[1]);
  char buffer[4096];
  for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    result.output.append(buffer, static_cast<std::size_t>(n));
  }
  close(ends[0]);
  int wait_status = 0;
  if (pid != -1 && waitpid(pid, &wait_status, 0) == pid) result.exit_code = ExitCode(wait_status);
  return result;
}

}  // namespace kvcommons
