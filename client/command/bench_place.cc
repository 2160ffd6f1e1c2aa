// bench place_exact, place_moved: a plan's rows from the daemon's arena into a private cache.

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "client/command/bench_run.h"
#include "client/command/table.h"
#include "kernels/rotate.h"

namespace kvcommons {
namespace {

// A cache as an engine has it: [plane][token][row] for a whole prompt, warm.
struct Cache {
  Cache(const BenchData& bench_data, std::size_t tokens)
      : data(bench_data), token_count(tokens), memory(bench_data.token_bytes() * tokens) {}

  std::byte* At(std::size_t plane, Position token) {
    return memory.data() + data.plane_offset(plane) * token_count +
           static_cast<std::size_t>(token) * data.row_bytes(plane);
  }

  const BenchData& data;
  std::size_t token_count;
  BenchBuffer memory;
};

bool IsReused(const PlannedSpan& span) { return span.kind != SpanKind::kCompute; }

std::size_t RowsOf(const PlannedSpan& span) {
  return static_cast<std::size_t>(span.end - span.begin);
}

void Place(const std::vector<PlannedSpan>& spans, const RotationTable* table, Cache& cache) {
  const KeyRowFormat key_row = cache.data.profile().key_row();
  for (const PlannedSpan& span : spans) {
    if (!IsReused(span)) continue;
    for (std::size_t plane = 0; plane < cache.data.plane_count(); ++plane) {
      const std::size_t row = cache.data.row_bytes(plane);
      const std::byte* rows =
          span.block + cache.data.plane_offset(plane) * span.block_tokens + span.first_row * row;
      if (table != nullptr && plane % 2 == 0) {
        RotateRows(key_row, *table, rows, cache.At(plane, span.begin), RowsOf(span), row);
      } else {
        CopyBytes(rows, cache.At(plane, span.begin), RowsOf(span) * row);
      }
    }
  }
}

// The same bytes out of the same blocks, each block in one piece.
template <typename Copy>
void CopyBlocks(const std::vector<PlannedSpan>& spans, Cache& cache, Copy&& copy) {
  std::byte* destination = cache.memory.data();
  for (const PlannedSpan& span : spans) {
    if (!IsReused(span)) continue;
    const std::size_t bytes = RowsOf(span) * cache.data.token_bytes();
    copy(destination, span.block, bytes);
    destination += bytes;
  }
}

// Takes turns at placing and at both bounds.
Result<BenchResult> Measure(const BenchRun& run, const PlanHandle& plan, const RotationTable* table,
                            Cache& cache, double goal) {
  std::size_t bytes = 0;
  std::uint32_t blocks = 0;
  for (const PlannedSpan& span : plan.spans) {
    if (!IsReused(span)) continue;
    bytes += RowsOf(span) * cache.data.token_bytes();
    ++blocks;
  }
  const auto rate_of = [bytes](double us) { return static_cast<double>(bytes) / us / 1e3; };
  const auto by_memcpy = [](std::byte* to, const std::byte* from, std::size_t n) {
    std::memcpy(to, from, n);
  };
  const auto by_stream = [](std::byte* to, const std::byte* from, std::size_t n) {
    CopyBytes(from, to, n);
  };
  std::vector<double> values, memcpy_rates, stream_rates;
  for (std::uint32_t i = 0; i <= run.repeats; ++i) {
    KVC_FAIL_IF_ERROR(Interrupted());
    const double by_memcpy_us = MicrosecondsOf([&] { CopyBlocks(plan.spans, cache, by_memcpy); });
    const double by_stream_us = MicrosecondsOf([&] { CopyBlocks(plan.spans, cache, by_stream); });
    const double place_us = MicrosecondsOf([&] { Place(plan.spans, table, cache); });
    if (i == 0) continue;  // maps the slabs' pages
    values.push_back(rate_of(place_us));
    memcpy_rates.push_back(rate_of(by_memcpy_us));
    stream_rates.push_back(rate_of(by_stream_us));
  }
  const bool streams = MedianOf(stream_rates) > MedianOf(memcpy_rates);
  BenchResult result;
  result.unit = "GB/s";
  result.values = values;
  result.bounds = streams ? stream_rates : memcpy_rates;
  result.bound_name = streams ? "streaming copy" : "memcpy";
  result.goal = goal;
  result.batch_blocks = blocks;
  result.note = "memcpy " + FormatNumber(MedianOf(memcpy_rates), 3) + ", streaming copy " +
                FormatNumber(MedianOf(stream_rates), 3) + " GB/s; K and V counted";
  return result;
}

// Every moved row against the plain reference; values are copied.
Status CheckMoved(const BenchPrompt& prompt, const PlannedSpan& span, const RotationTable& table,
                  Cache& cache) {
  const KeyRowFormat key_row = cache.data.profile().key_row();
  std::vector<std::byte> stored(key_row.row_bytes()), expected(key_row.row_bytes());
  constexpr Position kStride = 7;  // meets every row of a head's place in the vectors
  for (Position token = span.begin; token < span.end; token += kStride) {
    for (std::size_t plane = 0; plane < cache.data.plane_count(); ++plane) {
      cache.data.WriteRow(prompt, plane, token - span.delta, stored.data());
      if (plane % 2 == 0) {
        RotateRowsReference(key_row, table, stored.data(), expected.data(), 1, expected.size());
      } else {
        expected = stored;
      }
      if (std::memcmp(cache.At(plane, token), expected.data(), expected.size()) != 0) {
        return Corrupted("plane " + std::to_string(plane) + " of token " + std::to_string(token) +
                         ", moved by " + std::to_string(span.delta) +
                         ", is not the rotated row that was uploaded");
      }
    }
  }
  return Status();
}

}  // namespace

Result<BenchResult> BenchPlaceExact(const BenchRun& run) {
  Result<BenchSession> session = OpenSession(run.daemon, run.data.profile());
  if (!session) return Fail(session.error());
  const BenchPrompt prompt = run.data.NewPrompt(kPlaceTokens + 1);
  if (auto upload = UploadPrompt(*session, run.data, prompt, UploadAck::kHeld); !upload) {
    return Fail(upload.error());
  }
  const auto plan = PlanPrompt(*session, prompt.tokens);
  if (!plan) return Fail(plan.error());
  if ((*plan)->exact_rows != kPlaceTokens) {
    return Fail(Internal("the plan reuses " + std::to_string((*plan)->exact_rows) + " of " +
                         std::to_string(kPlaceTokens) + " uploaded tokens"));
  }
  Cache cache(run.data, prompt.tokens.size());
  Result<BenchResult> result = Measure(run, **plan, nullptr, cache, 0.95);
  if (!result) return result;
  for (const PlannedSpan& span : (*plan)->spans) {
    if (!IsReused(span)) continue;
    KVC_FAIL_IF_ERROR(run.data.CheckSpan(prompt, span));
    for (std::size_t plane = 0; plane < run.data.plane_count(); ++plane) {
      const std::size_t row = run.data.row_bytes(plane);
      const std::byte* stored =
          span.block + run.data.plane_offset(plane) * span.block_tokens + span.first_row * row;
      if (std::memcmp(cache.At(plane, span.begin), stored, RowsOf(span) * row) != 0) {
        return Fail(Corrupted("the placed rows differ from the stored ones"));
      }
    }
  }
  if (!(*plan)->StillHeld()) return Fail(Unavailable("the lease was lost while placing"));
  return result;
}

Result<BenchResult> BenchPlaceMoved(const BenchRun& run) {
  Result<BenchSession> session = OpenSession(run.daemon, run.data.profile());
  if (!session) return Fail(session.error());
  const std::string document = "kvcommons-bench-" + std::to_string(run.seed);
  BenchPrompt prompt = run.data.NewPrompt(kPlaceTokens + 1);
  if (auto upload = UploadPrompt(*session, run.data, prompt, UploadAck::kHeld, document); !upload) {
    return Fail(upload.error());
  }
  // The edit: five tokens before everything else, so nothing is exact and all the rest may move.
  constexpr std::uint32_t kInserted = 5;
  std::vector<TokenId> edited = run.data.NewTokens(kInserted);
  edited.insert(edited.end(), prompt.tokens.begin(), prompt.tokens.end());
  const auto plan = PlanPrompt(*session, edited, document);
  if (!plan) return Fail(plan.error());
  if ((*plan)->moved_rows < kPlaceTokens / 2) {
    return Fail(Internal("the plan moves " + std::to_string((*plan)->moved_rows) + " of " +
                         std::to_string(kPlaceTokens) + " rows after an insertion:\n" +
                         (*plan)->explanation));
  }
  for (const PlannedSpan& span : (*plan)->spans) {
    if (IsReused(span) && span.delta != static_cast<Position>(kInserted)) {
      return Fail(Internal("a span is moved by " + std::to_string(span.delta) + ", not by " +
                           std::to_string(kInserted)));
    }
  }
  const RotationTable table(run.data.profile().omega, kInserted);
  Cache cache(run.data, edited.size());
  Result<BenchResult> result = Measure(run, **plan, &table, cache, 0.8);
  if (result) {
    for (const PlannedSpan& span : (*plan)->spans) {
      if (IsReused(span)) KVC_FAIL_IF_ERROR(CheckMoved(prompt, span, table, cache));
    }
    if (!(*plan)->StillHeld()) return Fail(Unavailable("the lease was lost while placing"));
  }
  const Result<bool> removed = session->model->RemoveDocument(document);
  if (!removed) return Fail(removed.error());
  return result;
}

}  // namespace kvcommons
