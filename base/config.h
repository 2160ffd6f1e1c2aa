// Configuration as one table: a program lists its settings once, and reading, checking, --help and
// --print-config all come from that list.
//
// A value comes from, in this order: a flag (--data-dir X or --data-dir=X), the environment
// (<PREFIX>DATA_DIR), the TOML file that --config names, the default. What is not set has its
// default; what is set wrongly is refused with name, value and what is allowed; an unknown flag or
// key of the file is refused with the nearest known name. Environment names that are near a known
// one are warned of only, since programs share the prefix. Thread safety: immutable after Load().

#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace kvcommons {

class Config;

struct Setting {
  // kDecimal: a number with up to three decimals; min, max and Number() count thousandths.
  enum class Kind : std::uint8_t { kText, kBytes, kInteger, kChoice, kDecimal };

  std::string name;      // lower_case; the flag has '-' for '_'
  std::string sentence;  // what it is for
  Kind kind = Kind::kText;
  std::string default_text = "";
  // For a default that depends on the machine or on settings above this one; replaces default_text.
  std::function<std::string(const Config&)> computed_default = nullptr;
  std::string default_sentence = "";  // says where a computed default comes from
  // Of the number; of the length in bytes for kText.
  std::uint64_t min = 0;
  std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
  std::vector<std::string> choices = {};  // kChoice
  bool off_allowed = false;               // "off" is accepted too, and reads as 0 or as ""
  bool restart_needed = true;
};

// "64 MiB to 1 TiB, or off": used by errors and by the help.
std::string AllowedValues(const Setting& setting);

class Config {
 public:
  static constexpr std::size_t kMaxFileBytes = 1 << 20;

  enum class Source : std::uint8_t { kDefault, kFile, kEnvironment, kFlag };
  enum class Action : std::uint8_t { kRun, kHelp, kPrintConfig, kVersion };

  struct Input {
    std::vector<std::string> arguments;    // without the program's name
    std::vector<std::string> environment;  // "NAME=value"
    std::string environment_prefix;        // "KVCOMMONS_"
  };

  static Result<Config> Load(std::span<const Setting> table, const Input& input);

  Action action() const { return action_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  // REQUIRES: `name` is in the table and of that kind.
  const std::string& Text(std::string_view name) const;  // kText, kChoice
  std::uint64_t Number(std::string_view name) const;     // kBytes, kInteger, kDecimal
  Source source(std::string_view name) const;

  // The effective table as a TOML file, each value with its source.
  std::string Print() const;

 private:
  struct Value {
    std::string text;  // as it was written
    std::uint64_t number = 0;
    Source source = Source::kDefault;
  };

  std::size_t Find(std::string_view name) const;

  std::vector<Setting> table_;
  std::vector<Value> values_;  // of table_, in its order
  std::vector<std::string> warnings_;
  Action action_ = Action::kRun;
};

std::string_view SourceName(Config::Source source);

// The text of --help.
std::string HelpText(std::string_view program, std::string_view purpose,
                     std::span<const Setting> table, std::string_view environment_prefix);

}  // namespace kvcommons
