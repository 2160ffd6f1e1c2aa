// The client library: a session with a daemon, models, plans with their lease, uploads.
//
// Reads are copies out of the daemon's arena, mapped read-only; uploads go through the session's
// staging memory. A Plan is a lease: while it lives, the rows of its spans keep bytes and place.
// Thread safety: a Client and everything made from it belong to the thread that connected it (its
// event loop runs only inside these calls). Open one client per thread. When the daemon dies every
// call fails with kUnavailable: go on without, and connect again with backoff.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "align/cost_model.h"
#include "align/gate.h"
#include "align/model_profile.h"
#include "align/plan.h"
#include "base/ids.h"
#include "base/status.h"
#include "kernels/loadings_layout.h"

namespace kvcommons {

enum class UploadAck : std::uint8_t { kHeld = 0, kDurable = 1 };

struct PlanRequest {
  std::span<const TokenId> tokens;
  Policy policy = Policy::kEdit;
  std::string document;            // parent and target of the revision; empty: none
  std::uint32_t store_tokens = 0;  // leading tokens the daemon may ask back
  CostModel costs;
  EditOptions edit;
  // Of LibraryHandle::Plan only: texts within the prompt, ascending and disjoint.
  struct Chunk {
    Position begin = 0, end = 0;
  };
  std::vector<Chunk> chunks;
  std::uint32_t variants = 0;  // bit 1 << RootKind allows that variant; 0: all
  ComposeOptions compose;
};

// A planned run of rows; `block` is null for computed ones.
struct PlannedSpan {
  Position begin = 0;
  Position end = 0;
  SpanKind kind = SpanKind::kCompute;
  Position delta = 0;
  std::string reason;
  const std::byte* block = nullptr;  // plane 0, mapped read-only, valid while the plan lives
  std::uint32_t block_tokens = 0;
  std::uint32_t first_row = 0;
  Staleness staleness;
  // Canonical rows only: which chunk of the request, and its row that lands at `begin`.
  std::uint32_t chunk = 0;
  Position chunk_row = 0;
  RootKind variant = RootKind::kEmpty;
  std::string root;                 // of the variant; 32 hex digits
  const float* loadings = nullptr;  // of the whole block, mapped like it; null: none
  LoadingsLayout loadings_layout;   // rank 0: none

  // U of the plane for this span's rows, [row][rank], and what it leaves. REQUIRES: has loadings.
  std::span<const float> PlaneLoadings(std::size_t plane) const {
    const std::size_t rank = loadings_layout.rank;
    return loadings_layout.Plane(loadings, plane)
        .subspan(first_row * rank, static_cast<std::size_t>(end - begin) * rank);
  }
  float PlaneResidue(std::size_t plane) const { return loadings_layout.Residue(loadings, plane); }
};

// What a composed plan uses for one chunk of the request.
struct PlannedChunk {
  RootKind variant = RootKind::kEmpty;  // kEmpty: nothing, its rows are computed or exact
  std::string root;                     // 32 hex digits
  std::string document;                 // a library document with this text; empty: none
};

struct PlannedPiece {
  Position begin = 0;
  Position end = 0;
  std::uint8_t storage_class = 0;
};

struct CommitOutcome {
  std::uint32_t stored = 0;
  std::uint32_t present = 0;
  std::uint32_t durable = 0;
  std::uint64_t revision = 0;  // of the document, when finished
  double took_us = 0;          // in the daemon
};

class PlanHandle {
 public:
  virtual ~PlanHandle() = default;

  std::vector<PlannedSpan> spans;
  std::vector<PlannedPiece> pieces;
  std::vector<PlannedChunk> chunks;  // of LibraryHandle::Plan: one for each of the request's
  std::uint32_t exact_rows = 0, moved_rows = 0, canonical_rows = 0, anchored_rows = 0;
  std::uint32_t computed_rows = 0;
  double predicted_us = 0, prefill_us = 0, took_us = 0;
  std::uint32_t loaded_blocks = 0;  // that came from disk
  std::uint64_t loaded_bytes = 0;   // of those
  double loaded_us = 0;             // of took_us: waiting for the disk
  std::uint64_t parent_revision = 0;
  std::string explanation;

  // False when the lease is gone (the daemon restarted): drop what was copied.
  virtual bool StillHeld() = 0;

