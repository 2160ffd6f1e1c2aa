// Measured cases of a campaign, a JSON line each (fidelity_bench.h), in a file that several runs
// add to: what was measured is not measured again, and one that was killed is gone on with.
//
// A case may have several lines, each with rows the others lack. Lines that say nothing about this
// run are left out and counted: of another revision of the methods, another model, way of measuring
// or seed, cut off, or no case at all. Thread safety: none; processes may add to one file at once.

#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/status.h"

namespace kvcommons {

// Which row of a case: (variant, rule, completion, budget).
using FidelityKey = std::tuple<std::string, std::string, bool, double>;
FidelityKey KeyOf(const nlohmann::json& row);

class FidelitySamples {
 public:
  // What a row must have to be known.
  struct Wanted {
    std::string model = {};   // its fingerprint; lines that name none are of any
    std::string method = {};  // how rows are made and compared; likewise
    std::uint64_t seed = 1;   // of the documents' order; lines that name none have 1
    bool answers = false;     // f1
    bool timed = false;       // alone on the machine
  };

  // An empty path, or a file that is not there: nothing is known.
  static FidelitySamples Read(const std::string& path, const Wanted& wanted);

  const std::vector<nlohmann::json>& lines() const { return lines_; }
  std::size_t left_out() const { return left_out_; }

  // Rows of a case that are measured, and those that were refused.
  const std::set<FidelityKey>& Known(const std::string& setting, const std::string& id) const;

  // To the file, if there is one, in one write. kUnavailable: it cannot be written.
  Status Add(nlohmann::json line);

 private:
  FidelitySamples(std::string path, Wanted wanted)
      : path_(std::move(path)), wanted_(std::move(wanted)) {}
  void Learn(nlohmann::json line);

  std::string path_;
  Wanted wanted_;
  std::vector<nlohmann::json> lines_;
  std::map<std::pair<std::string, std::string>, std::set<FidelityKey>> known_;
  std::size_t left_out_ = 0;
};

}  // namespace kvcommons
