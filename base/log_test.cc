#include "base/log.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvcommons {
namespace {

class LogTest : public testing::Test {
 protected:
  LogTest() {
    SetLogSink([this](LogLevel level, std::string_view module, std::string_view line) {
      lines_.push_back(std::string(LogLevelName(level)) + " " + std::string(module) + ": " +
                       std::string(line));
    });
  }
  ~LogTest() override {
    SetLogSink(nullptr);
    SetLogLevel(LogLevel::kInfo);
  }
  std::vector<std::string> lines_;
};

TEST_F(LogTest, ALineNamesItsLevelAndModule) {
  Logger("store").Warning("disk is full");
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_EQ(lines_[0], "warning store: disk is full");
}

TEST_F(LogTest, LinesBelowTheLevelAreDropped) {
  SetLogLevel(LogLevel::kWarning);
  Logger("store").Info("quiet");
  Logger("store").Warning("loud");
  EXPECT_EQ(lines_, std::vector<std::string>{"warning store: loud"});
  SetLogLevel(LogLevel::kOff);
  Logger("store").Error("off is off");
  EXPECT_EQ(lines_.size(), 1u);
}

TEST_F(LogTest, ControlCharactersCannotForgeALine) {
  Logger("rpc").Info("client 'a\nb\x1b[31m'");
  EXPECT_EQ(lines_[0], "info rpc: client 'a\\x0ab\\x1b[31m'");
}

TEST_F(LogTest, ALongLineIsCut) {
  Logger("rpc").Info(std::string(kMaxLineBytes, 'x'));
  EXPECT_EQ(lines_[0].size(), std::string("info rpc: ").size() + kMaxLineBytes);
  Logger("rpc").Info(std::string(kMaxLineBytes + 1, 'x'));
  EXPECT_EQ(lines_[1].size(), std::string("info rpc: ...").size() + kMaxLineBytes);
}

TEST_F(LogTest, ARepeatIsLeftOut) {
  const Logger log("log_test_repeat");
  log.WarningLimited("bad block", "block 1 is bad");
  log.WarningLimited("bad block", "block 2 is bad");
  log.WarningLimited("other", "something else");
  EXPECT_EQ(lines_, (std::vector<std::string>{"warning log_test_repeat: block 1 is bad",
                                              "warning log_test_repeat: something else"}));
}

TEST(LogLimiterTest, AdmitsOneAMinuteAndCountsTheOthers) {
  ManualClock clock;
  LogLimiter limiter(clock);
  EXPECT_EQ(limiter.Admit("a"), 0u);
  EXPECT_EQ(limiter.Admit("a"), std::nullopt);
  clock.AdvanceNs(LogLimiter::kIntervalNs - 1);
  EXPECT_EQ(limiter.Admit("a"), std::nullopt);
  clock.AdvanceNs(1);
  EXPECT_EQ(limiter.Admit("a"), 2u);
  EXPECT_EQ(limiter.Admit("a"), std::nullopt);
}

TEST(LogLimiterTest, AFloodOfKeysStaysBounded) {
  ManualClock clock;
  LogLimiter limiter(clock);
  for (std::size_t i = 0; i < LogLimiter::kMaxKeys; ++i) limiter.Admit(std::to_string(i));
  EXPECT_EQ(limiter.Admit("0"), std::nullopt);
  EXPECT_EQ(limiter.Admit("one past"), 0u);
  EXPECT_EQ(limiter.Admit("0"), 0u) << "the table was forgotten";
}

TEST(LogLevelTest, NamesAreReadBack) {
  for (int i = 0; i <= 4; ++i) {
    const auto level = static_cast<LogLevel>(i);
    EXPECT_EQ(ParseLogLevel(LogLevelName(level)), level);
  }
  EXPECT_EQ(ParseLogLevel("loud"), std::nullopt);
}

}  // namespace
}  // namespace kvcommons
