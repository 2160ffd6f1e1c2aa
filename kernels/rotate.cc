// The vector code of RotateRows(): one pass that loads, rotates and stores.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rotate.cc"
// Without a fused multiply-add the bits would differ from the reference, so those instruction sets
// get the reference itself. Scalable vectors (SVE) cannot be members or arrays; NEON serves there.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#include "kernels/rotate.h"

#include <cstdint>
#include <cstring>

#include "base/assert.h"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/row_check.h"
#include "kernels/scalar_rotation.h"
#include "kernels/stream_copy.h"
#include "kernels/vector_elements-inl.h"

#ifndef KVCOMMONS_KERNELS_ROTATE_JOB
#define KVCOMMONS_KERNELS_ROTATE_JOB
namespace kvcommons {

// What the public functions pass to the code of one instruction set.
struct RotateJob {
  const KeyRowFormat& format;
  const RotationTable& table;
  const std::byte* source;
  std::byte* destination;
  std::size_t row_count;
  std::size_t destination_stride_bytes;
  const std::uint32_t* cells;  // Null: rows go to consecutive strides.
};

}  // namespace kvcommons
#endif

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {

#if HWY_NATIVE_FMA

// Turned elements go straight to their place.
template <ElementType kType, bool kStream>
struct PlaceSink {
  std::byte* to;
  HWY_INLINE void Two(std::size_t e, VF v0, VF v1) const {
    Store2<kType, kStream>(v0, v1, to + e * ElementBytes(kType));
  }
  void One(std::size_t e, float v) const { scalar::Store<kType>(v, to + e * ElementBytes(kType)); }
};

template <ElementType kType, PairLayout kLayout, bool kStream>
void RotateRun(const RotateJob& job, const RowTurn<kType, kLayout>& turn, const std::byte* source,
               std::byte* destination, std::size_t row_count, std::size_t stride_bytes) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const KeyRowFormat& format = job.format;
  const std::size_t head_count = format.head_count;
  const std::size_t head_bytes = format.head_dim * kBytes;
  const std::size_t row_bytes = format.row_bytes();
  const std::size_t begin = format.rotary_offset * kBytes;
  const std::size_t end = begin + format.rotary_dim * kBytes;
  const auto rotate_row = [&](std::size_t row) HWY_ATTR {
    const std::byte* from = source + row * row_bytes;
    std::byte* to = destination + row * stride_bytes;
    for (std::size_t head = 0; head < head_count; ++head, from += head_bytes, to += head_bytes) {
      if (begin != 0) std::memcpy(to, from, begin);
      TurnHead(turn, from + begin, 0, PlaceSink<kType, kStream>{to + begin});
      if (end != head_bytes) std::memcpy(to + end, from + end, head_bytes - end);
    }
  };
  constexpr std::size_t kLineBytes = 64;
  for (std::size_t row = 0; row < row_count; ++row) {
    const std::byte* ahead = source + row * row_bytes + kAheadBytes;
    for (std::size_t line = 0; line < row_bytes; line += kLineBytes) hwy::Prefetch(ahead + line);
    rotate_row(row);
  }
}

template <ElementType kType, PairLayout kLayout>
void RotateJobOf(const RotateJob& job) {
  const RowTurn<kType, kLayout> turn(&job.table);
  const std::size_t row_bytes = job.format.row_bytes();
  const bool can_stream =
      HeadsFitVectors<kType, kLayout>(job.format) &&
      (reinterpret_cast<std::uintptr_t>(job.destination) | job.destination_stride_bytes) %
              (hn::Lanes(D16()) * 2) ==
          0;
  const auto run = [&](std::size_t first, std::size_t count, std::size_t stride, std::byte* to)
                       HWY_ATTR {
                         const std::byte* from = job.source + first * row_bytes;
                         if (can_stream && count * row_bytes >= kStreamBytesMin) {
                           RotateRun<kType, kLayout, true>(job, turn, from, to, count, stride);
                         } else {
                           RotateRun<kType, kLayout, false>(job, turn, from, to, count, stride);
                         }
                       };
  if (job.cells == nullptr) {
    run(0, job.row_count, job.destination_stride_bytes, job.destination);
  } else {
    for (std::size_t first = 0, next; first < job.row_count; first = next) {
      next = first + 1;
      while (next < job.row_count && job.cells[next] == job.cells[next - 1] + 1) ++next;
      run(first, next - first, row_bytes, job.destination + job.cells[first] * row_bytes);
    }
  }
  if (can_stream) FenceStream();
}

