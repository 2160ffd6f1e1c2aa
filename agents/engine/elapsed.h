// How long something took, for reports. Thread safety: pure.

#pragma once

#include <cstdint>

#include "base/clock.h"

namespace kvcommons {

// Milliseconds on `clock` since it showed `start_ns`.
inline double MsSince(const Clock& clock, std::int64_t start_ns) {
  return static_cast<double>(clock.NowNs() - start_ns) / 1e6;
}

}  // namespace kvcommons
