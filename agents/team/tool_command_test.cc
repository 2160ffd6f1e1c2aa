// Programs that a team calls: what they print, what they cannot reach, and that they end.

#include "agents/team/tool_command.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/clock.h"

namespace kvcommons {
namespace {

using testing::HasSubstr;

class ToolCommand : public testing::Test {
 protected:
  void SetUp() override {
    const auto probe = RunTool({"true"}, "", {});
    if (!probe && probe.error().code() == Code::kUnsupported) {
      GTEST_SKIP() << probe.error().message();
    }
    ASSERT_TRUE(probe) << probe.error().ToString();
  }

  static ToolOutput Run(const std::vector<std::string>& argv, std::string_view input = "",
                        const ToolLimits& limits = {}) {
    const auto ran = RunTool(argv, input, limits);
    EXPECT_TRUE(ran) << ran.error().ToString();
    return ran.value_or(ToolOutput{});
  }
  static ToolOutput Shell(const std::string& script, const ToolLimits& limits = {}) {
    return Run({"sh", "-c", script}, "", limits);
  }
  static std::string Refusal(const std::vector<std::string>& argv, std::string_view input = "") {
    const auto ran = RunTool(argv, input, {});
    return ran ? "" : ran.error().ToString();
  }
};

// Whether a process was called with this argument.
bool Runs(const std::string& argument) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    std::stringstream line;
    line << file.rdbuf();
    if (line.str().find('\0' + argument + '\0') != std::string::npos) return true;
  }
  return false;
}

TEST_F(ToolCommand, WhatItPrintsComesBackAndItsInputIsWhole) {
  EXPECT_EQ(Run({"cat"}, "2 + 2\n").output, "2 + 2\n");
  EXPECT_EQ(Run({"/bin/echo", "$HOME", "a b"}).output, "$HOME a b\n");  // no shell
  // More than a pipe holds, in both directions, of a program that reads nothing at first.
  const std::string much(1U << 20, 'x');
  ToolLimits limits;
  limits.output_bytes = much.size();
  const ToolOutput back = Run({"cat"}, much, limits);
  EXPECT_EQ(back.output, much);
  EXPECT_FALSE(back.was_cut);
  EXPECT_EQ(Run({"true"}, much).output, "");  // and of one that never reads
}

TEST_F(ToolCommand, ItsExitCodeIsTold) {
  EXPECT_EQ(Run({"true"}).exit_code, 0);
  EXPECT_EQ(Shell("echo so far; exit 3").exit_code, 3);
  EXPECT_EQ(Shell("sh -c 'kill -9 $$'; exit $?").exit_code, 137);
  EXPECT_EQ(Shell("echo to nobody >&2; exit 1").output, "");
}

