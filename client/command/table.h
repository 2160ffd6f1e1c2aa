// A table for a terminal: columns as wide as their widest cell, numbers to the right.

#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace kvcommons {

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  // A column without a title in every place prints no header line.
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void AddRow(std::vector<std::string> cells);
  void Print(std::ostream& out) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "3 d 4 h", "2 min", "12 s": the two largest units.
std::string FormatDuration(std::int64_t us);

// "2026-11-24 17:20:04", UTC. "never" for 0.
std::string FormatTime(std::int64_t us_since_1970);

// With this many digits behind the point.
std::string FormatNumber(double value, int digits);

// Control characters replaced, so that a name chosen by somebody else cannot drive the terminal.
std::string Printable(const std::string& text);

}  // namespace kvcommons
