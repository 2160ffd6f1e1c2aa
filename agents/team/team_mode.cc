#include "agents/team/team_mode.h"

#include <charconv>

namespace kvcommons {
namespace {

constexpr std::string_view kKnown =
    "dense, exact, rotate, mean+seg, trust+seg, C+seg, C, and all but the first two with +b and a "
    "number of rows";

}  // namespace

Result<TeamMode> ParseTeamMode(std::string_view name) {
  TeamMode mode;
  mode.name = name;
  std::string_view method = name;
  const std::size_t plus = name.rfind("+b");
  const auto unknown = [&] {
    return Fail(
        InvalidArgument("mode is '" + std::string(name) + "'; known are " + std::string(kKnown)));
  };
  if (plus != std::string_view::npos) {
    const std::string_view digits = name.substr(plus + 2);
    const auto read =
        std::from_chars(digits.data(), digits.data() + digits.size(), mode.first_rows);
    if (read.ec != std::errc() || read.ptr != digits.data() + digits.size()) return unknown();
    if (mode.first_rows < 1 || mode.first_rows > TeamMode::kMaxFirstRows) {
      return Fail(InvalidArgument("rows behind +b are " + std::string(digits) +
                                  "; the limit is 1 to " +
                                  std::to_string(TeamMode::kMaxFirstRows)));
    }
    method = name.substr(0, plus);
  }
  mode.reuses = true;
  if (method == "rotate") {
    mode.slots = SlotCorrection::kNone;
  } else if (method == "mean+seg") {
    mode.slots = SlotCorrection::kMean;
  } else if (method == "trust+seg") {
    mode.slots = SlotCorrection::kTrustedMean;
  } else if (method == "C+seg") {
    mode.slots = SlotCorrection::kAnchors;
  } else if (method == "C") {
    mode.slots = SlotCorrection::kAnchors;
    mode.computes_text = false;
  } else if (plus == std::string_view::npos && (method == "dense" || method == "exact")) {
    mode.reuses = false;
    mode.exact_prefix = method == "exact";
  } else {
    return unknown();
  }
  return mode;
}

}  // namespace kvcommons
