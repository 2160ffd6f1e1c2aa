#include "align/diff.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string>

namespace kvcommons {
namespace {

using Tokens = std::span<const TokenId>;

// A diagonal that no path has reached inside the rectangle.
constexpr std::int32_t kUnreached = std::numeric_limits<std::int32_t>::min() / 2;
constexpr std::size_t kChunk = 64;
constexpr std::int32_t kAnchorTokens[] = {32, 8};  // coarse first
constexpr std::size_t kMaxAnchors = std::size_t{1} << 20;

// Where the two furthest-reaching paths met: a snake from (x, y), `length` long.
struct Snake {
  std::int32_t x = 0;
  std::int32_t y = 0;
  std::int32_t length = 0;
};

class Differ {
 public:
  Differ(Tokens a, Tokens b, const DiffOptions& options)
      : a_(a),
        b_(b),
        max_edits_(std::clamp(options.max_edits, 0, static_cast<std::int32_t>(2 * kMaxDiffTokens))),
        steps_left_(options.max_steps) {}

  std::vector<KeptRun> Run() {
    Between(0, Size(a_), 0, Size(b_), 0);
    JoinLeft();
    JoinRight();
    return std::move(runs_);
  }

 private:
  static std::int32_t Size(Tokens tokens) { return static_cast<std::int32_t>(tokens.size()); }
  Tokens A(std::int32_t begin, std::int32_t end) const {
    return a_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }
  Tokens B(std::int32_t begin, std::int32_t end) const {
    return b_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }
  TokenId A(std::int32_t i) const { return a_[static_cast<std::size_t>(i)]; }
  TokenId B(std::int32_t i) const { return b_[static_cast<std::size_t>(i)]; }

  void Keep(std::int32_t a_begin, std::int32_t b_begin, std::int32_t length) {
    if (length == 0) return;
    if (!runs_.empty() && runs_.back().a_end() == a_begin && runs_.back().b_end() == b_begin) {
      runs_.back().length += length;
    } else {
      runs_.push_back({a_begin, b_begin, length});
    }
  }

  // Appends the runs of a[a0, a1) and b[b0, b1). `level` is how many kinds of anchors were used.
  void Between(std::int32_t a0, std::int32_t a1, std::int32_t b0, std::int32_t b1,
               std::size_t level) {
    const std::int32_t suffix = Trim(a0, a1, b0, b1);
    if (a0 < a1 && b0 < b1) {
      if (const auto snake = MiddleSnake(a0, a1, b0, b1, max_edits_)) {
        Split(a0, a1, b0, b1, *snake);
      } else if (level < std::size(kAnchorTokens)) {
        Anchored(a0, a1, b0, b1, level);
      }
    }
    Keep(a1, b1, suffix);
  }

  // The same where the search is known to end within max_edits_: half of one that did.
  void Within(std::int32_t a0, std::int32_t a1, std::int32_t b0, std::int32_t b1) {
    const std::int32_t suffix = Trim(a0, a1, b0, b1);
    if (a0 < a1 && b0 < b1) {
      if (const auto snake = MiddleSnake(a0, a1, b0, b1, max_edits_)) {
        Split(a0, a1, b0, b1, *snake);
      }
    }
    Keep(a1, b1, suffix);
  }

  void Split(std::int32_t a0, std::int32_t a1, std::int32_t b0, std::int32_t b1, Snake snake) {
    Within(a0, snake.x, b0, snake.y);
    Keep(snake.x, snake.y, snake.length);
    Within(snake.x + snake.length, a1, snake.y + snake.length, b1);
  }

  // Keeps the common prefix, narrows to what lies between the common ends, returns the suffix.
  std::int32_t Trim(std::int32_t& a0, std::int32_t& a1, std::int32_t& b0, std::int32_t& b1) {
    const auto prefix = static_cast<std::int32_t>(CommonPrefix(A(a0, a1), B(b0, b1)));
    Keep(a0, b0, prefix);
    a0 += prefix;
    b0 += prefix;
    const auto suffix = static_cast<std::int32_t>(CommonSuffix(A(a0, a1), B(b0, b1)));
    a1 -= suffix;
    b1 -= suffix;
    return suffix;
  }

