#include "base/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "base/assert.h"
#include "base/bytes.h"

namespace kvcommons {
namespace {

using Named = std::map<std::string, std::string, std::less<>>;

std::string FlagOf(std::string_view name) {
  std::string flag(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string EnvironmentOf(std::string_view name, std::string_view prefix) {
  std::string variable(prefix);
  for (const char c : name) {
    variable.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  }
  return variable;
}

// Edits between two names: insert, remove, replace.
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// The nearest known name, if it is near enough to be what was meant.
std::string Nearest(std::string_view name, std::span<const std::string> known) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  if (name.size() > 64) return best;
  for (const std::string& candidate : known) {
    const std::size_t distance = Distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

Status UnknownName(const std::string& what, const std::string& name, std::string_view nearest) {
  std::string message = what + " '" + name.substr(0, 64) + "' is unknown";
  if (!nearest.empty()) message += "; did you mean '" + std::string(nearest) + "'?";
  return InvalidArgument(message);
}

std::optional<std::uint64_t> ParseInteger(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// "0.25" in thousandths.
std::optional<std::uint64_t> ParseDecimal(std::string_view text) {
  const std::size_t point = std::min(text.find('.'), text.size());
  std::string decimals(text.substr(std::min(point + 1, text.size())));
  if (decimals.size() > 3 || (point + 1 == text.size())) return std::nullopt;
  decimals.resize(3, '0');
  const auto whole = ParseInteger(text.substr(0, point));
  const auto part = ParseInteger(decimals);
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max() / 1000 - 1;
  if (!whole || !part || *whole > kMost) return std::nullopt;
  return *whole * 1000 + *part;
}

std::string DecimalText(std::uint64_t thousandths) {
  std::string text = std::to_string(thousandths / 1000);
  if (thousandths % 1000 == 0) return text;
  text += "." + std::to_string(1000 + thousandths % 1000).substr(1);
  return text.substr(0, text.find_last_not_of('0') + 1);
}

std::string NumberText(const Setting& setting, std::uint64_t number) {
  if (setting.kind == Setting::Kind::kDecimal) return DecimalText(number);
  return setting.kind == Setting::Kind::kBytes ? FormatBytes(number) : std::to_string(number);
}

// The checked number of `text`; for kText and kChoice only the check.
Result<std::uint64_t> Check(const Setting& setting, const std::string& text,
                            std::string_view where) {
  const auto refused = [&] {
    return Fail(InvalidArgument(setting.name + " is '" + text.substr(0, 256) + "' (" +
                                std::string(where) + "); allowed: " + AllowedValues(setting)));
  };
  if (setting.off_allowed && text == "off") return 0;
  std::uint64_t number = 0;
  switch (setting.kind) {
    case Setting::Kind::kText:
      number = text.size();
      if (text.find('\0') != std::string::npos) return refused();
      break;
    case Setting::Kind::kChoice:
      if (std::find(setting.choices.begin(), setting.choices.end(), text) ==
          setting.choices.end()) {
        return refused();
      }
      return 0;
    case Setting::Kind::kBytes: {
      const auto bytes = ParseBytes(text);
      if (!bytes) return refused();
      number = *bytes;
      break;
    }
    case Setting::Kind::kInteger: {
      const auto integer = ParseInteger(text);
      if (!integer) return refused();
      number = *integer;
      break;
    }
    case Setting::Kind::kDecimal: {
      const auto decimal = ParseDecimal(text);
      if (!decimal) return refused();
      number = *decimal;
      break;
    }
  }
  if (number < setting.min || number > setting.max) return refused();
  return number;
}

Result<Named> ReadFile(const std::string& path, std::span<const std::string> known) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return Fail(InvalidArgument("config is '" + path + "': " + error.message()));
  if (size > Config::kMaxFileBytes) {
    return Fail(InvalidArgument("config is '" + path + "' of " + std::to_string(size) +
                                " bytes; the limit is " + std::to_string(Config::kMaxFileBytes)));
  }
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return Fail(InvalidArgument("config is '" + path + "': cannot be read"));
  Named values;
  try {
    const toml::table table = toml::parse(text.str(), path);
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        return Fail(UnknownName(path + ": key", name, Nearest(name, known)));
      }
      if (const auto* string = node.as_string()) {
        values[name] = string->get();
      } else if (const auto* integer = node.as_integer()) {
        values[name] = std::to_string(integer->get());
      } else if (const auto* decimal = node.as_floating_point()) {
        std::array<char, 32> digits;
        const auto end = std::to_chars(digits.begin(), digits.end(), decimal->get()).ptr;
        values[name] = std::string(digits.begin(), end);
      } else {
        return Fail(InvalidArgument(path + ": " + name + " must be a string or a number"));
      }
    }
  } catch (const toml::parse_error& failure) {
    std::ostringstream message;
    message << "config is '" << path << "': line " << failure.source().begin.line << ": "
            << failure.description();
    return Fail(InvalidArgument(message.str()));
  }
  return values;
}

struct Flags {
  Named values;
  std::string config_file;
  Config::Action action = Config::Action::kRun;
};

Result<Flags> ReadFlags(std::span<const std::string> arguments,
                        std::span<const std::string> known) {
  Flags flags;
  std::vector<std::string> flag_names = {"config", "help", "print-config", "version"};
  for (const std::string& name : known) flag_names.push_back(FlagOf(name));
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "-h") {
      flags.action = Config::Action::kHelp;
      continue;
    }
    if (argument.size() < 3 || argument.substr(0, 2) != "--") {
      return Fail(
          InvalidArgument("argument '" + argument.substr(0, 64) + "' is not a flag; see --help"));
    }
    const std::size_t equals = argument.find('=');
    const std::string flag =
        FlagOf(argument.substr(2, equals == std::string::npos ? equals : equals - 2));
    if (std::find(flag_names.begin(), flag_names.end(), flag) == flag_names.end()) {
      const std::string nearest = Nearest(flag, flag_names);
      return Fail(UnknownName("flag", "--" + flag, nearest.empty() ? "" : "--" + nearest));
    }
    if (flag == "help" || flag == "print-config" || flag == "version") {
      if (equals != std::string::npos) {
        return Fail(InvalidArgument("flag '--" + flag + "' takes no value"));
      }
      flags.action = flag == "help"      ? Config::Action::kHelp
                     : flag == "version" ? Config::Action::kVersion
                                         : Config::Action::kPrintConfig;
      continue;
    }
    if (equals == std::string::npos && i + 1 == arguments.size()) {
      return Fail(InvalidArgument("flag '--" + flag + "' needs a value"));
    }
    std::string value = equals == std::string::npos ? arguments[++i] : argument.substr(equals + 1);
    if (flag == "config") {
      flags.config_file = std::move(value);
      if (flags.config_file.empty()) return Fail(InvalidArgument("flag '--config' needs a value"));
      continue;
    }
    std::string name = flag;
    std::replace(name.begin(), name.end(), '-', '_');
    flags.values[name] = std::move(value);
  }
  return flags;
}

}  // namespace

