// Whether what is known of earlier contents of a slot may correct a new one (KVCOMM's gate).
//
// A content is shared where one anchor is clearly nearer than the others: the entropy of
// softmax(−distance) over the anchors that are at least as long is at most γ of its maximum. The
// trap: that is a relative test. A content far from every anchor passes where one of them is a few
// units less far, and distances grow with the length, so γ belongs to a model and a length.
//
// Pure; any thread. Refuses nothing: a distance that is no number makes the content new.
// Source: specs: KVCOMM §5, §10 (D2, D8, D13, D14); profile R is the published code's behaviour.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace kvcommons {

enum class AnchorProfile : std::uint8_t {
  kCorrected,  // C of §11: ours
  kPublished,  // R: to reproduce what was published
};

struct ShareGateOptions {
  double gamma = 0.3;    // of the largest entropy; 1: every content that is long enough passes
  double nucleus = 0.9;  // the share of the weight whose anchors are counted as used
  AnchorProfile profile = AnchorProfile::kCorrected;
};

inline constexpr std::size_t kMinAnchors = 2;

enum class ShareReason : std::uint8_t {
  kNear,        // shared: one is clearly nearer
  kEmpty,       // shared: a content without tokens has no rows to be wrong
  kFewAnchors,  // new: the slot has fewer than kMinAnchors
  kFewLong,     // new: fewer than kMinAnchors are as long as the content
  kSpread,      // new: none is clearly nearer
  kNotANumber,  // new: a distance is not finite
};
std::string_view ShareReasonName(ShareReason reason);

// What is decided before any row of the content is computed. Nothing: it takes distances.
std::optional<ShareReason> DecideByCounts(std::size_t anchors, std::size_t long_anchors,
                                          std::uint32_t tokens);

struct ShareDecision {
  ShareReason reason = ShareReason::kNotANumber;
  double entropy_bits = 0;
  double limit_bits = 0;
  std::vector<double> weights;       // of the anchors, as the distances
  std::vector<std::size_t> counted;  // anchors whose use counts, nearest first; none where new
};

// `distances` to the anchors that are long enough, of values over all layers, heads and tokens,
// each anchor cut to its first tokens. REQUIRES: kMinAnchors or more.
ShareDecision DecideByDistances(std::span<const double> distances, const ShareGateOptions& options);

// Indices of `weights`, largest first (ties: the lower), whose use counts. kCorrected: as many as
// reach the nucleus. kPublished: those before that, and all where the first alone reaches it.
std::vector<std::size_t> CountedAnchors(std::span<const double> weights,
                                        const ShareGateOptions& options);

// softmax(−distances), with the smallest taken off first.
std::vector<double> WeightsOf(std::span<const double> distances);

}  // namespace kvcommons
