// What KVShare's scheduler is worth, and what its ageing costs: time to first token by arrival, by
// hit rate alone, and by NextBatch (align/scheduler.h), on one trace.
//
//   scheduler_replay [--trace FILE|-] [--load L,...] [--head-start-ms H,...] [--json FILE] ...
//
// Without --trace, requests draw documents by a Zipf law; with it, a Mooncake trace is replayed
// (unpacked: `zcat conversation_trace.jsonl.gz | scheduler_replay --trace -`). Figures are of a
// cost model, see replay.h; the same arguments give the same figures, whatever the machine does
// beside (with another C library, drawn ones may differ in their last digits).

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/replay/replay.h"

namespace kvcommons {
namespace {

struct Arguments {
  std::string trace_path;
  std::size_t trace_requests = kMaxTraceRequests;
  ZipfOptions zipf;
  ReplayOptions replay;
  std::vector<double> loads = {0.7, 0.9, 1.1};
  std::vector<std::int64_t> head_starts_ms = {10'000, 60'000};
  std::string json_path;
};

void AddArguments(CLI::App& app, Arguments& a) {
  app.add_option("--trace", a.trace_path, "Mooncake trace, unpacked; -: standard input")
      ->type_name("FILE");
  app.add_option("--trace-requests", a.trace_requests, "of the trace, at most");
  app.add_option("--requests", a.zipf.requests, "drawn, without a trace")->capture_default_str();
  app.add_option("--tenants", a.zipf.tenants, "they share nothing")->capture_default_str();
  app.add_option("--documents", a.zipf.documents, "of a tenant")->capture_default_str();
  app.add_option("--documents-per-request", a.zipf.documents_per_request)->capture_default_str();
  app.add_option("--document-tokens", a.zipf.document_tokens, "mean")->capture_default_str();
  app.add_option("--question-tokens", a.zipf.question_tokens)->capture_default_str();
  app.add_option("--skew", a.zipf.skew, "of the Zipf law")->capture_default_str();
  app.add_option("--seed", a.zipf.seed, "of what is drawn")->capture_default_str();
  app.add_option("--cache-tokens", a.replay.engine.cache_tokens, "of all tenants")
      ->capture_default_str();
  app.add_option("--load", a.loads, "work per time when served by arrival, with commas")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--batch", a.replay.scheduler.batch_requests, "requests chosen at a time")
      ->capture_default_str();
  app.add_option("--head-start-ms", a.head_starts_ms, "of the aged order, with commas")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--recompute", a.replay.engine.recompute,
                 "share of a cached document computed again")
      ->capture_default_str();
  app.add_option("--prefill-us", a.replay.engine.costs.prefill_us_per_token, "a computed token")
      ->capture_default_str();
  app.add_option("--attention-us", a.replay.engine.costs.attention_us_per_token_k,
                 "added per computed token and 1,000 tokens before it")
      ->capture_default_str();
  app.add_option("--place-us", a.replay.engine.costs.place_us_per_token, "a cached token")
      ->capture_default_str();
  app.add_option("--json", a.json_path, "write rows as JSON; -: standard output")
      ->type_name("FILE");
}

Result<Trace> Read(const Arguments& a) {
  if (a.trace_path.empty()) return ZipfTrace(a.zipf);
  if (a.trace_path == "-") return MooncakeTrace(std::cin, a.trace_requests, a.zipf.tenants);
  std::ifstream file(a.trace_path);
  if (!file) return Fail(NotFound("cannot read " + a.trace_path));
  return MooncakeTrace(file, a.trace_requests, a.zipf.tenants);
}

class Report {
 public:
  explicit Report(std::FILE* out) : out_(out) {
    std::fprintf(out_, "%5s %-10s %10s %10s %10s %10s %10s %12s %6s %10s\n", "load", "order",
                 "head ms", "mean ms", "p50 ms", "p99 ms", "max ms", "overtaken ms", "hits",
                 "service ms");
  }

