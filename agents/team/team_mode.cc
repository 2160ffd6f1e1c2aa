#include "agents/team/team_mode.h"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace kvcommons {
namespace {

constexpr std::string_view kKnown =
    "dense, exact, rotate, mean+seg, trust+seg, C+seg, turn, mean, trust, C, R, and all but the "
    "first "
    "two with +b and a number of rows";

struct Method {
  std::string_view name;
  SlotCorrection slots;
  bool computes_text;
};
constexpr Method kMethods[] = {
    {"rotate", SlotCorrection::kNone, true},
    {"mean+seg", SlotCorrection::kMean, true},
    {"trust+seg", SlotCorrection::kTrustedMean, true},
    {"C+seg", SlotCorrection::kAnchors, true},
    {"turn", SlotCorrection::kNone, false},
    {"mean", SlotCorrection::kMean, false},
    {"trust", SlotCorrection::kTrustedMean, false},
    {"C", SlotCorrection::kAnchors, false},
    {"R", SlotCorrection::kPublishedAnchors, false},
};

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
  const auto* const found =
      std::find_if(std::begin(kMethods), std::end(kMethods),
                   [method](const Method& known) { return known.name == method; });
  if (found != std::end(kMethods)) {
    mode.reuses = true;
    mode.slots = found->slots;
    mode.computes_text = found->computes_text;
  } else if (plus == std::string_view::npos && (method == "dense" || method == "exact")) {
    mode.exact_prefix = method == "exact";
  } else {
    return unknown();
  }
  return mode;
}

}  // namespace kvcommons