std::string AllowedValues(const Setting& setting) {
  std::string text;
  switch (setting.kind) {
    case Setting::Kind::kText:
      text = "text of " + std::to_string(setting.min) + " to " + std::to_string(setting.max) +
             " bytes";
      break;
    case Setting::Kind::kChoice:
      for (const std::string& choice : setting.choices) {
        if (!text.empty()) text += ", ";
        text += choice;
      }
      break;
    case Setting::Kind::kBytes:
    case Setting::Kind::kInteger:
    case Setting::Kind::kDecimal:
      text = NumberText(setting, setting.min) + " to " + NumberText(setting, setting.max);
      break;
  }
  return setting.off_allowed ? text + ", or off" : text;
}

std::string_view SourceName(Config::Source source) {
  switch (source) {
    case Config::Source::kDefault:
      return "default";
    case Config::Source::kFile:
      return "file";
    case Config::Source::kEnvironment:
      return "environment";
    case Config::Source::kFlag:
      return "flag";
  }
  return "unknown";
}

Result<Config> Config::Load(std::span<const Setting> table, const Input& input) {
  Config config;
  config.table_.assign(table.begin(), table.end());
  std::vector<std::string> known;
  for (const Setting& setting : table) known.push_back(setting.name);

  auto flags = ReadFlags(input.arguments, known);
  if (!flags) return Fail(flags.error());
  config.action_ = flags->action;
  if (config.action_ == Action::kHelp || config.action_ == Action::kVersion) return config;

  Named environment;
  std::vector<std::string> variables;
  for (const std::string& name : known) {
    variables.push_back(EnvironmentOf(name, input.environment_prefix));
  }
  for (const std::string& entry : input.environment) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos || !entry.starts_with(input.environment_prefix)) continue;
    const std::string variable = entry.substr(0, equals);
    const auto at = std::find(variables.begin(), variables.end(), variable);
    if (at != variables.end()) {
      environment[known[static_cast<std::size_t>(at - variables.begin())]] =
          entry.substr(equals + 1);
      continue;
    }
    for (const std::string& candidate : variables) {
      if (Distance(variable, candidate) > 2) continue;
      config.warnings_.push_back("environment: " + variable + " is unknown; did you mean " +
                                 candidate + "?");
      break;
    }
  }

  Named file;
  if (!flags->config_file.empty()) {
    auto read = ReadFile(flags->config_file, known);
    if (!read) return Fail(read.error());
    file = std::move(*read);
  }

  for (const Setting& setting : config.table_) {
    Value value;
    std::string where;
    if (const auto flag = flags->values.find(setting.name); flag != flags->values.end()) {
      value.source = Source::kFlag;
      value.text = flag->second;
      where = "flag --" + FlagOf(setting.name);
    } else if (const auto set = environment.find(setting.name); set != environment.end()) {
      value.source = Source::kEnvironment;
      value.text = set->second;
      where = "environment " + EnvironmentOf(setting.name, input.environment_prefix);
    } else if (const auto key = file.find(setting.name); key != file.end()) {
      value.source = Source::kFile;
      value.text = key->second;
      where = "file " + flags->config_file;
    } else {
      value.text =
          setting.computed_default ? setting.computed_default(config) : setting.default_text;
      where = "default";
    }
    auto number = Check(setting, value.text, where);
    if (!number) return Fail(number.error());
    value.number = *number;
    if (setting.off_allowed && value.text == "off") value.text.clear();
    config.values_.push_back(std::move(value));
  }
  return config;
}

