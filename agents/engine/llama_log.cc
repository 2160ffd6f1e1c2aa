#include "agents/engine/llama_log.h"

#include <llama.h>

#include <mutex>

#include "base/mutex.h"

namespace kvcommons {
namespace {

class Complaint {
 public:
  void Set(const char* text) EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    text_ = text;
    while (!text_.empty() && text_.back() == '\n') text_.pop_back();
  }
  std::string Take() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::string text;
    text.swap(text_);
    return text;
  }

 private:
  Mutex mutex_;
  std::string text_ GUARDED_BY(mutex_);
};

Complaint& TheComplaint() {
  static auto* complaint = new Complaint;  // Never destroyed: llama.cpp may log while exiting.
  return *complaint;
}

void OnLog(ggml_log_level level, const char* text, void* /*data*/) {
  if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN) TheComplaint().Set(text);
}

}  // namespace

void StartLlama() {
  static std::once_flag once;
  std::call_once(once, [] {
    llama_log_set(OnLog, nullptr);
    llama_backend_init();
  });
}

std::string TakeLlamaComplaint() { return TheComplaint().Take(); }

}  // namespace kvcommons
