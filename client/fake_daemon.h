// For tests: a daemon that implements the protocol on a thread of its own and answers as a test
// scripts it, wrong answers included. It stores nothing.
//
// Thread safety: the script is fixed before Start(); what was seen is read through the methods.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

class FakeDaemon {
 public:
  struct Script {
    Status login;                        // other than ok: login is refused with it
    std::uint8_t raw_error_code = 0;     // other than 0: login's error has this code
    std::uint64_t slab_bytes = 1 << 20;  // of every slab; byte i holds PatternAt(slab, i)
    std::uint64_t slab_told_bytes = 0;   // other than 0: the size that is told
    bool passes_descriptors = true;
    std::uint64_t staging_bytes = 1 << 20;  // granted, whatever was asked for
    std::function<void(rpc::PlanRequest::Reader, rpc::PlanReply::Builder)> plan;
    Status commit;                 // other than ok: commits are refused with it
    bool hangs_on_commit = false;  // never answers
    bool hangs_on_ping = false;
    bool throws_on_ping = false;
    bool dies_on_ping = false;  // closes every connection
    bool held = true;
    Fingerprint fingerprint;  // answered by openModel
    std::string stats_json = "{}";
    std::uint64_t verify_bad = 0;
    bool durable = true;
  };

  struct SeenPiece {
    std::uint32_t begin;
    std::uint64_t offset;
    std::byte first_byte;  // of the staged bytes, as the daemon saw them
  };
  struct SeenCommit {
    std::vector<SeenPiece> pieces;
    std::uint8_t ack;
    bool finish;
  };

  // Listens when it returns.
  FakeDaemon(std::string socket_path, Script script);
  ~FakeDaemon();  // Closes every connection.
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

  static std::byte PatternAt(std::uint32_t slab_id, std::uint64_t offset) {
    return static_cast<std::byte>((offset * 7 + slab_id * 31 + offset / 251) & 0xff);
  }

  std::vector<SeenCommit> Commits() const;
  std::vector<std::string> Resets() const;  // of rules: "fingerprint rule"
  int SlabRequests() const;
  int StagingRequests() const;
  int LivePlans() const;
  // Returns when no plan is alive, or false after 10 s.
  bool WaitForNoPlans() const;

  struct State;  // what its thread and the test share

 private:
  std::unique_ptr<State> state_;
};

}  // namespace kvcommons
