#include "client/command/bench.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>

#include "client/command/bench_run.h"

namespace kvcommons {
namespace {

struct Entry {
  const char* name;
  Result<BenchResult> (*run)(const BenchRun&);
};

// cold_read last: it restarts the daemon.
constexpr std::array<Entry, 7> kEntries{{{"place_exact", BenchPlaceExact},
                                         {"place_moved", BenchPlaceMoved},
                                         {"upload", BenchUpload},
                                         {"control", BenchControl},
                                         {"lookup", BenchLookup},
                                         {"durable_upload", BenchDurableUpload},
                                         {"cold_read", BenchColdRead}}};

constexpr std::array<const char*, 7> kBenchNames = {
    "place_exact", "place_moved", "upload", "control", "lookup", "durable_upload", "cold_read"};

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string MachineLine() {
  utsname name = {};
  uname(&name);
  return CpuName() + ", " + std::to_string(std::thread::hardware_concurrency()) +
         " processors, Linux " + name.release;
}

// Of all its full blocks: a prompt of 4,096 tokens can be stored whole, though its last token is
// always computed.
std::uint32_t FullBlockTokens(const std::vector<TokenId>& tokens) {
  return static_cast<std::uint32_t>(tokens.size() / 64 * 64);
}

}  // namespace

std::span<const char* const> BenchNames() { return kBenchNames; }

Result<BenchSession> OpenSession(const BenchDaemon& daemon, const ModelProfile& profile) {
  BenchSession session;
  Result<std::unique_ptr<Client>> client = daemon.Connect();
  if (!client) return Fail(client.error());
  session.client = std::move(*client);
  Result<std::unique_ptr<ModelHandle>> model = session.client->OpenModel(profile, PassedGate());
  if (!model) return Fail(model.error());
  session.model = std::move(*model);
  return session;
}

Result<std::unique_ptr<PlanHandle>> PlanPrompt(const BenchSession& session,
                                               const std::vector<TokenId>& tokens,
                                               const std::string& document) {
  PlanRequest request;
  request.tokens = tokens;
  request.policy = document.empty() ? Policy::kExact : Policy::kEdit;
  request.document = document;
  request.store_tokens = FullBlockTokens(tokens);
  return session.model->Plan(request);
}

Result<Upload> UploadPrompt(const BenchSession& session, const BenchData& data,
                            const BenchPrompt& prompt, UploadAck ack, const std::string& document) {
  Result<std::unique_ptr<PlanHandle>> plan = PlanPrompt(session, prompt.tokens, document);
  if (!plan) return Fail(plan.error());
  const std::size_t wanted = prompt.tokens.size() / data.profile().block_tokens;
  if ((*plan)->pieces.size() < wanted) {
    return Fail(Internal("the daemon asked for " + std::to_string((*plan)->pieces.size()) +
                         " blocks of a new prompt that has " + std::to_string(wanted)));
  }
  Upload upload;
  Result<CommitOutcome> outcome;
  upload.wall_us = MicrosecondsOf([&] { outcome = (*plan)->Commit(data.ReaderOf(prompt), ack); });
  if (!outcome) return Fail(outcome.error());
  upload.outcome = *outcome;
  return upload;
}

Status Interrupted() {
  return BenchInterrupted() ? Unavailable("interrupted; nothing is left behind") : Status();
}

int RunBench(const CommandContext& context) {
  const Arguments& arguments = context.arguments;
  Result<std::unique_ptr<BenchDaemon>> daemon = BenchDaemon::Open(arguments);
  if (!daemon) return ReportFailure(context, daemon.error());
  const std::uint64_t seed = std::random_device()() * 0x9e3779b97f4a7c15ull;
  BenchData data(BenchProfile(), kPlaceTokens + 1, seed);
  const BenchRun run{**daemon, data, seed, arguments.repeats};

  std::vector<BenchResult> results;
  bool has_failed = false;
  for (const Entry& entry : kEntries) {
    const bool is_wanted = arguments.names.empty() ||
                           std::find(arguments.names.begin(), arguments.names.end(), entry.name) !=
                               arguments.names.end();
    if (!is_wanted) continue;
    if (BenchInterrupted()) return ReportFailure(context, Interrupted());
    if (isatty(STDERR_FILENO) != 0) context.err << "\r\033[K" << entry.name << " ..." << std::flush;
    Result<BenchResult> result = entry.run(run);
    if (isatty(STDERR_FILENO) != 0) context.err << "\r\033[K" << std::flush;
    if (result) {
      result->name = entry.name;
      results.push_back(std::move(*result));
      continue;
    }
    has_failed = true;
    context.err << "kvcommons: bench " << entry.name << ": " << result.error().ToString() << '\n';
  }
  if (arguments.is_json) {
    nlohmann::json list = nlohmann::json::array();
    for (const BenchResult& result : results) list.push_back(ToJson(result));
    context.out << list.dump(2) << '\n';
  } else if (!results.empty()) {
    context.out << MachineLine() << "; seed " << seed << "; median of " << arguments.repeats
                << ", path and bound taking turns\n\n";
    PrintTable(results, context.out);
  }
  return has_failed ? kExitFailure : kExitOk;
}

}  // namespace kvcommons
