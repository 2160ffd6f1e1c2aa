// Sizes as people write them: "8GB", "512 MiB", "4096". GB, GiB and G all mean 2^30: a cache sized
// in powers of ten would surprise whoever reads its memory use.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kvcommons {

inline constexpr std::uint64_t kKiB = 1ull << 10;
inline constexpr std::uint64_t kMiB = 1ull << 20;
inline constexpr std::uint64_t kGiB = 1ull << 30;

// Refuses an empty text, a sign, an unknown suffix and what overflows 64 bits.
Result<std::uint64_t> ParseBytes(std::string_view text);

// "1.5 GiB", "64 MiB", "100 B": at most one decimal.
std::string FormatBytes(std::uint64_t bytes);

}  // namespace kvcommons