std::size_t Config::Find(std::string_view name) const {
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (table_[i].name == name) return i;
  }
  KVC_ASSERT(false && "a setting is read that the table does not have");
  return 0;
}

const std::string& Config::Text(std::string_view name) const {
  const std::size_t i = Find(name);
  KVC_ASSERT(table_[i].kind == Setting::Kind::kText || table_[i].kind == Setting::Kind::kChoice);
  return values_[i].text;
}

std::uint64_t Config::Number(std::string_view name) const {
  const std::size_t i = Find(name);
  KVC_ASSERT(table_[i].kind == Setting::Kind::kBytes || table_[i].kind == Setting::Kind::kInteger ||
             table_[i].kind == Setting::Kind::kDecimal);
  return values_[i].number;
}

Config::Source Config::source(std::string_view name) const { return values_[Find(name)].source; }

std::string Config::Print() const {
  std::ostringstream text;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const Setting& setting = table_[i];
    const Value& value = values_[i];
    text << "# " << setting.sentence << "\n# Allowed: " << AllowedValues(setting) << '.';
    if (setting.restart_needed) text << " A change needs a restart.";
    text << '\n';
    toml::table line;
    const bool off = setting.off_allowed && value.text.empty();
    switch (setting.kind) {
      case Setting::Kind::kText:
      case Setting::Kind::kChoice:
        line.insert(setting.name, off ? std::string("off") : value.text);
        break;
      case Setting::Kind::kDecimal:
        line.insert(setting.name, static_cast<double>(value.number) / 1e3);
        break;
      case Setting::Kind::kBytes:
      case Setting::Kind::kInteger:
        if (off) {
          line.insert(setting.name, "off");
        } else {
          line.insert(setting.name, static_cast<std::int64_t>(value.number));
        }
        break;
    }
    text << line << "  # " << SourceName(value.source);
    if (setting.kind == Setting::Kind::kBytes && !off) text << ", " << FormatBytes(value.number);
    text << "\n\n";
  }
  return text.str();
}

std::string HelpText(std::string_view program, std::string_view purpose,
                     std::span<const Setting> table, std::string_view environment_prefix) {
  std::ostringstream text;
  text << program << ": " << purpose << "\n\nUsage: " << program
       << " [--NAME VALUE]...\n\nA value comes from its flag, else the environment, else the "
          "file, else the default.\n\n"
       << "  --config FILE\n      A TOML file of the names below, with '_' for '-'.\n"
       << "  --print-config\n      Prints every value and where it comes from, and ends.\n"
       << "  --version\n      Prints the version, and ends.\n"
       << "  --help, -h\n      Prints this, and ends.\n\n";
  for (const Setting& setting : table) {
    text << "  --" << FlagOf(setting.name) << "  ("
         << EnvironmentOf(setting.name, environment_prefix) << ")\n      " << setting.sentence
         << "\n      Allowed: " << AllowedValues(setting) << ". Default: "
         << (setting.computed_default ? setting.default_sentence : setting.default_text) << ".\n";
  }
  return text.str();
}

}  // namespace kvcommons
