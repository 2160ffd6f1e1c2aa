#include "base/bytes.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

namespace kvcommons {
namespace {

struct Unit {
  std::string_view letter;
  std::uint64_t bytes;
};
constexpr std::array<Unit, 5> kUnits = {
    {{"", 1}, {"k", kKiB}, {"m", kMiB}, {"g", kGiB}, {"t", 1024 * kGiB}}};

Status Refused(std::string_view text) {
  return InvalidArgument("size is '" + std::string(text) +
                         "'; write a number and one of B, KiB, MiB, GiB, TiB");
}

}  // namespace

Result<std::uint64_t> ParseBytes(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !(number >= 0)) return Fail(Refused(text));
  std::string suffix;
  for (const char* c = end; c != text.data() + text.size(); ++c) {
    if (*c != ' ')
      suffix.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(*c))));
  }
  if (!suffix.empty() && suffix.back() == 'b') suffix.pop_back();
  if (suffix.size() == 2 && suffix.back() == 'i') suffix.pop_back();
  for (const Unit& unit : kUnits) {
    if (suffix != unit.letter) continue;
    const double bytes = number * static_cast<double>(unit.bytes);
    if (bytes >= static_cast<double>(std::numeric_limits<std::uint64_t>::max())) break;
    return static_cast<std::uint64_t>(std::llround(bytes));
  }
  return Fail(Refused(text));
}

std::string FormatBytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  const bool whole = std::abs(value - std::round(value)) < 0.05;
  std::snprintf(text, sizeof text, whole ? "%.0f %s" : "%.1f %s", value, kNames[unit]);
  return text;
}

}  // namespace kvcommons
