#include "agents/engine/sampled.h"

namespace kvcommons {

bool IsSampled(std::uint64_t seed, std::uint64_t index, double share) {
  // SplitMix64: every bit of seed and index reaches every bit of the result.
  std::uint64_t x = seed + (index + 1) * 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1.0p-53 < share;
}

}  // namespace kvcommons
