#include "agents/rag/fidelity_samples.h"

#include <fstream>

#include "agents/engine/json_lines.h"
#include "agents/rag/fidelity_bench.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

// One that is no case of ours throws, here or when its rows are read.
bool IsOfThisRun(const Json& line, const FidelitySamples::Wanted& wanted) {
  return line.is_object() && line.value("revision", 1) == kFidelityRevision &&
         line.value("seed", std::uint64_t{1}) == wanted.seed &&
         line.value("model", wanted.model) == wanted.model &&
         line.value("method", wanted.method) == wanted.method;
}

}  // namespace

FidelityKey KeyOf(const Json& row) {
  return {row.at("variant"), row.at("rule"), row.at("completion"), row.at("budget")};
}

FidelitySamples FidelitySamples::Read(const std::string& path, const Wanted& wanted) {
  FidelitySamples samples(path, wanted);
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) {
    if (text.empty()) continue;
    Json line = Json::parse(text, nullptr, false);
    try {
      if (IsOfThisRun(line, wanted)) {
        samples.Learn(std::move(line));
        continue;
      }
    } catch (const Json::exception&) {  // a field is missing or of another type
    }
    ++samples.left_out_;
  }
  return samples;
}

void FidelitySamples::Learn(Json line) {
  std::set<FidelityKey> keys;
  const bool timed = line.value("timed", false);
  for (const Json& row : line.at("rows")) {
    FidelityKey key = KeyOf(row);
    if ((timed || !wanted_.timed) && (row.contains("f1") || !wanted_.answers)) {
      keys.insert(std::move(key));
    }
  }
  for (const Json& row : line.value("refused", Json::array())) keys.insert(KeyOf(row));
  known_[{line.at("setting"), line.at("id")}].merge(keys);
  lines_.push_back(std::move(line));
}

const std::set<FidelityKey>& FidelitySamples::Known(const std::string& setting,
                                                    const std::string& id) const {
  static const std::set<FidelityKey> nothing;
  const auto found = known_.find({setting, id});
  return found == known_.end() ? nothing : found->second;
}

Status FidelitySamples::Add(Json line) {
  if (!path_.empty()) KVC_RETURN_IF_ERROR(AppendJsonLine(path_, line));
  Learn(std::move(line));
  return Status();
}

}  // namespace kvcommons