TEST_F(ToolCommand, WhenItsTimeIsUpAllThatItStartedEnds) {
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  ToolLimits limits;
  limits.time_s = 0.2;
  const ToolOutput ran =
      Shell("echo begun; sleep 61.0625 & setsid sleep 61.0625 & sleep 61.0625", limits);
  EXPECT_LT(clock.NowNs() - start_ns, std::int64_t{30'000'000'000});
  EXPECT_TRUE(ran.timed_out);
  EXPECT_EQ(ran.exit_code, 137);
  EXPECT_EQ(ran.output, "begun\n");
  EXPECT_FALSE(Runs("61.0625"));
  EXPECT_TRUE(Shell("exec >/dev/null; while :; do :; done", limits).timed_out);
}

TEST_F(ToolCommand, WhatItLeavesBehindEndsWithIt) {
  const ToolOutput ran = Shell("setsid sleep 62.0625 & echo done");
  EXPECT_FALSE(ran.timed_out);
  EXPECT_EQ(ran.output, "done\n");
  EXPECT_FALSE(Runs("62.0625"));
}

TEST_F(ToolCommand, OutputBehindTheLimitIsDroppedAndNoCharacterIsCut) {
  ToolLimits limits;
  limits.output_bytes = 4;
  EXPECT_EQ(Run({"printf", "abcd"}, "", limits).output, "abcd");
  EXPECT_FALSE(Run({"printf", "abcd"}, "", limits).was_cut);
  const ToolOutput past = Run({"printf", "abcde"}, "", limits);
  EXPECT_EQ(past.output, "abcd");
  EXPECT_TRUE(past.was_cut);
  EXPECT_EQ(Run({"cat"}, "abcé", limits).output, "abc");
  EXPECT_EQ(Run({"cat"}, "ab\xC3\xA9", limits).output, "abé");
  EXPECT_EQ(Run({"cat"}, "a\xF0\x9F\x98\x80", limits).output, "a");
  EXPECT_EQ(Run({"cat"}, "\xF0\x9F\x98\x80", limits).output, "\xF0\x9F\x98\x80");
  limits.time_s = 0.2;
  const ToolOutput endless = Run({"yes"}, "", limits);
  EXPECT_EQ(endless.output, "y\ny\n");
  EXPECT_TRUE(endless.was_cut && endless.timed_out);
}

TEST_F(ToolCommand, BytesThatAreNoCharacterAreReplaced) {
  EXPECT_EQ(Run({"cat"}, "a\xFFz").output, "a\xEF\xBF\xBDz");
  EXPECT_EQ(Run({"cat"}, "\xC3").output, "\xEF\xBF\xBD");  // begun and not ended
  // A surrogate, one that is too long, and one behind the last.
  for (const char* bytes : {"\xED\xA0\x80", "\xE0\x80\x80", "\xC0\x80"}) {
    EXPECT_THAT(Run({"cat"}, bytes).output, HasSubstr("\xEF\xBF\xBD")) << bytes;
  }
  EXPECT_EQ(Run({"cat"}, "\xF4\x90\x80\x80").output.size(), 12u);
  EXPECT_EQ(Run({"cat"}, "\xF4\x8F\xBF\xBF").output, "\xF4\x8F\xBF\xBF");
}

TEST_F(ToolCommand, MemoryAndFilesHaveALimit) {
  const std::vector<std::string> takes_much = {"dd", "if=/dev/zero", "of=/dev/null", "bs=600M",
                                               "count=1"};
  EXPECT_NE(Run(takes_much).exit_code, 0);
  ToolLimits limits;
  limits.memory_bytes = std::uint64_t{2} << 30;
  EXPECT_EQ(Run(takes_much, "", limits).exit_code, 0);
  limits.file_bytes = 4096;
  EXPECT_EQ(Shell("head -c 4096 /dev/zero > file && wc -c < file", limits).output, "4096\n");
  EXPECT_NE(Shell("head -c 4097 /dev/zero > file", limits).exit_code, 0);
}

TEST_F(ToolCommand, ProcessesHaveALimit) {
  if (::geteuid() == 0) GTEST_SKIP() << "the kernel does not count root's processes";
  ToolLimits limits;
  limits.processes = 4;
  EXPECT_NE(Shell("for i in 1 2 3 4 5 6; do sleep 60 & done", limits).exit_code, 0);
}

TEST_F(ToolCommand, ThereIsNoNetwork) {
  std::istringstream lines(Run({"cat", "/proc/net/dev"}).output);
  std::vector<std::string> devices;
  for (std::string line; std::getline(lines, line);) {
    if (line.find(':') != std::string::npos) devices.push_back(line.substr(0, line.find(':')));
  }
  EXPECT_THAT(devices, testing::Each(HasSubstr("lo")));
  EXPECT_LE(devices.size(), 1u);
}

TEST_F(ToolCommand, ItHasNoRightsOfANamespaceAndGetsNone) {
  const std::string status = Run({"cat", "/proc/self/status"}).output;
  for (const char* line : {"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000",
                           "CapEff:\t0000000000000000", "NoNewPrivs:\t1"}) {
    EXPECT_THAT(status, HasSubstr(line));
  }
}

TEST_F(ToolCommand, OfOursItHasNothingButAPath) {
  ASSERT_EQ(::setenv("KVC_TOOL_TEST", "secret", 1), 0);
  const int open = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC
  const std::string environment = Run({"env"}).output;
  // `ls` has the folder that it lists open too.
  EXPECT_EQ(Run({"ls", "/proc/self/fd"}).output, "0\n1\n2\n3\n");
  ::close(open);
  ::unsetenv("KVC_TOOL_TEST");
  std::istringstream lines(environment);
  std::vector<std::string> names;
  for (std::string line; std::getline(lines, line);)
    names.push_back(line.substr(0, line.find('=')));
  EXPECT_THAT(names, testing::UnorderedElementsAre("PATH", "LANG", "HOME", "TMPDIR"));
  EXPECT_THAT(environment, HasSubstr("PATH=/usr/bin:/bin\n"));
}

TEST_F(ToolCommand, ItsFolderIsFreshAndGoneAfterwards) {
  const std::string script =
      "ls; [ \"$PWD\" = \"$HOME\" ] && [ \"$PWD\" = \"$TMPDIR\" ] || exit 1; "
      "mkdir -p a/b; echo x > a/b/c; chmod 0 a/b a .; pwd";
  const ToolOutput ran = Shell(script);
  EXPECT_EQ(ran.exit_code, 0);
  std::string folder = ran.output;
  ASSERT_THAT(folder, HasSubstr("kvcommons-tool-"));
  folder.pop_back();
  EXPECT_FALSE(std::filesystem::exists(folder));
  EXPECT_NE(Shell(script).output, ran.output);
}

TEST_F(ToolCommand, WhatCannotBeRunIsRefusedByName) {
  EXPECT_EQ(Refusal({"no-such-program"}),
            "not_found: no program 'no-such-program' in /usr/bin or /bin");
  EXPECT_THAT(Refusal({"/nowhere/x"}), HasSubstr("not_found: no program '/nowhere/x': "));
  EXPECT_THAT(Refusal({"./x"}), HasSubstr("invalid_argument: program is './x'; it is a name in"));
  EXPECT_THAT(Refusal({}), HasSubstr("the command names no program"));
  EXPECT_THAT(Refusal({"echo", std::string("a\0b", 3)}),
              HasSubstr("an argument of 'echo' has a zero byte"));
  EXPECT_THAT(Refusal({"/tmp"}), HasSubstr("program '/tmp' cannot be started: "));
  EXPECT_EQ(Refusal({"true"}, std::string(ToolLimits::kMaxInputBytes, 'x')), "");
  EXPECT_THAT(Refusal({"true"}, std::string(ToolLimits::kMaxInputBytes + 1, 'x')),
              HasSubstr("input of 'true' has 16777217 bytes; the limit is 16777216"));
}

}  // namespace
}  // namespace kvcommons
