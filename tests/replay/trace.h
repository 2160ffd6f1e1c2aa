// What a scheduler replay is fed: requests with the contents that their prompts are made of.
//
// Two sources: RAG-like, questions that draw their documents by a Zipf law, each tenant from a pool
// of its own; and Mooncake's production trace, whose contents are blocks of a prefix (a block is a
// hit only behind hits). Both are deterministic: the same options and seed give the same trace.
//
// Refuses options out of their limits, and trace lines that are not what the format says, by line.

#pragma once

#include <cstdint>
#include <istream>
#include <vector>

#include "base/status.h"

namespace kvcommons {

struct TraceContent {
  std::uint64_t id = 0;  // within its tenant
  std::uint32_t tokens = 0;
};

struct TraceRequest {
  std::uint32_t tenant = 0;
  std::int64_t arrival_us = 0;  // ascending
  std::vector<TraceContent> contents;
  std::uint32_t fresh_tokens = 0;  // the question: never cached
};

struct Trace {
  std::vector<TraceRequest> requests;
  bool prefix = false;  // a content is a hit only if all before it are
};

inline constexpr std::size_t kMaxTraceRequests = 1 << 20;
inline constexpr std::uint32_t kMaxTraceTenants = 1024;

struct ZipfOptions {
  std::size_t requests = 4000;              // 1 to kMaxTraceRequests
  std::uint32_t tenants = 1;                // 1 to kMaxTraceTenants
  std::uint32_t documents = 1000;           // of a tenant: documents_per_request to 2^20
  std::uint32_t documents_per_request = 5;  // 1 to 64
  std::uint32_t document_tokens = 512;      // mean; each is half to half more of it: 2 to 2^16
  std::uint32_t question_tokens = 32;       // 1 to 2^16
  double skew = 0.9;                        // of the law: popularity ∝ rank^−skew, 0 to 4
  std::uint64_t seed = 1;
};

// Arrivals are a Poisson process of one a second.
Result<Trace> ZipfTrace(const ZipfOptions& options);

// FAST25-release/traces/*.jsonl, unpacked, at most `requests` lines of it. The trace names no
// tenants: whole conversations (by their first own block) are dealt out to `tenants`.
Result<Trace> MooncakeTrace(std::istream& lines, std::size_t requests, std::uint32_t tenants);

}  // namespace kvcommons
