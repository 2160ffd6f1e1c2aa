// bench upload, durable_upload, cold_read: blocks into the daemon, onto its disk, and back.

#include <cstring>

#include "client/command/bench_run.h"
#include "client/command/plain_file.h"
#include "client/command/stats.h"
#include "client/command/table.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kBatchTokens = kBatchBlocks * 64;

double RateOf(std::size_t bytes, double us) { return static_cast<double>(bytes) / us / 1e3; }

std::size_t BatchBytes(const BenchData& data) { return data.token_bytes() * kBatchTokens; }

// One batch of new blocks; fails unless all of them were stored.
Result<Upload> UploadBatch(const BenchSession& session, BenchData& data, const BenchPrompt& prompt,
                           UploadAck ack) {
  Result<Upload> upload = UploadPrompt(session, data, prompt, ack);
  if (!upload) return upload;
  if (upload->outcome.stored != kBatchBlocks) {
    return Fail(Internal("the daemon stored " + std::to_string(upload->outcome.stored) + " of " +
                         std::to_string(kBatchBlocks) + " new blocks"));
  }
  if (ack == UploadAck::kDurable && upload->outcome.durable != kBatchBlocks) {
    return Fail(Internal("the daemon acknowledged " + std::to_string(upload->outcome.durable) +
                         " of " + std::to_string(kBatchBlocks) + " blocks as durable"));
  }
  return upload;
}

Status CheckPlan(const BenchData& data, const BenchPrompt& prompt, const PlanHandle& plan) {
  if (plan.exact_rows != kBatchTokens) {
    return Internal("the plan reuses " + std::to_string(plan.exact_rows) + " of " +
                    std::to_string(kBatchTokens) + " uploaded tokens");
  }
  for (const PlannedSpan& span : plan.spans) {
    if (span.kind != SpanKind::kCompute) KVC_RETURN_IF_ERROR(data.CheckSpan(prompt, span));
  }
  return Status();
}

// Uploads blocks that nobody asks for until memory has no room left for what came before.
Status EvictFromMemory(const BenchRun& run, const BenchSession& session) {
  constexpr std::uint64_t kMaxFillBytes = 16ull << 30;
  const auto stats = StatsOf(*session.client);
  if (!stats) return stats.error();
  const auto capacity = CountAt(*stats, "/arena_capacity_bytes");
  if (!capacity || *capacity > kMaxFillBytes) {
    return Unsupported(
        "the daemon's memory is too large to fill (limit 16 GiB): run without "
        "--socket, then a daemon of its own is restarted instead");
  }
  for (std::uint64_t filled = 0; filled < *capacity + *capacity / 4;
       filled += BatchBytes(run.data)) {
    KVC_RETURN_IF_ERROR(Interrupted());
    const BenchPrompt filler = run.data.NewPrompt(kBatchTokens + 1);
    const auto upload = UploadBatch(session, run.data, filler, UploadAck::kHeld);
    if (!upload) return upload.error();
  }
  return Status();
}

}  // namespace

Result<BenchResult> BenchUpload(const BenchRun& run) {
  const std::size_t bytes = BatchBytes(run.data);
  // As in BenchColdRead: what is measured goes where others lay.
  constexpr std::uint64_t kMemoryBytes = 512ull << 20;
  std::uint32_t warm_up = 1;  // touches the staging memory
  if (run.daemon.is_own()) {
    KVC_FAIL_IF_ERROR(run.daemon.RestartCold(kMemoryBytes));
    warm_up = static_cast<std::uint32_t>(kMemoryBytes / bytes + 2);
  }
  Result<BenchSession> session = OpenSession(run.daemon, run.data.profile());
  if (!session) return Fail(session.error());
  BenchBuffer destination(bytes);
  BenchResult result;
  std::vector<double> end_to_end, touching;
  for (std::uint32_t i = 0; i < warm_up + run.repeats; ++i) {
    KVC_FAIL_IF_ERROR(Interrupted());
    const BenchPrompt prompt = run.data.NewPrompt(kBatchTokens + 1);
    const auto upload = UploadBatch(*session, run.data, prompt, UploadAck::kHeld);
    if (!upload) return Fail(upload.error());
    const double memcpy_us = MicrosecondsOf([&] {
      const std::size_t block = bytes / kBatchBlocks;
      for (std::size_t offset = 0; offset < bytes; offset += block) {
        std::memcpy(destination.data() + offset, run.data.bytes().data() + offset, block);
      }
    });
    const auto plan = PlanPrompt(*session, prompt.tokens);
    if (!plan) return Fail(plan.error());
    KVC_FAIL_IF_ERROR(CheckPlan(run.data, prompt, **plan));
    if (i < warm_up) {
      touching.push_back(RateOf(bytes, upload->outcome.took_us));
      continue;
    }
    result.values.push_back(RateOf(bytes, upload->outcome.took_us));
    result.bounds.push_back(RateOf(bytes, memcpy_us));
    end_to_end.push_back(RateOf(bytes, upload->wall_us));
  }
  result.unit = "GB/s";
  result.bound_name = "memcpy";
  result.goal = 0.9;
  result.batch_blocks = kBatchBlocks;
  result.note =
      "in the daemon, checksum included; end to end with the client's copy into staging " +
      FormatNumber(MedianOf(end_to_end), 3) + " GB/s, " + FormatNumber(MedianOf(touching), 3) +
      " where memory was touched for the first time";
  return result;
}

