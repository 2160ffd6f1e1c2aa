#include "client/command/table.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

#include "base/assert.h"

namespace kvcommons {
namespace {

// Characters, not bytes: the continuation bytes of UTF-8 take no column.
std::size_t WidthOf(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace

void Table::AddRow(std::vector<std::string> cells) {
  KVC_ASSERT(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

void Table::Print(std::ostream& out) const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  const bool has_header =
      std::any_of(titles.begin(), titles.end(), [](const auto& title) { return !title.empty(); });
  std::vector<std::size_t> widths;
  for (const std::string& title : titles) widths.push_back(WidthOf(title));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], WidthOf(row[i]));
  }
  const auto print_row = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string padding(widths[i] - WidthOf(cells[i]), ' ');
      if (i > 0) line += "  ";
      line += columns_[i].align == Align::kRight ? padding + cells[i] : cells[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  };
  if (has_header) print_row(titles);
  for (const auto& row : rows_) print_row(row);
}

std::string FormatDuration(std::int64_t us) {
  struct Unit {
    const char* name;
    std::int64_t seconds;
  };
  constexpr std::array<Unit, 4> kUnits{{{"d", 86'400}, {"h", 3'600}, {"min", 60}, {"s", 1}}};
  std::int64_t seconds = std::max<std::int64_t>(us, 0) / 1'000'000;
  for (std::size_t i = 0; i < kUnits.size(); ++i) {
    if (seconds < kUnits[i].seconds && i + 1 < kUnits.size()) continue;
    std::string text = std::to_string(seconds / kUnits[i].seconds) + " " + kUnits[i].name;
    seconds %= kUnits[i].seconds;
    if (i + 1 < kUnits.size() && seconds >= kUnits[i + 1].seconds) {
      text += " " + std::to_string(seconds / kUnits[i + 1].seconds) + " " + kUnits[i + 1].name;
    }
    return text;
  }
  return "0 s";
}

std::string FormatTime(std::int64_t us_since_1970) {
  if (us_since_1970 == 0) return "never";
  const std::time_t seconds = us_since_1970 / 1'000'000;
  std::tm parts = {};
  if (gmtime_r(&seconds, &parts) == nullptr) return std::to_string(us_since_1970) + " us";
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return text.data();
}

std::string FormatNumber(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

std::string Printable(const std::string& text) {
  std::string printable = text;
  for (char& c : printable) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return printable;
}

}  // namespace kvcommons
