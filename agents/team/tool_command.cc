#include "agents/team/tool_command.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/clock.h"

namespace kvcommons {
namespace {

namespace fs = std::filesystem;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { Close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  void Reset(int fd) {
    Close();
    fd_ = fd;
  }
  void Close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

// Made before the program is, gone behind it with whatever it left there.
class FreshFolder {
 public:
  FreshFolder() = default;
  FreshFolder(const FreshFolder&) = delete;
  FreshFolder& operator=(const FreshFolder&) = delete;
  ~FreshFolder() {
    if (path_.empty()) return;
    // A folder that its owner may not read would keep its contents.
    std::error_code error;
    fs::permissions(path_, fs::perms::owner_all, error);
    for (fs::recursive_directory_iterator at(path_, error), end; !error && at != end;
         at.increment(error)) {
      std::error_code ignored;
      if (!at->is_symlink(ignored) && at->is_directory(ignored)) {
        fs::permissions(at->path(), fs::perms::owner_all, ignored);
      }
    }
    fs::remove_all(path_, error);
  }
  Status Make() {
    std::error_code error;
    std::string path = fs::temp_directory_path(error) / "kvcommons-tool-XXXXXX";
    if (error || ::mkdtemp(path.data()) == nullptr) {
      return Unavailable("no temporary folder " + path + ": " +
                         (error ? error.message() : std::strerror(errno)));
    }
    path_ = std::move(path);
    return Status();
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// What the child could not do, from it to us.
enum class Step : int { kUsers, kParent, kLimits, kFolder, kDescriptors, kProgram };
struct ChildFailure {
  Step step;
  int error;
};

// Everything the child needs, made before there is one.
struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* environment;
  const char* folder;
  const char* user_map;  // null: no user namespace
  const char* group_map;
  int input_fd, output_fd, null_fd, status_fd;
  int status_read_fd;  // ours: in the child it would look as if we were there
  std::array<std::pair<int, rlim_t>, 6> limits;
};

bool WriteFile(const char* path, const char* text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const auto size = static_cast<ssize_t>(std::strlen(text));
  return ::write(fd, text, static_cast<std::size_t>(size)) == size && ::close(fd) == 0;
}

// Runs in the child of a program that may have threads: async-signal-safe calls alone.
[[noreturn]] void RunChild(const ChildPlan& plan) {
  int status_fd = plan.status_fd;
  const auto fail = [&status_fd](Step step) {
    const ChildFailure failure{step, errno};
    [[maybe_unused]] const ssize_t written = ::write(status_fd, &failure, sizeof failure);
    ::_exit(127);
  };
  // Handlers of ours must not run here; signals are blocked until they are gone.
  struct sigaction by_default = {};
  by_default.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &by_default, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setsid();

  if (plan.user_map != nullptr && (!WriteFile("/proc/self/setgroups", "deny") ||
                                   !WriteFile("/proc/self/uid_map", plan.user_map) ||
                                   !WriteFile("/proc/self/gid_map", plan.group_map))) {
    fail(Step::kUsers);
  }
  // Those of the namespace, or root's: with them it could go back to our network.
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct nothing[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capset, &header, nothing) != 0 ||
      ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    fail(Step::kUsers);
  }
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) fail(Step::kParent);
  // Too late where the parent is gone already; getppid() is 0 here in any case.
  ::close(plan.status_read_fd);
  pollfd reader = {status_fd, 0, 0};
  if (::poll(&reader, 1, 0) > 0) ::_exit(127);