template <ElementType kType>
void RotateJobOf(const RotateJob& job) {
  if (job.format.layout == PairLayout::kHalfSplit) {
    RotateJobOf<kType, PairLayout::kHalfSplit>(job);
  } else {
    RotateJobOf<kType, PairLayout::kInterleaved>(job);
  }
}

void RotateKernel(const RotateJob& job) {
  switch (job.format.type) {
    case ElementType::kFp16:
      return RotateJobOf<ElementType::kFp16>(job);
    case ElementType::kBf16:
      return RotateJobOf<ElementType::kBf16>(job);
    case ElementType::kFp32:
      return RotateJobOf<ElementType::kFp32>(job);
  }
}

#else  // HWY_NATIVE_FMA

void RotateKernel(const RotateJob& job) {
  if (job.cells == nullptr) {
    RotateRowsReference(job.format, job.table, job.source, job.destination, job.row_count,
                        job.destination_stride_bytes);
    return;
  }
  const std::size_t row_bytes = job.format.row_bytes();
  for (std::size_t row = 0; row < job.row_count; ++row) {
    RotateRowsReference(job.format, job.table, job.source + row * row_bytes,
                        job.destination + job.cells[row] * row_bytes, 1, row_bytes);
  }
}

#endif  // HWY_NATIVE_FMA

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {

HWY_EXPORT(RotateKernel);

void RotateRows(const KeyRowFormat& format, const RotationTable& table, const std::byte* source,
                std::byte* destination, std::size_t row_count,
                std::size_t destination_stride_bytes) {
  CheckFormat(format, table);
  const std::size_t row_bytes = format.row_bytes();
  if (!table.is_identity()) {
    HWY_DYNAMIC_DISPATCH(RotateKernel)
    ({format, table, source, destination, row_count, destination_stride_bytes, nullptr});
  } else if (destination_stride_bytes == row_bytes) {
    CopyBytes(source, destination, row_count * row_bytes);
  } else {
    for (std::size_t row = 0; row < row_count; ++row) {
      CopyBytes(source + row * row_bytes, destination + row * destination_stride_bytes, row_bytes);
    }
  }
}

void RotateRowsScatter(const KeyRowFormat& format, const RotationTable& table,
                       const std::byte* source, std::byte* destination,
                       std::span<const std::uint32_t> cells) {
  CheckFormat(format, table);
  const std::size_t row_bytes = format.row_bytes();
  if (!table.is_identity()) {
    HWY_DYNAMIC_DISPATCH(RotateKernel)
    ({format, table, source, destination, cells.size(), row_bytes, cells.data()});
    return;
  }
  for (std::size_t first = 0, next; first < cells.size(); first = next) {
    next = first + 1;
    while (next < cells.size() && cells[next] == cells[next - 1] + 1) ++next;
    CopyBytes(source + first * row_bytes, destination + cells[first] * row_bytes,
              (next - first) * row_bytes);
  }
}

std::vector<const char*> RotateTargets() {
  std::vector<const char*> names;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    names.push_back(hwy::TargetName(target));
  }
  return names;
}

void ForceRotateTarget(const char* name) {
  hwy::SetSupportedTargetsForTest(0);
  if (*name == '\0') return;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (std::strcmp(hwy::TargetName(target), name) == 0) {
      hwy::SetSupportedTargetsForTest(target);
      return;
    }
  }
  KVC_ASSERT(false && "a name from RotateTargets()");
}

}  // namespace kvcommons
#endif  // HWY_ONCE
