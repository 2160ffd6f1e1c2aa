// The requests of a team, one after the other: JSON lines with the fields that prompts name.
//
// Thread safety: none.

#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/status.h"

namespace kvcommons {

struct TeamCaseOptions {
  std::string cases_path;  // JSON lines {"id"?, field: text …}; "-": standard input. Fields that
                           // are no text, or that no prompt names, are passed over
  std::uint32_t first_case = 0;
  std::uint32_t cases_max = 1U << 20;  // measured ones
  std::uint32_t warm_cases = 4;        // before them, to fill the memory
  std::string samples_path;            // every request as a JSON line, added
};

struct MeasuredCases {
  std::vector<nlohmann::json> lines;  // of measured ones
  std::size_t refused = 0;
};

using TeamCaseRunner = std::function<Result<nlohmann::json>(
    const std::string& id, const std::map<std::string, std::string>& fields, bool measured)>;

// Runs the cases; those that `run` refuses with kInvalidArgument are left out and said on the error
// stream. kNotFound: none was left to measure. `measured` has what was done before an error.
Status RunTeamCases(const TeamCaseOptions& options, const TeamCaseRunner& run,
                    MeasuredCases* measured);

}  // namespace kvcommons
