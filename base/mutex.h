// A mutex that clang's thread-safety analysis can see (std::mutex of libstdc++ carries no
// capability, so a field guarded by it is guarded by nobody). Fields say GUARDED_BY(mutex_),
// methods say REQUIRES(mutex_) or EXCLUDES(mutex_); the clang preset checks them.

#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define KVC_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define KVC_THREAD_ANNOTATION(x)
#endif
#define CAPABILITY(x) KVC_THREAD_ANNOTATION(capability(x))
#define SCOPED_CAPABILITY KVC_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(x) KVC_THREAD_ANNOTATION(guarded_by(x))
#define REQUIRES(...) KVC_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) KVC_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) KVC_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) KVC_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS KVC_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace kvcommons {

class CAPABILITY("mutex") Mutex {
 public:
  void Lock() ACQUIRE() { mutex_.lock(); }
  void Unlock() RELEASE() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

class CondVar {
 public:
  // REQUIRES: `mutex` is held. Returns with it held, possibly for no reason: wait in a loop.
  void Wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace kvcommons
