#include "agents/rag/library_worker.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "agents/engine/elapsed.h"

namespace kvcommons {
namespace {

bool IsGone(const Status& status) { return status.code() == Code::kNotFound; }

// Why not, before seconds go into prefaces; empty: it fits.
std::string TooLong(const WorkHandle& work, std::uint32_t context_tokens) {
  std::size_t longest = 0;
  for (const auto& preface : work.prefaces) longest = std::max(longest, preface.size());
  if (longest + work.tokens.size() <= context_tokens) return "";
  return "the document has " + std::to_string(work.tokens.size()) +
         " tokens, its longest preface " + std::to_string(longest) + "; the context holds " +
         std::to_string(context_tokens);
}

}  // namespace

void WriteLibraryBlock(const PlaneLayout& planes, const CanonicalChunk& chunk, Position begin,
                       std::uint32_t count, std::byte* destination) {
  const std::size_t rows = chunk.tokens.size(), first = static_cast<std::size_t>(begin);
  for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
    const std::size_t row_bytes = planes.row_bytes[plane];
    std::memcpy(destination + planes.PlaneOffset(plane, count),
                chunk.planes.data() + planes.PlaneOffset(plane, rows) + first * row_bytes,
                count * row_bytes);
  }
  if (chunk.rank == 0) return;
  const LoadingsLayout whole{planes.plane_count(), rows, chunk.rank};
  std::byte* next = destination + LoadingsLayout::OffsetBytes(planes.BlockBytes(count));
  for (std::size_t plane = 0; plane <= whole.mean(); ++plane) {
    const auto loadings = whole.Plane(chunk.loadings.data(), plane)
                              .subspan(first * chunk.rank, std::size_t{count} * chunk.rank);
    const float residue = whole.Residue(chunk.loadings.data(), plane);
    std::memcpy(next, loadings.data(), loadings.size_bytes());
    std::memcpy(next + loadings.size_bytes(), &residue, sizeof residue);
    next += loadings.size_bytes() + sizeof residue;
  }
}

Result<CanonicalMaker*> LibraryWorker::MakerFor(const WorkHandle& work, WorkDone& done) {
  const auto known = std::find_if(makers_.begin(), makers_.end(), [&](const Maker& maker) {
    return maker.prefaces == work.prefaces;
  });
  if (known != makers_.end()) {
    makers_.splice(makers_.begin(), makers_, known);
    return &makers_.front().maker;
  }
  // Half of the prefaces of `near` are those of `mean`: taken from the maker that shares most.
  const auto shared = [&](const Maker& maker) {
    return std::count_if(work.prefaces.begin(), work.prefaces.end(), [&](const auto& preface) {
      return std::find(maker.prefaces.begin(), maker.prefaces.end(), preface) !=
             maker.prefaces.end();
    });
  };
  const auto like =
      std::max_element(makers_.begin(), makers_.end(),
                       [&](const Maker& a, const Maker& b) { return shared(a) < shared(b); });
  auto maker = CanonicalMaker::Create(engine_, work.prefaces,
                                      like == makers_.end() ? nullptr : &like->maker);
  if (!maker) return Fail(maker.error());
  if (makers_.size() == kMaxMakers) makers_.pop_back();
  done.prefills += maker->prefilled();
  makers_.push_front({work.prefaces, std::move(*maker)});
  return &makers_.front().maker;
}

Status LibraryWorker::Prepare(WorkHandle& work, UploadAck ack, WorkDone& done) {
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  const auto maker = MakerFor(work, done);
  if (!maker) return maker.error();
  const auto chunk = (*maker)->Make(work.tokens);
  if (!chunk) return chunk.error();
  done.prefills += chunk->prefaces;
  const double prepare_ms = MsSince(clock, start_ns);
  const PlaneLayout planes = engine_.profile().planes();
  const auto stored = work.Commit(
      [&](Position begin, std::uint32_t count, std::byte* destination) {
        WriteLibraryBlock(planes, *chunk, begin, count, destination);
        return Status();
      },
      chunk->rank, static_cast<std::uint64_t>(prepare_ms * 1e3), ack);
  done.took_ms = MsSince(clock, start_ns);
  return stored ? Status() : stored.error();
}

Result<WorkerReport> LibraryWorker::Run(const Options& options) {
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  WorkerReport report;
  std::vector<std::unique_ptr<WorkHandle>> too_long;  // Dropped, they would be offered again.
  while (!options.should_stop || !options.should_stop()) {
    auto work = library_.NextWork(options.variants);
    // As many claims as a session may hold are on texts that are too long: what is left has to
    // wait for the next Run().
    if (!work && work.error().code() == Code::kExhausted && !too_long.empty()) break;
    if (!work) return Fail(work.error());
    if (*work == nullptr) break;
    WorkDone done;
    done.document = (*work)->name;
    done.kind = (*work)->kind;
    done.tokens = static_cast<std::uint32_t>((*work)->tokens.size());
    done.skipped = TooLong(**work, engine_.context_tokens());
    if (!done.skipped.empty()) {
      too_long.push_back(std::move(*work));
      if (!told_.emplace(done.document, done.kind, done.tokens).second) continue;
    } else if (const Status status = Prepare(**work, options.ack, done); IsGone(status)) {
      done.skipped = status.message();
    } else if (!status.ok()) {
      return Fail(status);
    }
    report.prefills += done.prefills;
    ++(done.skipped.empty() ? report.prepared : report.skipped);
    if (options.on_done) options.on_done(done);
  }
  engine_.Clear();
  report.took_ms = MsSince(clock, start_ns);
  return report;
}

}  // namespace kvcommons
