#include "daemon/worker_pool.h"

#include <gtest/gtest.h>
#include <kj/async-io.h>
#include <kj/vector.h>

#include <atomic>
#include <future>

namespace kvcommons {
namespace {

TEST(WorkerPoolTest, AnAnswerComesBackToTheEventLoop) {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  WorkerPool pool(2);
  const auto loop_thread = std::this_thread::get_id();
  auto promise = pool.Run([loop_thread] { return std::this_thread::get_id() != loop_thread; });
  EXPECT_TRUE(promise.wait(io.waitScope));
}

TEST(WorkerPoolTest, ManyAnswersAreAllRight) {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  WorkerPool pool(3);
  kj::Vector<kj::Promise<int>> promises;
  for (int i = 0; i < 1000; ++i) promises.add(pool.Run([i] { return i * i; }));
  const auto answers = kj::joinPromises(promises.releaseAsArray()).wait(io.waitScope);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(answers[static_cast<std::size_t>(i)], i * i);
}

TEST(WorkerPoolTest, AJobRunsToItsEndThoughNobodyWaits) {
  std::atomic<bool> ended{false};
  std::promise<void> go;
  {
    kj::AsyncIoContext io = kj::setupAsyncIo();
    WorkerPool pool(1);
    {
      auto dropped = pool.Run([&ended, may_go = go.get_future().share()] {
        may_go.wait();
        ended = true;
        return 1;
      });
    }
    go.set_value();
  }
  EXPECT_TRUE(ended);
}

TEST(WorkerPoolTest, TheEndRunsWhatIsQueued) {
  std::atomic<int> ran{0};
  {
    WorkerPool pool(1);
    for (int i = 0; i < 100; ++i) pool.Submit([&ran] { ++ran; });
  }
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace kvcommons
