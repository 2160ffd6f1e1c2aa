// Which requests are drawn to be checked against full prefill: the canaries of approximate modes.
//
// Pure; any thread.

#pragma once

#include <cstdint>

namespace kvcommons {

// Whether request number `index` is of the sampled share: by `seed` alone, not by what came before.
bool IsSampled(std::uint64_t seed, std::uint64_t index, double share);

}  // namespace kvcommons
