// KVC_ASSERT: a bug stops the process where it is, in every build. Never for input from outside:
// that is a Status.

#pragma once

#include <cstdio>
#include <cstdlib>

namespace kvcommons {

[[noreturn]] inline void AssertionFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace kvcommons

#define KVC_ASSERT(condition)         \
  ((condition) ? static_cast<void>(0) \
               : ::kvcommons::AssertionFailed(#condition, __FILE__, __LINE__))
