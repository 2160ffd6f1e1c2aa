#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <memory>

namespace kvcommons {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"debug", "info", "warning", "error", "off"};

std::atomic<LogLevel> g_level{LogLevel::kInfo};

struct TestSink {
  Mutex mutex;
  LogSink sink GUARDED_BY(mutex);
};
// Never destroyed: threads may log while the process ends.
TestSink& GetTestSink() {
  static TestSink* const sink = new TestSink;
  return *sink;
}

LogLimiter& GetLimiter() {
  static const SystemClock* const clock = new SystemClock;
  static LogLimiter* const limiter = new LogLimiter(*clock);
  return *limiter;
}

spdlog::logger& Output() {
  static const auto* const logger = [] {
    auto* made = new std::shared_ptr<spdlog::logger>(std::make_shared<spdlog::logger>(
        "kvcommons", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
    (*made)->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
    (*made)->set_level(spdlog::level::debug);
    (*made)->flush_on(spdlog::level::debug);
    return made;
  }();
  return **logger;
}

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

// One line, whatever a client put into it.
std::string Printable(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string line;
  line.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (line.size() >= kMaxLineBytes) {
      line += "...";
      break;
    }
    if (byte >= 0x20 && byte != 0x7f) {
      line.push_back(c);
    } else {
      line += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return line;
}

}  // namespace

std::optional<LogLevel> ParseLogLevel(std::string_view text) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == text) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

std::string_view LogLevelName(LogLevel level) { return kNames[static_cast<std::size_t>(level)]; }

void SetLogLevel(LogLevel level) { g_level = level; }

void SetLogSink(LogSink sink) {
  TestSink& test = GetTestSink();
  MutexLock lock(test.mutex);
  test.sink = std::move(sink);
}

std::optional<std::uint64_t> LogLimiter::Admit(std::string_view key) {
  MutexLock lock(mutex_);
  const std::int64_t now_ns = clock_.NowNs();
  const auto found = entries_.find(std::string(key));
  if (found == entries_.end()) {
    if (entries_.size() >= kMaxKeys) entries_.clear();
    entries_.emplace(key, Entry{now_ns, 0});
    return 0;
  }
  Entry& entry = found->second;
  if (now_ns - entry.written_ns < kIntervalNs) {
    ++entry.left_out;
    return std::nullopt;
  }
  const std::uint64_t left_out = entry.left_out;
  entry = Entry{now_ns, 0};
  return left_out;
}

void Logger::WarningLimited(std::string_view key, std::string_view message) const {
  WriteLimited(LogLevel::kWarning, key, message);
}

void Logger::ErrorLimited(std::string_view key, std::string_view message) const {
  WriteLimited(LogLevel::kError, key, message);
}

void Logger::WriteLimited(LogLevel level, std::string_view key, std::string_view message) const {
  const auto left_out = GetLimiter().Admit(std::string(module_) + '/' + std::string(key));
  if (!left_out) return;
  if (*left_out == 0) return Write(level, message);
  Write(level, std::string(message) + " (" + std::to_string(*left_out) + " more left out)");
}

void Logger::Write(LogLevel level, std::string_view message) const {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  const std::string line = Printable(message);
  TestSink& test = GetTestSink();
  {
    MutexLock lock(test.mutex);
    if (test.sink) return test.sink(level, module_, line);
  }
  Output().log(ToSpdlog(level), "{}: {}", module_, line);
}

}  // namespace kvcommons