  if (::chdir(plan.folder) != 0) fail(Step::kFolder);
  // First out of the way: any of them may be 0, 1, 2 or 3, where we have none of our own.
  const int input = ::fcntl(plan.input_fd, F_DUPFD, 4);
  const int output = ::fcntl(plan.output_fd, F_DUPFD, 4);
  const int null = ::fcntl(plan.null_fd, F_DUPFD, 4);
  status_fd = ::fcntl(status_fd, F_DUPFD_CLOEXEC, 4);
  if (input < 0 || output < 0 || null < 0 || status_fd < 0 || ::dup2(input, 0) < 0 ||
      ::dup2(output, 1) < 0 || ::dup2(null, 2) < 0 || ::dup3(status_fd, 3, O_CLOEXEC) < 0) {
    fail(Step::kDescriptors);
  }
  status_fd = 3;
  if (::syscall(SYS_close_range, 4U, ~0U, 0U) != 0) fail(Step::kDescriptors);
  for (const auto& [resource, limit] : plan.limits) {
    rlimit both = {};
    ::getrlimit(static_cast<__rlimit_resource_t>(resource), &both);
    both.rlim_max = std::min(both.rlim_max, limit);  // root alone may raise one
    both.rlim_cur = both.rlim_max;
    if (::setrlimit(static_cast<__rlimit_resource_t>(resource), &both) != 0) fail(Step::kLimits);
  }
  ::execve(plan.program, plan.argv, plan.environment);
  fail(Step::kProgram);
  ::_exit(127);
}

Result<std::string> FindProgram(const std::string& name) {
  if (name.starts_with('/')) {
    if (::access(name.c_str(), X_OK) == 0) return name;
    return Fail(NotFound("no program '" + name + "': " + std::strerror(errno)));
  }
  if (name.find('/') != std::string::npos) {
    return Fail(InvalidArgument("program is '" + name +
                                "'; it is a name in /usr/bin or /bin, or an absolute path, since "
                                "it runs in a folder of its own"));
  }
  for (const char* folder : {"/usr/bin/", "/bin/"}) {
    std::string path = folder + name;
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return Fail(NotFound("no program '" + name + "' in /usr/bin or /bin"));
}

// A file in memory rather than a pipe: no one has to write while the program runs.
Status MakeInput(std::string_view input, Descriptor* file) {
  file->Reset(::memfd_create("kvcommons-tool-input", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  bool is_made = file->get() >= 0;
  for (std::size_t done = 0; is_made && done < input.size();) {
    const ssize_t count = ::write(file->get(), input.data() + done, input.size() - done);
    is_made = count >= 0 || errno == EINTR;
    if (count > 0) done += static_cast<std::size_t>(count);
  }
  constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  is_made = is_made && ::lseek(file->get(), 0, SEEK_SET) == 0 &&
            ::fcntl(file->get(), F_ADD_SEALS, kSeals) == 0;
  return is_made ? Status()
                 : Exhausted(std::string("no memory for the input: ") + std::strerror(errno));
}

Status MakePipe(Descriptor* read, Descriptor* write) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return Exhausted(std::string("no pipe: ") + std::strerror(errno));
  }
  read->Reset(ends[0]);
  write->Reset(ends[1]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return Status();
}

// Bytes of the character that begins there; 0: none does.
std::size_t CharacterBytes(std::string_view text) {
  const auto at = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return 1;
  const std::size_t size = lead >= 0xC2 && lead <= 0xDF   ? 2
                           : (lead & 0xF0) == 0xE0        ? 3
                           : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                          : 0;
  if (size == 0 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
  }
  const bool is_too_long = (lead == 0xE0 && at(1) < 0xA0) || (lead == 0xF0 && at(1) < 0x90);
  const bool is_no_character = (lead == 0xED && at(1) >= 0xA0) || (lead == 0xF4 && at(1) >= 0x90);
  return is_too_long || is_no_character ? 0 : size;
}

// At most `limit` bytes of whole characters.
std::string ToUtf8(std::string_view bytes, std::uint64_t limit, bool* was_cut) {
  std::string text;
  while (!bytes.empty()) {
    const std::size_t size = CharacterBytes(bytes);
    const std::string_view character = size == 0 ? "\xEF\xBF\xBD" : bytes.substr(0, size);
    if (text.size() + character.size() > limit) {
      *was_cut = true;
      break;
    }
    text += character;
    bytes.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return text;
}

// One read, since a program may write without end.
enum class Piece { kSome, kNothingYet, kEnd };
Piece ReadPiece(int fd, std::uint64_t limit, std::string* bytes) {
  constexpr std::uint64_t kLongestCharacter = 4;  // to know whether the limit cuts one
  char buffer[16 << 10];
  const ssize_t count = ::read(fd, buffer, sizeof buffer);
  if (count < 0) return errno == EAGAIN || errno == EINTR ? Piece::kNothingYet : Piece::kEnd;
  if (count == 0) return Piece::kEnd;
  const std::uint64_t room = limit + kLongestCharacter - bytes->size();
  bytes->append(buffer, std::min(room, static_cast<std::uint64_t>(count)));
  return Piece::kSome;
}

Status StatusOf(const ChildFailure& failure, const std::string& program) {
  const std::string why = std::strerror(failure.error);
  const auto at = [&](const char* what) {
    return Unavailable("program '" + program + "' cannot be started: " + what + why);
  };
  switch (failure.step) {
    case Step::kUsers:
      return Unsupported("this machine gives no network namespace: " + why);
    case Step::kParent:
      return at("it would outlive us: ");
    case Step::kLimits:
      return at("limits: ");
    case Step::kFolder:
      return at("its folder: ");
    case Step::kDescriptors:
      return at("descriptors: ");
    case Step::kProgram:
      return at("");
  }
  return Internal("a step of a child that there is not");
}

// Ends on every way out.
class Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    Wait();
  }
  // The first of a process namespace: whatever it started, in whatever session, ends with it.
  Status Start(ChildPlan plan) {
    constexpr int kSpaces = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC;
    if (Clone(kSpaces | CLONE_NEWUSER, plan)) return Status();
    const int error = errno;
    plan.user_map = nullptr;
    if (::geteuid() == 0 && Clone(kSpaces, plan)) return Status();
    return Unsupported(std::string("this machine gives no network namespace: ") +
                       std::strerror(error));
  }
  int descriptor() const { return descriptor_.get(); }
  void Kill() const { ::kill(pid_, SIGKILL); }
  // Its exit code as ToolOutput has it.
  Result<int> Wait() {
    int status = 0;
    pid_t waited = 0;
    do waited = ::waitpid(pid_, &status, 0);
    while (waited < 0 && errno == EINTR);
    pid_ = 0;
    if (waited < 0) return Fail(Internal(std::string("waitpid: ") + std::strerror(errno)));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  bool Clone(int spaces, const ChildPlan& plan) {
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    int descriptor = -1;
    // As fork(), with namespaces: nothing is shared, so it has our stack.
    const long pid =
        ::syscall(SYS_clone, spaces | CLONE_PIDFD | SIGCHLD, nullptr, &descriptor, nullptr, 0);
    if (pid == 0) RunChild(plan);
    const int error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    if (pid < 0) return false;
    pid_ = static_cast<pid_t>(pid);
    descriptor_.Reset(descriptor);
    return true;
  }

  pid_t pid_ = 0;
  Descriptor descriptor_;
};

Status CheckCall(const std::vector<std::string>& argv, std::string_view input) {
  if (argv.empty() || argv.front().empty()) return InvalidArgument("the command names no program");
  for (const std::string& argument : argv) {
    if (argument.find('\0') != std::string::npos) {
      return InvalidArgument("an argument of '" + argv.front() + "' has a zero byte");
    }
  }
  if (input.size() > ToolLimits::kMaxInputBytes) {
    return InvalidArgument("input of '" + argv.front() + "' has " + std::to_string(input.size()) +
                           " bytes; the limit is " + std::to_string(ToolLimits::kMaxInputBytes));
  }
  return Status();
}

// Reads until the child has ended, or is ended since its time is up.
void ReadUntilEnd(const Child& child, int output_fd, const ToolLimits& limits, std::string* bytes,
                  bool* timed_out) {
  const SystemClock clock;
  *timed_out = false;
  const std::int64_t end_ns = clock.NowNs() + static_cast<std::int64_t>(limits.time_s * 1e9);
  pollfd waited[2] = {{child.descriptor(), POLLIN, 0}, {output_fd, POLLIN, 0}};
  while (true) {
    const std::int64_t left_ns = std::max<std::int64_t>(end_ns - clock.NowNs(), 0);
    if (left_ns == 0 && !*timed_out) {
      *timed_out = true;
      child.Kill();
    }
    const int wait_ms = *timed_out ? -1 : static_cast<int>(left_ns / 1'000'000 + 1);
    if (::poll(waited, 2, wait_ms) < 0) continue;  // EINTR
    const bool has_ended = waited[0].revents != 0;
    if (waited[1].revents != 0 && ReadPiece(output_fd, limits.output_bytes, bytes) == Piece::kEnd) {
      waited[1].fd = -1;
    }
    if (has_ended) break;
  }
  // Whoever could write has ended before it.
  while (ReadPiece(output_fd, limits.output_bytes, bytes) == Piece::kSome) {
  }
}

}  // namespace

Result<ToolOutput> RunTool(const std::vector<std::string>& argv, std::string_view input,
                           const ToolLimits& limits) {
  KVC_FAIL_IF_ERROR(CheckCall(argv, input));
  const auto program = FindProgram(argv.front());
  if (!program) return Fail(program.error());
  FreshFolder folder;
  KVC_FAIL_IF_ERROR(folder.Make());
  Descriptor input_file, output_read, output_write, status_read, status_write;
  KVC_FAIL_IF_ERROR(MakeInput(input, &input_file));
  KVC_FAIL_IF_ERROR(MakePipe(&output_read, &output_write));
  KVC_FAIL_IF_ERROR(MakePipe(&status_read, &status_write));
  const Descriptor null_file(::open("/dev/null", O_WRONLY | O_CLOEXEC));

  std::vector<std::string> arguments = argv;
  std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8",
                                          "HOME=" + folder.path(), "TMPDIR=" + folder.path()};
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (std::string& text : texts) list.push_back(text.data());
    list.push_back(nullptr);
    return list;
  };
  const std::vector<char*> argument_list = pointers(arguments);
  const std::vector<char*> environment_list = pointers(environment);
  const std::string user = std::to_string(::geteuid()), group = std::to_string(::getegid());
  const std::string user_map = user + " " + user + " 1", group_map = group + " " + group + " 1";
  const ChildPlan plan = {
      .program = program->c_str(),
      .argv = argument_list.data(),
      .environment = environment_list.data(),
      .folder = folder.path().c_str(),
      .user_map = user_map.c_str(),
      .group_map = group_map.c_str(),
      .input_fd = input_file.get(),
      .output_fd = output_write.get(),
      .null_fd = null_file.get(),
      .status_fd = status_write.get(),
      .status_read_fd = status_read.get(),
      .limits = {{{RLIMIT_CPU, static_cast<rlim_t>(std::ceil(limits.time_s) + 1)},
                  {RLIMIT_AS, limits.memory_bytes},
                  {RLIMIT_FSIZE, limits.file_bytes},
                  {RLIMIT_NPROC, limits.processes},
                  {RLIMIT_NOFILE, limits.descriptors},
                  {RLIMIT_CORE, 0}}}};
  Child child;
  KVC_FAIL_IF_ERROR(child.Start(plan));
  output_write.Close();
  std::string bytes;
  ToolOutput result;
  ReadUntilEnd(child, output_read.get(), limits, &bytes, &result.timed_out);
  const auto exit_code = child.Wait();
  if (!exit_code) return Fail(exit_code.error());
  ChildFailure failure = {};
  if (::read(status_read.get(), &failure, sizeof failure) == sizeof failure) {
    return Fail(StatusOf(failure, argv.front()));
  }
  result.exit_code = *exit_code;
  result.output = ToUtf8(bytes, limits.output_bytes, &result.was_cut);
  return result;
}

}  // namespace kvcommons
