// What two token sequences have in common, in order: the runs that an edit kept.
//
// Common ends are trimmed first (an edit of a few tokens costs one pass over memory), then Myers'
// O(ND) search in linear space on the middle. Beyond `max_edits` it anchors on n-grams that occur
// once on either side and searches between them; what is still too far apart is told as edited. So
// the result is a longest common subsequence up to `max_edits` edits, and a correct but maybe
// shorter one beyond: unsure means edited. Equal inputs give equal results.
//
// A run whose place is ambiguous (a repeated line) joins its left neighbour as far as it can, then
// its right one: fewer runs, fewer shifts, a longer unchanged start.
//
// Source: specs: positional re-encoding §5.4.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

inline constexpr std::size_t kMaxDiffTokens = std::size_t{1} << 24;  // of either side

// a[a_begin + i] == b[b_begin + i] for i < length.
struct KeptRun {
  Position a_begin = 0;
  Position b_begin = 0;
  Position length = 0;

  Position a_end() const { return a_begin + length; }
  Position b_end() const { return b_begin + length; }
  friend bool operator==(const KeptRun& x, const KeptRun& y) {
    return x.a_begin == y.a_begin && x.b_begin == y.b_begin && x.length == y.length;
  }
};

struct DiffOptions {
  std::int32_t max_edits = 2000;  // of one search; its work is about max_edits² / 2
  // Diagonals and tokens looked at in all searches together: bounds the time of hostile inputs.
  std::int64_t max_steps = std::int64_t{1} << 24;
};

// Length of the longest common prefix, and of the longest common suffix.
std::size_t CommonPrefix(std::span<const TokenId> a, std::span<const TokenId> b);
std::size_t CommonSuffix(std::span<const TokenId> a, std::span<const TokenId> b);

// Runs ascend on both sides and do not touch on both at once. Refuses more than kMaxDiffTokens.
Result<std::vector<KeptRun>> DiffTokens(std::span<const TokenId> a, std::span<const TokenId> b,
                                        const DiffOptions& options = {});

}  // namespace kvcommons
