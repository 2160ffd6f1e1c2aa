#include "client/command/bench_daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "client/command/stats.h"

namespace kvcommons {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using SteadyClock = std::chrono::steady_clock;

volatile std::sig_atomic_t g_is_interrupted = 0;

void CatchSignals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { g_is_interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool IsWritableFolder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) && access(path.c_str(), W_OK | X_OK) == 0;
}

// What is in the page cache would be read at the speed of memory.
void EmptyPageCache(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(folder, error)) {
    if (!entry.is_regular_file(error)) continue;
    const int fd = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    static_cast<void>(fdatasync(fd));
    static_cast<void>(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    close(fd);
  }
}

Result<std::string> FindBinary(const Arguments& arguments) {
  if (!arguments.daemon_binary.empty()) return arguments.daemon_binary;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const fs::path beside = self.parent_path() / "kvcommonsd";
  if (!error && access(beside.c_str(), X_OK) == 0) return beside.string();
  return Fail(NotFound("there is no kvcommonsd at " + beside.string() +
                       ": name one with --daemon-binary FILE, or a running daemon with --socket"));
}

}  // namespace

bool BenchInterrupted() { return g_is_interrupted != 0; }

Result<std::unique_ptr<BenchDaemon>> BenchDaemon::Open(const Arguments& arguments) {
  CatchSignals();
  std::unique_ptr<BenchDaemon> daemon(new BenchDaemon);
  const char* variable = std::getenv("KVCOMMONS_SOCKET");
  if (!arguments.socket.empty() || (variable != nullptr && *variable != '\0')) {
    daemon->socket_ = arguments.socket.empty() ? DefaultSocketPath() : arguments.socket;
    daemon->scratch_ = arguments.scratch;
    Result<std::unique_ptr<Client>> client = daemon->Connect();
    if (!client) return Fail(client.error());
    if (daemon->scratch_.empty()) {
      const auto stats = StatsOf(**client);
      const std::string data =
          stats ? TextAt(*stats, "/disk/path").value_or(std::string()) : std::string();
      const std::string beside = fs::path(data).parent_path().string();
      daemon->scratch_ = !data.empty() && IsWritableFolder(beside) ? beside : ".";
    }
    return daemon;
  }
  Result<std::string> binary = FindBinary(arguments);
  if (!binary) return Fail(binary.error());
  daemon->binary_ = *binary;
  // Not /tmp: it is memory on many machines, and disk paths are measured here.
  const std::string base = arguments.scratch.empty() ? "/var/tmp" : arguments.scratch;
  std::string name = base + "/kvcommons-bench-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    return Fail(Unavailable("cannot make a folder in " + base + ": " + std::strerror(errno) +
                            "; name another with --scratch DIR"));
  }
  daemon->folder_ = name;
  daemon->socket_ = name + "/socket";
  daemon->scratch_ = name;
  KVC_FAIL_IF_ERROR(daemon->Start());
  return daemon;
}

BenchDaemon::~BenchDaemon() {
  Stop();
  std::error_code error;
  if (!folder_.empty()) fs::remove_all(folder_, error);
}

Result<std::unique_ptr<Client>> BenchDaemon::Connect() const {
  ClientOptions options;
  options.socket_path = socket_;
  options.name = "kvcommons bench";
  return Client::Connect(options);
}

Status BenchDaemon::Start() {
  const std::string data = folder_ + "/data", log = folder_ + "/log";
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return Exhausted(std::string("cannot fork: ") + std::strerror(errno));
  if (pid == 0) {
    // A group of its own: an interrupt from the terminal is ours, we end the daemon ourselves.
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(126);
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0) {
      dup2(fd, STDOUT_FILENO);
      dup2(fd, STDERR_FILENO);
    }
    // Without --memory the list ends two places earlier.
    execl(binary_.c_str(), binary_.c_str(), "--data-dir", data.c_str(), "--socket", socket_.c_str(),
          memory_.empty() ? static_cast<char*>(nullptr) : "--memory", memory_.c_str(),
          static_cast<char*>(nullptr));
    _exit(127);
  }
  pid_ = pid;
  // A daemon opens its store before it listens, which may take a while.
  const auto deadline = SteadyClock::now() + seconds(120);
  while (SteadyClock::now() < deadline && !BenchInterrupted()) {
    int exit_status = 0;
    if (waitpid(pid_, &exit_status, WNOHANG) == pid_) {
      pid_ = 0;
      return Unavailable(binary_ + " ended at once: " + LogTail());
    }
    if (Connect()) return Status();
    std::this_thread::sleep_for(milliseconds(20));
  }
  Stop();
  return Unavailable(binary_ + " did not listen within 120 s: " + LogTail());
}

void BenchDaemon::Stop() {
  if (pid_ <= 0) return;
  kill(pid_, SIGTERM);
  const auto deadline = SteadyClock::now() + seconds(60);
  while (waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (SteadyClock::now() > deadline) kill(pid_, SIGKILL);
    std::this_thread::sleep_for(milliseconds(5));
  }
  pid_ = 0;
}

Status BenchDaemon::RestartCold(std::uint64_t memory_bytes) {
  memory_ = std::to_string(memory_bytes);
  Stop();
  EmptyPageCache(folder_ + "/data");
  return Start();
}

std::string BenchDaemon::LogTail() const {
  std::ifstream file(folder_ + "/log");
  std::string line, last;
  while (std::getline(file, line)) {
    if (!line.empty()) last = line;
  }
  return last.empty() ? "it said nothing" : last;
}

}  // namespace kvcommons
