#include "agents/rag/library_command.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "agents/rag/library_worker.h"
#include "agents/rag/rag_workbench.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxFileBytes = 16U << 20;
constexpr std::chrono::milliseconds kWatchInterval{500}, kWatchPauseMost{30'000};

std::atomic<bool> interrupted{false};  // set by a signal
static_assert(std::atomic<bool>::is_always_lock_free);

Result<std::string> ReadDocument(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path)) {
    return Fail(InvalidArgument("cannot read " + path));
  }
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (text.empty()) return Fail(InvalidArgument(path + " is empty; a document needs text"));
  if (text.size() > kMaxFileBytes) {
    return Fail(InvalidArgument(path + " has " + std::to_string(text.size()) +
                                " bytes; the limit is " + std::to_string(kMaxFileBytes)));
  }
  return text;
}

void PrintDone(const WorkDone& done) {
  if (done.skipped.empty()) {
    std::fprintf(stderr, "%s: %s, %u tokens, %u prefills, %.0f ms\n", done.document.c_str(),
                 std::string(RootKindName(done.kind)).c_str(), done.tokens, done.prefills,
                 done.took_ms);
  } else {
    std::fprintf(stderr, "%s: %s passed over: %s\n", done.document.c_str(),
                 std::string(RootKindName(done.kind)).c_str(), done.skipped.c_str());
  }
}

}  // namespace

Result<std::uint32_t> ParseVariants(const std::vector<std::string>& names) {
  std::uint32_t mask = 0;
  for (const std::string& name : names) {
    std::uint32_t bit = 0;
    for (std::uint8_t kind = 1; kind <= kMaxRootKind; ++kind) {
      if (RootKindName(static_cast<RootKind>(kind)) == name) bit = 1U << kind;
    }
    if (bit == 0) {
      return Fail(InvalidArgument("variant '" + name +
                                  "' is unknown; known are sink, system, warm, mean, near"));
    }
    mask |= bit;
  }
  return mask;
}

int RunLibraryPut(const CommonOptions& options, const LibraryPutOptions& put) {
  constexpr const char* kName = "library put";
  if (!put.name.empty() && put.paths.size() > 1) {
    return FailCommand(kName, InvalidArgument("--name names one document; there are " +
                                              std::to_string(put.paths.size()) + " files"));
  }
  // All files before the model is loaded, and before anything is put.
  std::vector<std::string> texts;
  for (const std::string& path : put.paths) {
    auto text = ReadDocument(path);
    if (!text) return FailCommand(kName, text.error());
    texts.push_back(std::move(*text));
  }
  CommonOptions quick = options;
  quick.measure_costs = false;
  auto bench = RagWorkbench::Open(quick, put.prompt);
  if (!bench) return FailCommand(kName, bench.error());
  Json rows = Json::array();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto tokens = (*bench)->format().Passage((*bench)->engine(), texts[i]);
    if (!tokens) return FailCommand(kName, tokens.error());
    const std::string name =
        put.name.empty() ? std::filesystem::path(put.paths[i]).filename().string() : put.name;
    const auto reply = (*bench)->library().Put(name, *tokens, put.related);
    if (!reply) return FailCommand(kName, reply.error());
    if (options.json_path != "-") {
      std::printf("%s: %u tokens%s\n", reply->document.name.c_str(), reply->document.tokens,
                  reply->is_new ? "" : ", was there");
    }
    rows.push_back({{"name", reply->document.name},
                    {"tokens", reply->document.tokens},
                    {"content_key", reply->document.content_key},
                    {"new", reply->is_new}});
  }
  if (options.json_path.empty()) return 0;
  const Status written = WriteJson(options.json_path, rows);
  return written.ok() ? 0 : FailCommand(kName, written);
}

int RunLibraryPrepare(const CommonOptions& options, const LibraryPrepareOptions& prepare) {
  constexpr const char* kName = "library prepare";
  const auto variants = ParseVariants(prepare.variants);
  if (!variants) return FailCommand(kName, variants.error());
  CommonOptions quick = options;
  quick.measure_costs = false;
  auto bench = RagWorkbench::Open(quick, prepare.prompt);
  if (!bench) return FailCommand(kName, bench.error());
  interrupted = false;
  std::signal(SIGINT, [](int) { interrupted = true; });
  std::signal(SIGTERM, [](int) { interrupted = true; });

  LibraryWorker worker((*bench)->engine(), (*bench)->library());
  LibraryWorker::Options work;
  work.variants = *variants;
  work.ack = prepare.held_only ? UploadAck::kHeld : UploadAck::kDurable;
  work.on_done = PrintDone;
  work.should_stop = [] { return interrupted.load(); };
  WorkerReport sum;
  std::chrono::milliseconds pause = kWatchInterval;
  do {
    const auto report = worker.Run(work);
    // A daemon that is full has room later.
    const bool full = !report && report.error().code() == Code::kExhausted;
    if (!report && !(prepare.watch && full)) return FailCommand(kName, report.error());
    if (report) {
      sum.prepared += report->prepared;
      sum.skipped += report->skipped;
      sum.prefills += report->prefills;
      sum.took_ms += report->took_ms;
    } else if (pause == kWatchInterval) {
      std::fprintf(stderr, "%s; trying again\n", report.error().message().c_str());
    }
    pause = full ? std::min(2 * pause, kWatchPauseMost) : kWatchInterval;
    const auto until = std::chrono::steady_clock::now() + pause;
    while (prepare.watch && !interrupted && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(kWatchInterval);
    }
  } while (prepare.watch && !interrupted);

  const auto status = (*bench)->library().GetStatus();
  if (!status) return FailCommand(kName, status.error());
  if (options.json_path != "-") {
    std::printf("%u prepared, %u passed over, %u prefills, %.0f ms; %u documents, %u to do\n",
                sum.prepared, sum.skipped, sum.prefills, sum.took_ms, status->documents,
                status->pending);
  }
  if (!options.json_path.empty()) {
    Json ready = Json::object();
    for (std::uint8_t kind = 1; kind <= kMaxRootKind; ++kind) {
      ready[std::string(RootKindName(static_cast<RootKind>(kind)))] = status->ready[kind];
    }
    const Json json = {{"prepared", sum.prepared},
                       {"skipped", sum.skipped},
                       {"prefills", sum.prefills},
                       {"took_ms", sum.took_ms},
                       {"documents", status->documents},
                       {"pending", status->pending},
                       {"ready", ready}};
    const Status written = WriteJson(options.json_path, json);
    if (!written.ok()) return FailCommand(kName, written);
  }
  return sum.skipped > 0 ? kExitSkipped : 0;
}

}  // namespace kvcommons
