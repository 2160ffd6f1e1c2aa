// Threads for what may block (the disk, large copies), so that the event loop never does.
//
// Guarantee: a job that was accepted runs to its end, also when nobody waits for its answer any
// more; the destructor runs what is queued and joins. A job and what it captured die on the worker:
// capture nothing that is bound to the event loop. Thread safety: Run() belongs to an event loop's
// thread; Submit() to any.

#pragma once

#include <kj/async.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace kvcommons {

class WorkerPool {
 public:
  explicit WorkerPool(std::size_t thread_count);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Runs `work` on a worker; the promise belongs to this thread's event loop. `work` must not
  // throw.
  template <typename Work>
  auto Run(Work work) -> kj::Promise<decltype(work())> {
    using T = decltype(work());
    auto pair = kj::newPromiseAndCrossThreadFulfiller<T>();
    Queue(std::make_unique<AnsweredJob<T, Work>>(std::move(work), kj::mv(pair.fulfiller)));
    return kj::mv(pair.promise);
  }

  // The same for work that nobody waits for.
  template <typename Work>
  void Submit(Work work) {
    Queue(std::make_unique<PlainJob<Work>>(std::move(work)));
  }

 private:
  struct Job {
    virtual ~Job() = default;
    virtual void Run() = 0;
  };
  template <typename T, typename Work>
  struct AnsweredJob final : Job {
    AnsweredJob(Work w, kj::Own<kj::CrossThreadPromiseFulfiller<T>> f)
        : work(std::move(w)), fulfiller(kj::mv(f)) {}
    ~AnsweredJob() noexcept override {}  // KJ's own may throw.
    AnsweredJob(const AnsweredJob&) = delete;
    AnsweredJob& operator=(const AnsweredJob&) = delete;
    void Run() override { fulfiller->fulfill(work()); }
    Work work;
    kj::Own<kj::CrossThreadPromiseFulfiller<T>> fulfiller;
  };
  template <typename Work>
  struct PlainJob final : Job {
    explicit PlainJob(Work w) : work(std::move(w)) {}
    ~PlainJob() noexcept override {}
    PlainJob(const PlainJob&) = delete;
    PlainJob& operator=(const PlainJob&) = delete;
    void Run() override { work(); }
    Work work;
  };

  void Queue(std::unique_ptr<Job> job) EXCLUDES(mutex_);
  void Loop() EXCLUDES(mutex_);

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::unique_ptr<Job>> jobs_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace kvcommons