  // Myers' middle snake: paths grow from both ends until they overlap on a diagonal. Empty when
  // they need more than `limit` edits together, or the steps are used up. After Trim() at least two
  // edits are needed, so both sides of the snake are smaller than the rectangle.
  std::optional<Snake> MiddleSnake(std::int32_t a0, std::int32_t a1, std::int32_t b0,
                                   std::int32_t b1, std::int32_t limit) {
    const std::int32_t n = a1 - a0;
    const std::int32_t m = b1 - b0;
    const std::int32_t difference = n - m;
    const bool odd = difference % 2 != 0;
    const std::int32_t most = std::min((limit + 1) / 2, (n + m + 1) / 2);
    if (std::abs(difference) > limit) return std::nullopt;
    const auto size = static_cast<std::size_t>(2 * most + 3);
    if (forward_.size() < size) {
      forward_.resize(size);
      backward_.resize(size);
    }
    std::int32_t* const forward = forward_.data() + most + 1;
    std::int32_t* const backward = backward_.data() + most + 1;

    for (std::int32_t d = 0; d <= most; ++d) {
      forward[d] = forward[-d] = backward[d] = backward[-d] = kUnreached;
      // Diagonals that left the rectangle for good are skipped.
      const std::int32_t low = -d + 2 * std::max(0, d - m);
      const std::int32_t high = d - 2 * std::max(0, d - n);
      steps_left_ -= high - low + 2;
      if (steps_left_ < 0) return std::nullopt;
      for (std::int32_t k = low; k <= high; k += 2) {
        const std::int32_t start = Step(forward, k, d, n, m);
        std::int32_t x = start;
        if (x >= 0) {
          while (x < n && x - k < m && A(a0 + x) == B(b0 + x - k)) ++x;
          steps_left_ -= x - start;
        }
        forward[k] = x;
        const std::int32_t mirror = difference - k;
        if (x >= 0 && odd && mirror >= -(d - 1) && mirror <= d - 1 && backward[mirror] >= 0 &&
            x + backward[mirror] >= n) {
          return Snake{a0 + start, b0 + start - k, x - start};
        }
      }
      for (std::int32_t k = low; k <= high; k += 2) {
        const std::int32_t start = Step(backward, k, d, n, m);
        std::int32_t x = start;
        if (x >= 0) {
          while (x < n && x - k < m && A(a1 - 1 - x) == B(b1 - 1 - (x - k))) ++x;
          steps_left_ -= x - start;
        }
        backward[k] = x;
        const std::int32_t mirror = difference - k;
        if (x >= 0 && !odd && mirror >= -d && mirror <= d && forward[mirror] >= 0 &&
            x + forward[mirror] >= n) {
          return Snake{a1 - x, b1 - (x - k), x - start};
        }
      }
    }
    return std::nullopt;
  }

  // Where diagonal k of a d-edit path starts its snake; kUnreached outside the rectangle. Points
  // outside would look further than any inside and make the paths overlap where they do not.
  static std::int32_t Step(const std::int32_t* furthest, std::int32_t k, std::int32_t d,
                           std::int32_t n, std::int32_t m) {
    if (d == 0) return 0;
    const std::int32_t right = k > -d ? furthest[k - 1] + 1 : kUnreached;
    const std::int32_t down = k < d ? furthest[k + 1] : kUnreached;
    std::int32_t x = kUnreached;
    if (right > 0 && right <= n) x = right;
    if (down >= 0 && down - k <= m && down > x) x = down;
    return x;
  }

