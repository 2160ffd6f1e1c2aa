// The measurements behind `kvcommons bench`, one function a name, in files by what they stress.

#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "client/client.h"
#include "client/command/bench_daemon.h"
#include "client/command/bench_data.h"
#include "client/command/bench_result.h"

namespace kvcommons {

struct BenchRun {
  BenchDaemon& daemon;
  BenchData& data;  // of BenchProfile(), prompts of up to kPlaceTokens + 1 tokens
  std::uint64_t seed;
  std::uint32_t repeats;
};

// One prompt of 64 full blocks: 94 MB, more than the caches of most machines.
inline constexpr std::uint32_t kPlaceTokens = 4096;
// One commit call of 32 blocks fits the staging memory that a session gets by default.
inline constexpr std::uint32_t kBatchBlocks = 32;

Result<BenchResult> BenchPlaceExact(const BenchRun& run);
Result<BenchResult> BenchPlaceMoved(const BenchRun& run);
Result<BenchResult> BenchUpload(const BenchRun& run);
Result<BenchResult> BenchControl(const BenchRun& run);
Result<BenchResult> BenchLookup(const BenchRun& run);
Result<BenchResult> BenchDurableUpload(const BenchRun& run);
Result<BenchResult> BenchColdRead(const BenchRun& run);

// A connection and the model on it. Members are destroyed from the bottom up.
struct BenchSession {
  std::unique_ptr<Client> client;
  std::unique_ptr<ModelHandle> model;
};
Result<BenchSession> OpenSession(const BenchDaemon& daemon, const ModelProfile& profile);

// Plans a prompt whose full blocks may be asked for.
Result<std::unique_ptr<PlanHandle>> PlanPrompt(const BenchSession& session,
                                               const std::vector<TokenId>& tokens,
                                               const std::string& document = "");
// Plans and uploads it; fails where the daemon did not ask for every full block of it.
struct Upload {
  CommitOutcome outcome;
  double wall_us = 0;  // of the commit, with the copy into staging memory
};
Result<Upload> UploadPrompt(const BenchSession& session, const BenchData& data,
                            const BenchPrompt& prompt, UploadAck ack,
                            const std::string& document = "");

// Microseconds that `body` takes.
template <typename Body>
double MicrosecondsOf(Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
      .count();
}

Status Interrupted();  // kUnavailable when BenchInterrupted(), else ok

}  // namespace kvcommons
