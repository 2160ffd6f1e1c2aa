#include "daemon/worker_pool.h"

namespace kvcommons {

WorkerPool::WorkerPool(std::size_t thread_count) {
  for (std::size_t i = 0; i < thread_count; ++i) threads_.emplace_back([this] { Loop(); });
}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Queue(std::unique_ptr<Job> job) {
  {
    MutexLock lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.NotifyOne();
}

void WorkerPool::Loop() {
  while (true) {
    std::unique_ptr<Job> job;
    {
      MutexLock lock(mutex_);
      while (jobs_.empty() && !stopping_) changed_.Wait(mutex_);
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job->Run();
  }
}

}  // namespace kvcommons
