// How an agent's prompt is brought into the cache, by name.
//
//   dense      everything is computed
//   exact      the longest beginning that is held already, then computed
//   rotate     contents turned to their place and nothing else; text computed
//   mean+seg   contents with the mean offset of earlier ones; text computed
//   trust+seg  the same, each row's mean as far as it is more than chance
//   C+seg      contents with anchors' offsets by nearness; text computed
//   turn, mean, trust, C   the same four with the text in between turned and corrected likewise,
//              not computed
//   R          C's blend as published: keys compared and corrected where they stand
// and, but for the first two, "+b4": the first 4 rows of every content are computed too; and where
// the text is computed "+d10": 10 % of contents' rows, those that the selection rule `design`
// takes: by the last text's attention where looking at it pays, else first rows. `compose` is
// rotate+d17. Source: specs: KVCOMM §11. Thread safety: a value.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace kvcommons {

// kPublishedAnchors: profile R, for reproduction (specs: KVCOMM §10, D3 and D4).
enum class SlotCorrection : std::uint8_t {
  kNone,
  kMean,
  kTrustedMean,
  kAnchors,
  kPublishedAnchors
};

struct TeamMode {
  static constexpr std::uint32_t kMaxFirstRows = 1024;
  static constexpr std::uint32_t kMaxDesignPercent = 100;

  std::string name;
  bool reuses = false;  // contents; false: dense or exact
  bool exact_prefix = true;
  SlotCorrection slots = SlotCorrection::kNone;
  bool computes_text = true;  // false: corrected as the slots are
  std::uint32_t first_rows = 0;
  std::uint32_t design_percent = 0;  // of contents' rows, charged
};

// kInvalidArgument lists the known ones.
Result<TeamMode> ParseTeamMode(std::string_view name);

}  // namespace kvcommons