  // Hash of every n-gram of `tokens` that is in the sample, with its place; unique ones only.
  struct Gram {
    std::uint64_t hash = 0;
    std::int32_t place = 0;
  };
  static std::vector<Gram> UniqueGrams(Tokens tokens, std::int32_t width, std::uint64_t sample) {
    std::vector<Gram> grams;
    const std::int32_t size = Size(tokens);
    constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15u;
    std::uint64_t leaving = 1;  // kBase^width
    for (std::int32_t i = 0; i < width; ++i) leaving *= kBase;
    std::uint64_t rolling = 0;
    for (std::int32_t i = 0; i < size; ++i) {
      const auto in = static_cast<std::uint32_t>(tokens[static_cast<std::size_t>(i)]);
      rolling = rolling * kBase + in + 1;
      if (i >= width) {
        const auto out = static_cast<std::uint32_t>(tokens[static_cast<std::size_t>(i - width)]);
        rolling -= leaving * (out + std::uint64_t{1});
      }
      if (i < width - 1) continue;
      std::uint64_t mixed = rolling ^ (rolling >> 29);
      mixed *= 0xBF58476D1CE4E5B9u;
      mixed ^= mixed >> 32;
      if (mixed % sample == 0) grams.push_back({mixed, i - width + 1});
    }
    std::sort(grams.begin(), grams.end(), [](const Gram& x, const Gram& y) {
      return x.hash != y.hash ? x.hash < y.hash : x.place < y.place;
    });
    std::size_t kept = 0;
    for (std::size_t i = 0; i < grams.size();) {
      std::size_t next = i + 1;
      while (next < grams.size() && grams[next].hash == grams[i].hash) ++next;
      if (next == i + 1) grams[kept++] = grams[i];
      i = next;
    }
    grams.resize(kept);
    return grams;
  }

  // Pairs n-grams that are unique on both sides, takes the longest chain of pairs that ascends on
  // both, and searches between them. A hash never decides: the ids do.
  void Anchored(std::int32_t a0, std::int32_t a1, std::int32_t b0, std::int32_t b1,
                std::size_t level) {
    const std::int32_t width = kAnchorTokens[level];
    const std::int64_t work = std::int64_t{a1 - a0} + (b1 - b0);
    if (a1 - a0 < width || b1 - b0 < width || steps_left_ < work) return;
    steps_left_ -= work;
    const std::size_t sample = 1 + static_cast<std::size_t>(work) / kMaxAnchors;
    const std::vector<Gram> in_a = UniqueGrams(A(a0, a1), width, sample);
    const std::vector<Gram> in_b = UniqueGrams(B(b0, b1), width, sample);
    std::vector<KeptRun> pairs;
    for (std::size_t i = 0, j = 0; i < in_a.size() && j < in_b.size();) {
      if (in_a[i].hash < in_b[j].hash) {
        ++i;
      } else if (in_b[j].hash < in_a[i].hash) {
        ++j;
      } else {
        pairs.push_back({a0 + in_a[i++].place, b0 + in_b[j++].place, width});
      }
    }
    std::sort(pairs.begin(), pairs.end(),
              [](const KeptRun& x, const KeptRun& y) { return x.a_begin < y.a_begin; });
    std::int32_t a = a0;
    std::int32_t b = b0;
    for (const KeptRun& anchor : LongestAscending(pairs)) {
      if (anchor.a_begin < a || anchor.b_begin < b) continue;  // inside the run before
      const Tokens ids = A(anchor.a_begin, anchor.a_end());
      if (!std::equal(ids.begin(), ids.end(), b_.begin() + anchor.b_begin)) continue;
      const auto more =
          static_cast<std::int32_t>(CommonPrefix(A(anchor.a_end(), a1), B(anchor.b_end(), b1)));
      Between(a, anchor.a_begin, b, anchor.b_begin, level + 1);
      Keep(anchor.a_begin, anchor.b_begin, width + more);
      a = anchor.a_end() + more;
      b = anchor.b_end() + more;
    }
    if (a > a0) {
      Between(a, a1, b, b1, level + 1);
    } else if (level + 1 < std::size(kAnchorTokens)) {
      Anchored(a0, a1, b0, b1, level + 1);  // the search would fail again
    }
  }

  // The longest subsequence of `pairs` (ascending in a) that ascends in b too, by patience sorting.
  static std::vector<KeptRun> LongestAscending(const std::vector<KeptRun>& pairs) {
    constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
    std::vector<std::size_t>
        tops;  // tops[l]: the pair with the smallest b that ends a chain of l+1
    std::vector<std::size_t> before(pairs.size(), kNone);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const auto at =
          std::lower_bound(tops.begin(), tops.end(), pairs[i].b_begin,
                           [&](std::size_t top, Position b) { return pairs[top].b_begin < b; });
      if (at != tops.begin()) before[i] = *(at - 1);
      if (at == tops.end()) {
        tops.push_back(i);
      } else {
        *at = i;
      }
    }
    std::vector<KeptRun> chain;
    for (std::size_t i = tops.empty() ? kNone : tops.back(); i != kNone; i = before[i]) {
      chain.push_back(pairs[i]);
    }
    std::reverse(chain.begin(), chain.end());
    return chain;
  }

