// How much each anchor's offsets count, from distances that kernels/anchor_rows.h summed.
//
// Of a content's rows: one weight an anchor and row, for all layers, heads and channels, by the
// mean absolute difference; of the text behind it: one an anchor, layer and channel, for all its
// tokens, by the root of the squares over the content's rows. Keys and values have weights of their
// own. Those of rows are close to equal: they are what a mean over anchors is good for (specs:
// KVCOMM §7).
//
// Pure; any thread.

#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace kvcommons {

// `sums`: [anchor][row], Σ |difference| over `elements` a row, of all layers together. The result:
// [anchor][row]. REQUIRES: sums.size() is a multiple of anchors.
std::vector<float> RowWeights(std::span<const double> sums, std::size_t anchors,
                              std::size_t elements);

// `sums`: [anchor][element], Σ difference² over the rows, of one layer. The result:
// [anchor][element].
std::vector<float> ElementWeights(std::span<const double> sums, std::size_t anchors);

}  // namespace kvcommons
