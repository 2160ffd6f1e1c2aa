// The rules, each made by a function in a file of its own. Internal to align/select; everybody else
// goes by name (rule.h).

#pragma once

#include <memory>

#include "align/select/rule.h"

namespace kvcommons {

std::unique_ptr<SelectRule> MakeNoneRule();
std::unique_ptr<SelectRule> MakeAllRule();
std::unique_ptr<SelectRule> MakeRandomRule();
std::unique_ptr<SelectRule> MakeBoundaryRule();
std::unique_ptr<SelectRule> MakeValueDeviationRule();
std::unique_ptr<SelectRule> MakeKeyDeviationRule();
std::unique_ptr<SelectRule> MakeGradualDeviationRule();
std::unique_ptr<SelectRule> MakeDhdRule();
std::unique_ptr<SelectRule> MakeDocumentRule();
std::unique_ptr<SelectRule> MakeQueryRule();
std::unique_ptr<SelectRule> MakeAnchoredQueryRule();
std::unique_ptr<SelectRule> MakeRelaxedRule();
std::unique_ptr<SelectRule> MakeShiftRule();
std::unique_ptr<SelectRule> MakeDesignRule();

}  // namespace kvcommons
