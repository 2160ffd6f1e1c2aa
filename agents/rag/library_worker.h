// Prepares a library's documents: takes work, prefills the document behind its prefaces, hands the
// canonical rows and their loadings back.
//
// Guarantee: a document that cannot be prepared (too long for this engine's context behind its
// longest preface, or removed meanwhile) is told of once and passed over; the others are prepared
// all the same. The claim on one that is too long is kept until Run() ends, so that it is not
// offered again; then a worker with a longer context may take it.
//
// Thread safety: none; belongs to the thread of its client and engine. Several workers, each with a
// client of its own, share a library's work.

#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "agents/rag/canonical.h"
#include "client/library.h"

namespace kvcommons {

// What became of one work.
struct WorkDone {
  std::string document;
  RootKind kind = RootKind::kEmpty;
  std::uint32_t tokens = 0;
  std::uint32_t prefills = 0;  // of prefaces that were not at hand, and of the document
  double took_ms = 0;
  std::string skipped;  // why; empty: it was prepared
};

struct WorkerReport {
  std::uint32_t prepared = 0, skipped = 0;
  std::uint32_t prefills = 0;
  double took_ms = 0;
};

class LibraryWorker {
 public:
  struct Options {
    std::uint32_t variants = 0;  // bits 1 << RootKind; 0: system, mean and near
    UploadAck ack = UploadAck::kDurable;
    std::function<void(const WorkDone&)> on_done;
    std::function<bool()> should_stop;  // asked before every work
  };

  // All must outlive the worker.
  LibraryWorker(Engine& engine, LibraryHandle& library) : engine_(engine), library_(library) {}

  // Until nothing is left or it shall stop; empties the engine. Fails when the daemon or the engine
  // does, and with kExhausted when the daemon has no room: what was prepared before is kept.
  Result<WorkerReport> Run(const Options& options);

 private:
  // Prefaces of the last few works, most recent first: those of `mean` are all the same, and take
  // seconds and tens of MiB.
  static constexpr std::size_t kMaxMakers = 3;
  struct Maker {
    std::vector<std::vector<TokenId>> prefaces;
    CanonicalMaker maker;
  };

  Result<CanonicalMaker*> MakerFor(const WorkHandle& work, WorkDone& done);
  Status Prepare(WorkHandle& work, UploadAck ack, WorkDone& done);

  Engine& engine_;
  LibraryHandle& library_;
  std::list<Maker> makers_;
  std::set<std::tuple<std::string, RootKind, std::uint32_t>> told_;  // too long, by tokens
};

// Writes rows [begin, begin + count) of `chunk` as one stored block: planes, then, where the chunk
// has loadings, those of these rows with every layer's residue (kernels/loadings_layout.h).
// REQUIRES: destination has LoadingsLayout::BlockBytes() of both.
void WriteLibraryBlock(const PlaneLayout& planes, const CanonicalChunk& chunk, Position begin,
                       std::uint32_t count, std::byte* destination);

}  // namespace kvcommons
