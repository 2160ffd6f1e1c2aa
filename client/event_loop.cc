#include "client/event_loop.h"

#include <kj/exception.h>
#include <kj/time.h>

namespace kvcommons {

Result<std::shared_ptr<EventLoop>> EventLoop::OfThisThread() {
  thread_local std::weak_ptr<EventLoop> loop_of_thread;
  if (auto loop = loop_of_thread.lock()) return loop;
  std::shared_ptr<EventLoop> loop;
  KJ_IF_MAYBE (exception, kj::runCatchingExceptions([&loop]() {
                 loop = std::make_shared<EventLoop>(kj::setupAsyncIo());
               })) {
    return Fail(Unsupported(std::string("no event loop for this thread: ") +
                            exception->getDescription().cStr() + "; connect from another thread"));
  }
  loop_of_thread = loop;
  return loop;
}

kj::TimePoint EventLoop::DeadlineOf(std::int64_t timeout_ms) {
  return kj::systemPreciseMonotonicClock().now() + timeout_ms * kj::MILLISECONDS;
}

}  // namespace kvcommons