  // Commits all `pieces`: `read_rows(begin, count, destination)` writes rows in store layout
  // [plane][token][row] to `destination`. Goes through staging in as many calls as needed.
  using RowReader =
      std::function<Status(Position begin, std::uint32_t count, std::byte* destination)>;
  virtual Result<CommitOutcome> Commit(const RowReader& read_rows, UploadAck ack) = 0;
};

class LibraryHandle;
struct LibraryPrefaces;
class TeamHandle;
struct TeamSettings;

class ModelHandle {
 public:
  virtual ~ModelHandle() = default;
  virtual Fingerprint fingerprint() const = 0;
  virtual Result<std::unique_ptr<PlanHandle>> Plan(const PlanRequest& request) = 0;
  struct LookupReply {
    std::uint32_t exact_tokens = 0;
    double took_us = 0;
  };
  virtual Result<LookupReply> Lookup(std::span<const TokenId> tokens, std::uint32_t repeat) = 0;
  virtual Result<bool> RemoveDocument(const std::string& name) = 0;
  // The tenant's library for this model, with the prefaces of this application (client/library.h).
  virtual Result<std::unique_ptr<LibraryHandle>> OpenLibrary(const LibraryPrefaces& prefaces) = 0;
  // The tenant's team of that name for this model (client/team.h).
  virtual Result<std::unique_ptr<TeamHandle>> OpenTeam(const TeamSettings& settings) = 0;

  // Whether an approximate rule may go on, by what was reported of it: see ReportQuality.
  struct Quality {
    std::uint32_t samples = 0;
    double mean_kl = 0, mean_top1 = 0;
    bool enabled = true;
    std::string reason;  // why not
  };
  // How far a sampled request was from full prefill. Ask `enabled` before the next one.
  virtual Result<Quality> ReportQuality(const std::string& rule, double kl, double top1) = 0;
  virtual Result<Quality> QualityOf(const std::string& rule) = 0;
  virtual Status ResetQuality(const std::string& rule) = 0;
};

struct DaemonInfo {
  std::uint32_t protocol_version = 0;
  std::string version, tenant;
  std::string boot_id;  // 32 hex digits
  std::uint64_t quota_bytes = 0;
  std::int64_t started_us = 0;
  bool durable = false;
};

struct ClientOptions {
  std::string socket_path;         // empty: DefaultSocketPath()
  std::string name = "kvcommons";  // for the daemon's log
  std::uint64_t staging_bytes = 64ull << 20;
  std::int64_t timeout_ms = 60'000;  // of any call
};

struct BlockListing {
  std::string key;
  std::uint8_t storage_class = 0;
  std::uint32_t tokens = 0, pins = 0;
  Position origin = 0;
  std::uint64_t bytes = 0;
  bool in_memory = false, on_disk = false;
  std::int64_t created_us = 0;
};
struct DocumentListing {
  std::string key, name;
  std::uint64_t revision = 0;
  std::uint32_t tokens = 0;
  std::int64_t created_us = 0;
};
// A text of a library: client/library.h.
struct LibraryListing {
  struct Variant {
    RootKind kind = RootKind::kEmpty;
    std::string root;  // 32 hex digits
    std::uint32_t prefaces = 0;
    std::uint64_t prepare_us = 0;
    bool ready = false;
  };
  std::string name;
  std::string content_key;  // 32 hex digits
  std::uint32_t tokens = 0;
  std::int64_t created_us = 0;
  std::vector<std::string> related;  // empty in lists
  std::vector<Variant> variants;     // of one library's prefaces, or of all
  // Of Client::ListLibrary only: what Client::Remove takes, and the model. 32 hex digits each.
  std::string key, fingerprint;
};
struct Listing {
  std::vector<BlockListing> blocks;
  std::vector<DocumentListing> documents;
};

class Client {
 public:
  static Result<std::unique_ptr<Client>> Connect(const ClientOptions& options);
  virtual ~Client() = default;  // REQUIRES: handles made from it are gone.

  virtual const DaemonInfo& info() const = 0;
  virtual Result<std::unique_ptr<ModelHandle>> OpenModel(const ModelProfile& profile,
                                                         const GateReport& gate) = 0;
  virtual Status Ping() = 0;
  virtual Result<std::string> StatsJson() = 0;
  virtual Result<Listing> List(std::uint32_t limit) = 0;
  // Texts of the tenant's libraries, of all models and prefaces.
  virtual Result<std::vector<LibraryListing>> ListLibrary(std::uint32_t limit) = 0;
  virtual Result<bool> Remove(const std::string& key) = 0;
  // As ModelHandle::ResetQuality, without opening the model: by its fingerprint, 32 hex digits as
  // in Stats(). False: nothing was reported of it.
  virtual Result<bool> ResetQuality(const std::string& fingerprint, const std::string& rule) = 0;
  virtual Status Flush() = 0;
  struct VerifyReport {
    std::uint64_t checked = 0, bad = 0, bytes = 0;
  };
  virtual Result<VerifyReport> Verify() = 0;
};

// $KVCOMMONS_SOCKET, else $XDG_RUNTIME_DIR/kvcommons/kvcommons.sock, else
// /tmp/kvcommons-<uid>/kvcommons.sock.
std::string DefaultSocketPath();

}  // namespace kvcommons