  // Extends every run to the right over what it also matches. What it takes away from later runs
  // is never more than what it gains: both are ends of one ascending pairing.
  void JoinLeft() {
    std::vector<KeptRun> joined;
    for (KeptRun run : runs_) {
      if (!joined.empty()) {
        const KeptRun& last = joined.back();
        const std::int32_t cut =
            std::max({0, last.a_end() - run.a_begin, last.b_end() - run.b_begin});
        if (cut >= run.length) continue;
        run = {run.a_begin + cut, run.b_begin + cut, run.length - cut};
      }
      run.length += static_cast<std::int32_t>(
          CommonPrefix(A(run.a_end(), Size(a_)), B(run.b_end(), Size(b_))));
      if (!joined.empty() && joined.back().a_end() == run.a_begin &&
          joined.back().b_end() == run.b_begin) {
        joined.back().length += run.length;
      } else {
        joined.push_back(run);
      }
    }
    runs_ = std::move(joined);
  }

  // Drops a run that its right neighbour can take over whole. Never the first rows of both sides:
  // they are unchanged, so exact.
  void JoinRight() {
    std::vector<KeptRun> joined;  // descending
    for (std::size_t i = runs_.size(); i-- > 0;) {
      const KeptRun& run = runs_[i];
      const bool leading = run.a_begin == 0 && run.b_begin == 0;
      if (!joined.empty() && !leading) {
        KeptRun& right = joined.back();
        const std::int32_t a_floor = i > 0 ? runs_[i - 1].a_end() : 0;
        const std::int32_t b_floor = i > 0 ? runs_[i - 1].b_end() : 0;
        const auto more = static_cast<std::int32_t>(
            CommonSuffix(A(a_floor, right.a_begin), B(b_floor, right.b_begin)));
        if (more >= run.length) {
          right = {right.a_begin - more, right.b_begin - more, right.length + more};
          continue;
        }
      }
      joined.push_back(run);
    }
    std::reverse(joined.begin(), joined.end());
    runs_ = std::move(joined);
  }

  Tokens a_;
  Tokens b_;
  std::int32_t max_edits_;
  std::int64_t steps_left_;
  std::vector<KeptRun> runs_;
  std::vector<std::int32_t> forward_;
  std::vector<std::int32_t> backward_;
};

}  // namespace

// memcmp per chunk, since a loop that stops at the first difference is not vectorised.
std::size_t CommonPrefix(Tokens a, Tokens b) {
  const std::size_t most = std::min(a.size(), b.size());
  std::size_t i = 0;
  while (i + kChunk <= most && std::memcmp(&a[i], &b[i], kChunk * sizeof(TokenId)) == 0) {
    i += kChunk;
  }
  while (i < most && a[i] == b[i]) ++i;
  return i;
}

std::size_t CommonSuffix(Tokens a, Tokens b) {
  const std::size_t most = std::min(a.size(), b.size());
  std::size_t i = 0;
  while (i + kChunk <= most && std::memcmp(&a[a.size() - i - kChunk], &b[b.size() - i - kChunk],
                                           kChunk * sizeof(TokenId)) == 0) {
    i += kChunk;
  }
  while (i < most && a[a.size() - 1 - i] == b[b.size() - 1 - i]) ++i;
  return i;
}

Result<std::vector<KeptRun>> DiffTokens(Tokens a, Tokens b, const DiffOptions& options) {
  for (const Tokens side : {a, b}) {
    if (side.size() > kMaxDiffTokens) {
      return Fail(InvalidArgument("tokens has " + std::to_string(side.size()) +
                                  " entries; the limit is " + std::to_string(kMaxDiffTokens)));
    }
  }
  return Differ(a, b, options).Run();
}

}  // namespace kvcommons
