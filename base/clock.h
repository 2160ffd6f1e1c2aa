// Time as a parameter: a test owns its clock, so no test sleeps.

#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace kvcommons {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic; for durations.
  virtual std::int64_t NowNs() const = 0;
  // Since 1970, UTC; for records that a person reads.
  virtual std::int64_t WallUs() const = 0;
};

class SystemClock final : public Clock {
 public:
  std::int64_t NowNs() const override {
    return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  }
  std::int64_t WallUs() const override {
    return std::chrono::system_clock::now().time_since_epoch() / std::chrono::microseconds(1);
  }
};

class ManualClock final : public Clock {
 public:
  std::int64_t NowNs() const override { return now_ns_; }
  std::int64_t WallUs() const override { return now_ns_ / 1000; }
  void AdvanceNs(std::int64_t ns) { now_ns_ += ns; }

 private:
  std::atomic<std::int64_t> now_ns_{1};
};

}  // namespace kvcommons
