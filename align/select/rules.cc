#include "align/select/rules.h"

#include <array>
#include <string>
#include <utility>

namespace kvcommons {
namespace {

using Maker = std::unique_ptr<SelectRule> (*)();

constexpr std::array<std::pair<std::string_view, Maker>, 14> kRules = {{
    {"none", MakeNoneRule},
    {"all", MakeAllRule},
    {"random", MakeRandomRule},
    {"boundary", MakeBoundaryRule},
    {"deviation", MakeValueDeviationRule},
    {"deviation-k", MakeKeyDeviationRule},
    {"deviation-gradual", MakeGradualDeviationRule},
    {"dhd", MakeDhdRule},
    {"document", MakeDocumentRule},
    {"query", MakeQueryRule},
    {"query-anchored", MakeAnchoredQueryRule},
    {"relaxed", MakeRelaxedRule},
    {"shift", MakeShiftRule},
    {"design", MakeDesignRule},
}};

constexpr auto kNames = [] {
  std::array<std::string_view, kRules.size()> names;
  for (std::size_t i = 0; i < kRules.size(); ++i) names[i] = kRules[i].first;
  return names;
}();

}  // namespace

std::span<const std::string_view> SelectRuleNames() { return kNames; }

Result<std::unique_ptr<SelectRule>> MakeSelectRule(std::string_view name) {
  std::string known;
  for (const auto& [rule, make] : kRules) {
    if (rule == name) return make();
    known += (known.empty() ? "" : ", ") + std::string(rule);
  }
  return Fail(InvalidArgument("rule is '" + std::string(name) + "'; known are " + known));
}

}  // namespace kvcommons
