#include "tests/replay/trace.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

namespace kvcommons {
namespace {

constexpr std::uint32_t kMooncakeBlockTokens = 512;
constexpr std::size_t kMaxMooncakeBlocks = 4096;  // of a request

Status CheckRange(const char* name, std::uint64_t value, std::uint64_t low, std::uint64_t high) {
  if (value >= low && value <= high) return Status();
  return InvalidArgument(std::string(name) + " is " + std::to_string(value) + "; the limit is " +
                         std::to_string(low) + " to " + std::to_string(high));
}

Status Check(const ZipfOptions& options) {
  KVC_RETURN_IF_ERROR(CheckRange("requests", options.requests, 1, kMaxTraceRequests));
  KVC_RETURN_IF_ERROR(CheckRange("tenants", options.tenants, 1, kMaxTraceTenants));
  KVC_RETURN_IF_ERROR(CheckRange("documents per request", options.documents_per_request, 1, 64));
  KVC_RETURN_IF_ERROR(
      CheckRange("documents", options.documents, options.documents_per_request, 1 << 20));
  KVC_RETURN_IF_ERROR(CheckRange("document tokens", options.document_tokens, 2, 1 << 16));
  KVC_RETURN_IF_ERROR(CheckRange("question tokens", options.question_tokens, 1, 1 << 16));
  if (!(options.skew >= 0 && options.skew <= 4)) {
    return InvalidArgument("skew is " + std::to_string(options.skew) + "; the limit is 0 to 4");
  }
  return Status();
}

// 0 to below 1. Not a distribution of <random>: those differ between libraries.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

Result<TraceRequest> ParseMooncake(const std::string& line, std::uint32_t tenants) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  const auto is = [&](const char* key, auto check) {
    return json.is_object() && json.contains(key) && check(json[key]);
  };
  const auto number = [](const nlohmann::json& value) { return value.is_number_unsigned(); };
  if (!is("timestamp", number) || !is("input_length", number) ||
      !is("hash_ids", [&](const nlohmann::json& ids) {
        return ids.is_array() && std::all_of(ids.begin(), ids.end(), number);
      })) {
    return Fail(InvalidArgument("no object with timestamp, input_length and hash_ids as numbers"));
  }
  const auto& ids = json["hash_ids"];
  const auto tokens = json["input_length"].get<std::uint64_t>();
  KVC_FAIL_IF_ERROR(CheckRange("hash_ids", ids.size(), 1, kMaxMooncakeBlocks));
  const std::uint64_t full = (ids.size() - 1) * kMooncakeBlockTokens;
  KVC_FAIL_IF_ERROR(CheckRange("input_length", tokens, full + 1, full + kMooncakeBlockTokens));
  const auto timestamp_ms = json["timestamp"].get<std::uint64_t>();
  KVC_FAIL_IF_ERROR(CheckRange("timestamp", timestamp_ms, 0, std::uint64_t{1} << 40));
  TraceRequest request;
  request.arrival_us = static_cast<std::int64_t>(timestamp_ms) * 1000;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::uint64_t left = tokens - i * kMooncakeBlockTokens;
    request.contents.push_back(
        {ids[i].get<std::uint64_t>(),
         static_cast<std::uint32_t>(std::min<std::uint64_t>(left, kMooncakeBlockTokens))});
  }
  // Block 0 is the system prompt that all have in common.
  const std::uint64_t conversation = request.contents[ids.size() > 1 ? 1 : 0].id;
  request.tenant = static_cast<std::uint32_t>(conversation % tenants);
  return request;
}

}  // namespace

Result<Trace> ZipfTrace(const ZipfOptions& options) {
  KVC_FAIL_IF_ERROR(Check(options));
  std::mt19937_64 random(options.seed);
  std::vector<double> below;  // cumulated popularity
  double sum = 0;
  for (std::uint32_t rank = 1; rank <= options.documents; ++rank) {
    below.push_back(sum += std::pow(rank, -options.skew));
  }
  std::vector<std::uint32_t> tokens;
  for (std::uint32_t i = 0; i < options.documents; ++i) {
    tokens.push_back(options.document_tokens / 2 +
                     static_cast<std::uint32_t>(random() % (options.document_tokens + 1)));
  }
  Trace trace;
  double now_us = 0;
  while (trace.requests.size() < options.requests) {
    TraceRequest request;
    now_us += -std::log(1 - Uniform(random)) * 1e6;
    request.arrival_us = std::llround(now_us);
    request.tenant = static_cast<std::uint32_t>(random() % options.tenants);
    request.fresh_tokens = options.question_tokens;
    while (request.contents.size() < options.documents_per_request) {
      const auto at = std::upper_bound(below.begin(), below.end(), Uniform(random) * sum);
      const auto id = std::min<std::uint64_t>(static_cast<std::uint64_t>(at - below.begin()),
                                              options.documents - 1);
      if (std::any_of(request.contents.begin(), request.contents.end(),
                      [id](const TraceContent& content) { return content.id == id; })) {
        continue;
      }
      request.contents.push_back({id, tokens[id]});
    }
    trace.requests.push_back(std::move(request));
  }
  return trace;
}

Result<Trace> MooncakeTrace(std::istream& lines, std::size_t requests, std::uint32_t tenants) {
  KVC_FAIL_IF_ERROR(CheckRange("requests", requests, 1, kMaxTraceRequests));
  KVC_FAIL_IF_ERROR(CheckRange("tenants", tenants, 1, kMaxTraceTenants));
  Trace trace;
  trace.prefix = true;
  std::string line;
  while (trace.requests.size() < requests && std::getline(lines, line)) {
    Result<TraceRequest> request = ParseMooncake(line, tenants);
    const std::string at = "line " + std::to_string(trace.requests.size() + 1) + ": ";
    if (!request) return Fail(InvalidArgument(at + request.error().message()));
    if (!trace.requests.empty() && request->arrival_us < trace.requests.back().arrival_us) {
      return Fail(InvalidArgument(at + "timestamp is before the line above; they ascend"));
    }
    trace.requests.push_back(std::move(*request));
  }
  if (trace.requests.empty()) return Fail(InvalidArgument("the trace has no requests"));
  return trace;
}

}  // namespace kvcommons