Result<BenchResult> BenchDurableUpload(const BenchRun& run) {
  Result<BenchSession> session = OpenSession(run.daemon, run.data.profile());
  if (!session) return Fail(session.error());
  Result<PlainFile> file = PlainFile::Create(run.daemon.scratch());
  if (!file) return Fail(file.error());
  const std::size_t bytes = BatchBytes(run.data);
  BenchResult result;
  std::vector<double> in_daemon;
  for (std::uint32_t i = 0; i <= run.repeats; ++i) {
    KVC_FAIL_IF_ERROR(Interrupted());
    const BenchPrompt prompt = run.data.NewPrompt(kBatchTokens + 1);
    const auto upload = UploadBatch(*session, run.data, prompt, UploadAck::kDurable);
    if (!upload) return Fail(upload.error());
    Status written;
    const double plain_us =
        MicrosecondsOf([&] { written = file->AppendAndSync(run.data.bytes().data(), bytes); });
    KVC_FAIL_IF_ERROR(written);
    if (i == 0) continue;
    result.values.push_back(RateOf(bytes, upload->wall_us));
    result.bounds.push_back(RateOf(bytes, plain_us));
    in_daemon.push_back(RateOf(bytes, upload->outcome.took_us));
  }
  result.unit = "GB/s";
  result.bound_name = "write and fdatasync of a plain file";
  result.goal = 0.8;
  result.batch_blocks = kBatchBlocks;
  result.note = "end to end, the client's copy into staging included; in the daemon " +
                FormatNumber(MedianOf(in_daemon), 3) + " GB/s; plain file in " +
                run.daemon.scratch();
  return result;
}

Result<BenchResult> BenchColdRead(const BenchRun& run) {
  Result<BenchSession> session = OpenSession(run.daemon, run.data.profile());
  if (!session) return Fail(session.error());
  Result<PlainFile> file = PlainFile::Create(run.daemon.scratch());
  if (!file) return Fail(file.error());
  const std::size_t bytes = BatchBytes(run.data), block = bytes / kBatchBlocks;
  // The first reads fill the memory of a daemon that was just started: the first touch of its pages
  // is the machine's, and paid once. Those after it go where others lay.
  constexpr std::uint64_t kColdMemoryBytes = 256ull << 20;
  const auto warm_up =
      static_cast<std::uint32_t>(run.daemon.is_own() ? (kColdMemoryBytes + bytes - 1) / bytes : 1);
  std::vector<BenchPrompt> prompts;
  for (std::uint32_t i = 0; i < warm_up + run.repeats; ++i) {
    KVC_FAIL_IF_ERROR(Interrupted());
    prompts.push_back(run.data.NewPrompt(kBatchTokens + 1));
    const auto upload = UploadBatch(*session, run.data, prompts.back(), UploadAck::kDurable);
    if (!upload) return Fail(upload.error());
    KVC_FAIL_IF_ERROR(file->AppendAndSync(run.data.bytes().data(), bytes));
  }
  if (run.daemon.is_own()) {
    *session = BenchSession{};
    KVC_FAIL_IF_ERROR(run.daemon.RestartCold(kColdMemoryBytes));
    session = OpenSession(run.daemon, run.data.profile());
    if (!session) return Fail(session.error());
  } else {
    KVC_FAIL_IF_ERROR(EvictFromMemory(run, *session));
  }

  BenchBuffer destination(bytes);
  BenchResult result;
  std::vector<double> in_daemon, touching;
  for (std::uint32_t i = 0; i < warm_up + run.repeats; ++i) {
    KVC_FAIL_IF_ERROR(Interrupted());
    Result<std::unique_ptr<PlanHandle>> plan;
    const double cold_us = MicrosecondsOf([&] { plan = PlanPrompt(*session, prompts[i].tokens); });
    if (!plan) return Fail(plan.error());
    KVC_FAIL_IF_ERROR(CheckPlan(run.data, prompts[i], **plan));
    if ((*plan)->loaded_blocks != kBatchBlocks) {
      return Fail(Internal("only " + std::to_string((*plan)->loaded_blocks) + " of " +
                           std::to_string(kBatchBlocks) + " blocks came from disk"));
    }
    Status read;
    const double plain_us = MicrosecondsOf([&] {
      for (std::size_t offset = 0; offset < bytes && read.ok(); offset += block) {
        read = file->ReadDirect(i * bytes + offset, destination.data() + offset, block);
      }
    });
    KVC_FAIL_IF_ERROR(read);
    if (std::memcmp(destination.data(), run.data.bytes().data(), bytes) != 0) {
      return Fail(Corrupted("the plain file reads differently from what was written"));
    }
    if (i < warm_up) {
      touching.push_back(RateOf(bytes, cold_us));
      continue;
    }
    result.values.push_back(RateOf(bytes, cold_us));
    result.bounds.push_back(RateOf(bytes, plain_us));
    in_daemon.push_back(RateOf(bytes, (*plan)->took_us));
  }
  result.unit = "GB/s";
  result.bound_name = file->is_direct() ? "direct reads of a plain file"
                                        : "reads of a plain file (no direct I/O here)";
  result.goal = 0.85;
  result.batch_blocks = kBatchBlocks;
  result.note = std::string("the whole plan call, blocks only on disk after ") +
                (run.daemon.is_own() ? "a restart" : "filling the memory") + "; in the daemon " +
                FormatNumber(MedianOf(in_daemon), 3) + " GB/s, " +
                FormatNumber(MedianOf(touching), 3) +
                " where memory was touched for the first time; every byte compared";
  return result;
}

}  // namespace kvcommons
