// Logging: one logger a module, lines on standard error, one level for the process.
//
// Repeats are rate limited: a message of the ...Limited() kind is written at most once a minute for
// its key, with the number of those that were left out. Text from outside is safe to log: control
// characters are escaped, lines are cut at kMaxLineBytes.
// Thread safety: everything may be called from any thread, also before StartLogging().

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/mutex.h"

namespace kvcommons {

enum class LogLevel : std::uint8_t { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3, kOff = 4 };

// "debug", "info", "warning", "error", "off".
std::optional<LogLevel> ParseLogLevel(std::string_view text);
std::string_view LogLevelName(LogLevel level);

inline constexpr std::size_t kMaxLineBytes = 4096;

// Lines below `level` are dropped; the default is kInfo.
void SetLogLevel(LogLevel level);

// Sends lines to `sink` instead of standard error; null returns to it. For tests.
using LogSink = std::function<void(LogLevel, std::string_view module, std::string_view line)>;
void SetLogSink(LogSink sink);

// Says which of several equal messages are written: the first, then one a minute.
class LogLimiter {
 public:
  static constexpr std::int64_t kIntervalNs = 60'000'000'000;
  static constexpr std::size_t kMaxKeys = 1024;  // more forgets all: a flood of keys stays bounded

  explicit LogLimiter(const Clock& clock) : clock_(clock) {}

  // nullopt: leave it out. Else how many were left out since the last one.
  std::optional<std::uint64_t> Admit(std::string_view key) EXCLUDES(mutex_);

 private:
  struct Entry {
    std::int64_t written_ns = 0;
    std::uint64_t left_out = 0;
  };

  const Clock& clock_;
  Mutex mutex_;
  std::unordered_map<std::string, Entry> entries_ GUARDED_BY(mutex_);
};

class Logger {
 public:
  // `module` is a string literal.
  explicit constexpr Logger(const char* module) : module_(module) {}

  void Debug(std::string_view message) const { Write(LogLevel::kDebug, message); }
  void Info(std::string_view message) const { Write(LogLevel::kInfo, message); }
  void Warning(std::string_view message) const { Write(LogLevel::kWarning, message); }
  void Error(std::string_view message) const { Write(LogLevel::kError, message); }

  // At most once a minute for one `key` of this module.
  void WarningLimited(std::string_view key, std::string_view message) const;
  void ErrorLimited(std::string_view key, std::string_view message) const;

 private:
  void Write(LogLevel level, std::string_view message) const;
  void WriteLimited(LogLevel level, std::string_view key, std::string_view message) const;

  const char* module_;
};

}  // namespace kvcommons
