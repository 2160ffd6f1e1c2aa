// Neutral passages to prefill chunks behind: fixed public text, written for this, that says nothing
// of anybody's documents. People, places and firms in it are invented.
//
// Trap: prefaces are part of a canonical row's key, so a changed letter makes every stored row of
// the variants `warm`, `mean-k` and `near-k` a miss.

#pragma once

#include <span>
#include <string_view>

namespace kvcommons {

// 24 of them, of about a hundred words each.
std::span<const std::string_view> NeutralPassages();

}  // namespace kvcommons
