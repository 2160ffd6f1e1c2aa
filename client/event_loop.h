// The calling thread's KJ event loop, shared by every client that was connected on that thread.
//
// KJ allows one loop per thread. The loop runs only inside client calls, so nothing happens behind
// the caller's back, and a thread that computes for a minute just reads its answers later.
// Thread safety: a loop belongs to the thread that asked for it.

#pragma once

#include <kj/async-io.h>
#include <kj/time.h>

#include <cstdint>
#include <memory>
#include <thread>

#include "base/status.h"

namespace kvcommons {

class EventLoop {
 public:
  // The loop of this thread, made by the first client and gone with the last.
  // kUnsupported: the thread already runs a KJ loop of its own.
  static Result<std::shared_ptr<EventLoop>> OfThisThread();

  explicit EventLoop(kj::AsyncIoContext context) : context_(kj::mv(context)) {}

  kj::WaitScope& wait_scope() { return context_.waitScope; }
  kj::Timer& timer() { return context_.provider->getTimer(); }
  kj::LowLevelAsyncIoProvider& io() { return *context_.lowLevelProvider; }
  bool is_this_thread() const { return std::this_thread::get_id() == thread_; }

  // Looks for an answer for up to kSpinNs before the caller sleeps on it: an idle processor takes
  // longer to wake than the daemon takes for a plan.
  template <typename T>
  void SpinFor(kj::Promise<T>& answer) {
    const kj::MonotonicClock& clock = kj::systemPreciseMonotonicClock();
    const kj::TimePoint end = clock.now() + kSpinNs * kj::NANOSECONDS;
    while (!answer.poll(context_.waitScope) && clock.now() < end) {
    }
  }

  // When `timeout_ms` from now is. The timer's own notion of now stands still while the loop does
  // not run: a deadline counted from it could lie in the past before the call is sent.
  static kj::TimePoint DeadlineOf(std::int64_t timeout_ms);

 private:
  static constexpr std::int64_t kSpinNs = 50'000;

  kj::AsyncIoContext context_;
  std::thread::id thread_ = std::this_thread::get_id();
};

}  // namespace kvcommons