  Status Run(const Trace& trace, const ReplayOptions& options, ReplayOrder order) {
    const auto figures = Replay(trace, options, order);
    if (!figures) return figures.error();
    const char* name = order == ReplayOrder::kArrival   ? "arrival"
                       : order == ReplayOrder::kHitRate ? "hit-rate"
                                                        : "aged";
    const std::int64_t head_start_ms =
        order == ReplayOrder::kAged ? options.scheduler.head_start_us / 1000 : 0;
    std::fprintf(out_, "%5.2f %-10s %10lld %10.0f %10.0f %10.0f %10.0f %12.0f %5.1f%% %10.1f\n",
                 options.load, name, static_cast<long long>(head_start_ms), figures->mean_ms,
                 figures->p50_ms, figures->p99_ms, figures->max_ms, figures->overtaken_ms,
                 100 * figures->hit_share, figures->service_ms);
    rows_.push_back({{"load", options.load},
                     {"order", name},
                     {"head_start_ms", head_start_ms},
                     {"mean_ms", figures->mean_ms},
                     {"p50_ms", figures->p50_ms},
                     {"p99_ms", figures->p99_ms},
                     {"max_ms", figures->max_ms},
                     {"overtaken_ms", figures->overtaken_ms},
                     {"hit_share", figures->hit_share},
                     {"service_ms", figures->service_ms}});
    return Status();
  }

  const nlohmann::json& rows() const { return rows_; }

 private:
  std::FILE* const out_;
  nlohmann::json rows_ = nlohmann::json::array();
};

Status RunAll(const Arguments& a) {
  const Result<Trace> trace = Read(a);
  if (!trace) return trace.error();
  // With JSON on standard output, the table goes to people.
  std::FILE* const out = a.json_path == "-" ? stderr : stdout;
  const bool drawn = a.trace_path.empty();
  std::fprintf(out,
               "%zu requests of %s, %u tenants, cache of %llu tokens, batches of %u, seed %s\n",
               trace->requests.size(), drawn ? "a Zipf law" : a.trace_path.c_str(), a.zipf.tenants,
               static_cast<unsigned long long>(a.replay.engine.cache_tokens),
               a.replay.scheduler.batch_requests,
               drawn ? std::to_string(a.zipf.seed).c_str() : "none (nothing is drawn)");
  Report report(out);
  ReplayOptions options = a.replay;
  for (const double load : a.loads) {
    options.load = load;
    KVC_RETURN_IF_ERROR(report.Run(*trace, options, ReplayOrder::kArrival));
    KVC_RETURN_IF_ERROR(report.Run(*trace, options, ReplayOrder::kHitRate));
    for (const std::int64_t head_start_ms : a.head_starts_ms) {
      options.scheduler.head_start_us = head_start_ms * 1000;
      KVC_RETURN_IF_ERROR(report.Run(*trace, options, ReplayOrder::kAged));
    }
  }
  if (a.json_path.empty()) return Status();
  const nlohmann::json json = {{"requests", trace->requests.size()},
                               {"trace", drawn ? "zipf" : a.trace_path},
                               {"seed", a.zipf.seed},
                               {"tenants", a.zipf.tenants},
                               {"cache_tokens", a.replay.engine.cache_tokens},
                               {"rows", report.rows()}};
  if (a.json_path == "-") {
    std::printf("%s\n", json.dump().c_str());
    return Status();
  }
  std::ofstream file(a.json_path);
  file << json.dump() << "\n";
  return file.good() ? Status() : Unavailable("cannot write " + a.json_path);
}

int Main(int argc, char** argv) {
  CLI::App app("Time to first token by arrival, by hit rate, and by hit rate with ageing.",
               "scheduler_replay");
  Arguments arguments;
  AddArguments(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const Status status = RunAll(arguments);
  if (status.ok()) return 0;
  std::fprintf(stderr, "scheduler_replay: %s\n", status.ToString().c_str());
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace
}  // namespace kvcommons

int main(int argc, char** argv) { return kvcommons::Main(argc, argv); }
