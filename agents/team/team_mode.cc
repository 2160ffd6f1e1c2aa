#include "agents/team/team_mode.h"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace kvcommons {
namespace {

constexpr std::string_view kKnown =
    "dense, exact, rotate, mean+seg, trust+seg, C+seg, turn, mean, trust, C, R, and all but the "
    "first two with +b and a number of rows; compose, and those that compute the text with +d and "
    "percent";

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

// The number behind "+b" or "+d" at the end of a name, which is cut off; 0: there is none.
Result<std::uint32_t> TakeNumber(std::string_view* method, std::string_view mark,
                                 std::string_view what, std::uint32_t limit) {
  const std::size_t at = method->rfind(mark);
  if (at == std::string_view::npos) return 0U;
  const std::string_view digits = method->substr(at + mark.size());
  std::uint32_t number = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  // The caller lists the known names.
  if (read.ec != std::errc() || read.ptr != digits.data() + digits.size()) return 0U;
  if (number < 1 || number > limit) {
    return Fail(InvalidArgument(std::string(what) + " behind " + std::string(mark) + " are " +
                                std::string(digits) + "; the limit is 1 to " +
                                std::to_string(limit)));
  }
  *method = method->substr(0, at);
  return number;
}

}  // namespace

Result<TeamMode> ParseTeamMode(std::string_view name) {
  TeamMode mode;
  mode.name = name;
  std::string_view method = name == "compose" ? "rotate+d17" : name;
  const auto design = TakeNumber(&method, "+d", "percent", TeamMode::kMaxDesignPercent);
  if (!design) return Fail(design.error());
  const auto first = TakeNumber(&method, "+b", "rows", TeamMode::kMaxFirstRows);
  if (!first) return Fail(first.error());
  mode.design_percent = *design;
  mode.first_rows = *first;
  const auto unknown = [&] {
    return Fail(
        InvalidArgument("mode is '" + std::string(name) + "'; known are " + std::string(kKnown)));
  };
  const auto* const found =
      std::find_if(std::begin(kMethods), std::end(kMethods),
                   [method](const Method& known) { return known.name == method; });
  const bool is_plain = *design == 0 && *first == 0;
  if (found != std::end(kMethods) && (*design == 0 || (*first == 0 && found->computes_text))) {
    mode.reuses = true;
    mode.slots = found->slots;
    mode.computes_text = found->computes_text;
  } else if (is_plain && (method == "dense" || method == "exact")) {
    mode.exact_prefix = method == "exact";
  } else {
    return unknown();
  }
  return mode;
}

}  // namespace kvcommons
