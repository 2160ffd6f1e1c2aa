// The vector code of CompleteRows(). A few rows at a time and a line of each: their corrections
// grow in registers, so that each vector of g is loaded once for all of these rows, and are added,
// rotated, rounded and stored from there.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/complete.cc"
// For the reasons in rotate.cc.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#include "kernels/complete.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/assert.h"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/completion_check.h"
#include "kernels/scalar_completion.h"
#include "kernels/stream_copy.h"
#include "kernels/vector_elements-inl.h"

#ifndef KVCOMMONS_KERNELS_COMPLETE_JOB
#define KVCOMMONS_KERNELS_COMPLETE_JOB
namespace kvcommons {

struct CompleteJob {
  const RotationTable& table;
  const RowRotations& rotations;
  const ChunkRows& rows;
  const CompletionUpdate& update;
};

}  // namespace kvcommons
#endif

HWY_BEFORE_NAMESPACE();
namespace kvcommons::HWY_NAMESPACE {

#if HWY_NATIVE_FMA

// 32 vector registers hold the corrections of 8 rows in two vectors each, 16 those of 4.
constexpr std::size_t kTileRows = HWY_MAX_BYTES >= 64 ? 8 : 4;
// How far ahead of itself a tile asks for its rows: far enough for memory, and near enough that the
// gain, which passes through the first-level cache meanwhile, does not drive them out of it.
constexpr std::size_t kAheadColumns = 512;
using TileRows = std::make_index_sequence<kTileRows>;

// Some rows under way. Where there are fewer than kTileRows the last one is done again, to the same
// bytes in the same place.
struct Tile {
  // Of the first halves of pairs, until the second ones are there. [row][two vectors]
  HWY_ALIGN float first[kTileRows][2 * HWY_MAX_BYTES / sizeof(float)];
  // Of the plane under way; transposed, so that a vector of g meets its rows' loadings together.
  float loadings[kCompletionRankMax][kTileRows];
  std::size_t index[kTileRows];  // into ChunkRows::rows
  // Of the plane under way: the rows, their cells, and the rows that come next.
  const std::byte* from[kTileRows];
  std::byte* to[kTileRows];
  const std::byte* next[kTileRows];
  const float* cos[kTileRows];
  const float* sin[kTileRows];
};

// Calls place(row, v0, v1) for the rows of a tile with the corrections of 2N columns, in
// Load2()'s order: Σ_k loadings[k][row] · gain[k][column], as scalar::Correction() has it.
template <ElementType kType, class Place, std::size_t... kRow>
HWY_INLINE void Correct(std::index_sequence<kRow...>, const Tile& tile, const float* gain,
                        std::size_t rank, std::size_t gain_stride, const Place& place) {
  const DF df;
  const std::size_t n = hn::Lanes(df);
  VF low[kTileRows] = {((void)kRow, hn::Zero(df))...};
  VF high[kTileRows] = {((void)kRow, hn::Zero(df))...};
  for (std::size_t k = 0; k < rank; ++k, gain += gain_stride) {
    const VF g0 = hn::LoadU(df, gain);
    const VF g1 = hn::LoadU(df, gain + n);
    const float* loadings = tile.loadings[k];
    ((low[kRow] = hn::MulAdd(hn::Set(df, loadings[kRow]), g0, low[kRow]),
      high[kRow] = hn::MulAdd(hn::Set(df, loadings[kRow]), g1, high[kRow])),
     ...);
  }
  (place(kRow, low[kRow], high[kRow]), ...);
}

// What is done with corrections, in one struct for each: a lambda might not be inlined. `at` is the
// first column's byte in the row.

// Elements that do not turn.
template <ElementType kType, bool kStream>
struct PlaceElements {
  const Tile& tile;
  std::size_t at;

  HWY_INLINE void operator()(std::size_t row, VF low, VF high) const {
    VF v0, v1, c0, c1;
    Load2<kType>(tile.from[row] + at, v0, v1);
    Reorder2<kType>(low, high, c0, c1);
    Store2<kType, kStream>(hn::Add(v0, c0), hn::Add(v1, c1), tile.to[row] + at);
  }
};

struct KeepFirst {
  Tile& tile;

  HWY_INLINE void operator()(std::size_t row, VF low, VF high) const {
    const DF df;
    hn::Store(low, df, tile.first[row]);
    hn::Store(high, df, tile.first[row] + hn::Lanes(df));
  }
};

// Adds the corrections `ca`, `cb`, turned by (c, s), to a and b.
HWY_INLINE void AddTurned(VF& a, VF& b, VF ca, VF cb, VF c, VF s) {
  a = hn::NegMulAdd(cb, s, hn::MulAdd(ca, c, a));
  b = hn::MulAdd(ca, s, hn::MulAdd(cb, c, b));
}

// The second halves of 2N pairs, and the first ones that were kept; `at` is the first one's.
template <ElementType kType, bool kStream>
struct PlaceHalves {
  const Tile& tile;
  const Tables& move;
  std::size_t at;
  std::size_t half_bytes;
  std::size_t pair;

  HWY_INLINE void operator()(std::size_t row, VF low, VF high) const {
    const DF df;
    const std::size_t n = hn::Lanes(df);
    const std::byte* from = tile.from[row] + at;
    VF a0, a1, b0, b1, ca0, ca1, cb0, cb1, c0, c1, s0, s1;
    Load2<kType>(from, a0, a1);
    Load2<kType>(from + half_bytes, b0, b1);
    LoadFloats2<kType>(tile.first[row], ca0, ca1);
    Reorder2<kType>(low, high, cb0, cb1);
    LoadFloats2<kType>(tile.cos[row] + pair, c0, c1);
    LoadFloats2<kType>(tile.sin[row] + pair, s0, s1);
    AddTurned(a0, b0, ca0, cb0, c0, s0);
    AddTurned(a1, b1, ca1, cb1, c1, s1);
    const float* c = move.c + pair;
    const float* s = move.s + pair;
    RotateVectors(a0, b0, hn::Load(df, c), hn::Load(df, s));
    RotateVectors(a1, b1, hn::Load(df, c + n), hn::Load(df, s + n));
    std::byte* to = tile.to[row] + at;
    Store2<kType, kStream>(a0, a1, to);
    Store2<kType, kStream>(b0, b1, to + half_bytes);
  }
};

// N interleaved pairs.
template <ElementType kType, bool kStream>
struct PlacePairs {
  const Tile& tile;
  const Tables& move;
  const PairsToElements& spread;
  std::size_t at;
  std::size_t pair;

  HWY_INLINE void operator()(std::size_t row, VF low, VF high) const {
    const DF df;
    const std::size_t n = hn::Lanes(df);
    VF v0, v1, c0, c1;
    Load2<kType>(tile.from[row] + at, v0, v1);
    Reorder2<kType>(low, high, c0, c1);
    const float* cos = tile.cos[row] + pair;
    const float* sin = tile.sin[row] + pair;
    if constexpr (kType == ElementType::kBf16) {
      AddTurned(v0, v1, c0, c1, hn::LoadU(df, cos), hn::LoadU(df, sin));
      RotateVectors(v0, v1, hn::Load(df, move.c + pair), hn::Load(df, move.s + pair));
    } else {
      // The bits of AddTurned() and RotateVectors(), since negation is exact.
      VF cos0, cos1, sin0, sin1;
      spread.Cosines(cos, cos0, cos1);
      spread.Sines(sin, sin0, sin1);
      v0 = hn::MulAdd(hn::Shuffle2301(c0), sin0, hn::MulAdd(c0, cos0, v0));
      v1 = hn::MulAdd(hn::Shuffle2301(c1), sin1, hn::MulAdd(c1, cos1, v1));
      const float* c = move.c + 2 * pair;
      const float* s = move.s + 2 * pair;
      v0 = hn::MulAdd(hn::Shuffle2301(v0), hn::Load(df, s), hn::Mul(v0, hn::Load(df, c)));
      v1 = hn::MulAdd(hn::Shuffle2301(v1), hn::Load(df, s + n), hn::Mul(v1, hn::Load(df, c + n)));
    }
    Store2<kType, kStream>(v0, v1, tile.to[row] + at);
  }
};

// One tile's rows of one plane.
template <ElementType kType, PairLayout kLayout, bool kStream>
struct TilePlane {
  static constexpr std::size_t kBytes = ElementBytes(kType);

  const CompleteJob& job;
  const Tables& move;
  const PairsToElements& spread;
  Tile& tile;
  const float* loadings;  // the plane's: [row of the chunk][rank]
  const float* gain;      // the plane's half of the first of `rank` rows
  std::size_t gain_stride;

  template <class Place>
  HWY_INLINE void CorrectColumns(std::size_t column, const Place& place) const {
    // Spread over the arithmetic, since a burst of prefetches waits for memory.
    const std::size_t row_bytes = job.rows.format.row_bytes();
    std::size_t at = column * kBytes + std::min(kAheadColumns * kBytes, row_bytes);
    const std::byte* const* rows = tile.from;
    if (at >= row_bytes) {
      at -= row_bytes;
      rows = tile.next;
    }
    for (std::size_t row = 0; row < kTileRows; ++row) {
      hwy::Prefetch(rows[row] + at);
      if constexpr (kBytes == 4) hwy::Prefetch(rows[row] + at + HWY_MAX_BYTES);
    }
    Correct<kType>(TileRows(), tile, gain + column, job.update.rank, gain_stride, place);
  }

  // One element of one row, for what vectors leave over.
  HWY_INLINE float Correction(std::size_t row, std::size_t column) const {
    const std::size_t rank = job.update.rank;
    return scalar::Correction(loadings + job.rows.rows[tile.index[row]] * rank, gain + column, rank,
                              gain_stride);
  }

  HWY_INLINE void Elements(std::size_t begin, std::size_t end) const {
    const std::size_t n = hn::Lanes(DF());
    std::size_t e = begin;
    for (; e + 2 * n <= end; e += 2 * n) {
      CorrectColumns(e, PlaceElements<kType, kStream>{tile, e * kBytes});
    }
    for (; e < end; ++e) {
      for (std::size_t row = 0; row < kTileRows; ++row) {
        scalar::CompleteElement<kType>(tile.from[row] + e * kBytes, tile.to[row] + e * kBytes,
                                       Correction(row, e));
      }
    }
  }

  void Pair(std::size_t a, std::size_t b, std::size_t pair) const {
    for (std::size_t row = 0; row < kTileRows; ++row) {
      scalar::CompletePair<kType>(tile.from[row], tile.to[row], a * kBytes, b * kBytes,
                                  Correction(row, a), Correction(row, b),
                                  {tile.cos[row][pair], tile.sin[row][pair]},
                                  {job.table.cos()[pair], job.table.sin()[pair]});
    }
  }

  // The rotary elements of one head.
  HWY_INLINE void Turned(std::size_t begin, std::size_t pair_count) const {
    const std::size_t n = hn::Lanes(DF());
    std::size_t pair = 0;
    if constexpr (kLayout == PairLayout::kHalfSplit) {
      for (; pair + 2 * n <= pair_count; pair += 2 * n) {
        const std::size_t a = begin + pair;
        CorrectColumns(a, KeepFirst{tile});
        CorrectColumns(a + pair_count, PlaceHalves<kType, kStream>{tile, move, a * kBytes,
                                                                   pair_count * kBytes, pair});
      }
      for (; pair < pair_count; ++pair) Pair(begin + pair, begin + pair + pair_count, pair);
    } else {
      for (; pair + n <= pair_count; pair += n) {
        const std::size_t a = begin + 2 * pair;
        CorrectColumns(a, PlacePairs<kType, kStream>{tile, move, spread, a * kBytes, pair});
      }
      for (; pair < pair_count; ++pair) Pair(begin + 2 * pair, begin + 2 * pair + 1, pair);
    }
  }

  void Keys() const {
    const KeyRowFormat& format = job.rows.format;
    for (std::size_t head = 0; head < format.head_count; ++head) {
      const std::size_t begin = head * format.head_dim;
      const std::size_t rotary = begin + format.rotary_offset;
      Elements(begin, rotary);
      Turned(rotary, format.rotary_dim / 2);
      Elements(rotary + format.rotary_dim, begin + format.head_dim);
    }
  }
};

// Points the tile at its keys or its values, and at what comes behind them: its values, or the keys
// of the rows that follow.
void PointAtPlane(const ChunkRows& rows, const CompletionUpdate& update, bool keys, Tile& tile) {
  const std::size_t row_bytes = rows.format.row_bytes();
  const auto cell_of = [&](std::size_t i) {
    return keys ? rows.keys + rows.cells[i] * rows.key_stride_bytes
                : rows.values + rows.cells[i] * rows.value_stride_bytes;
  };
  const std::size_t rank = update.rank;
  const float* loadings = keys ? update.key_loadings : update.value_loadings;
  std::uintptr_t page = 0;
  for (std::size_t r = 0; r < kTileRows; ++r) {
    const std::size_t i = tile.index[r];
    const std::size_t row = rows.rows[i];
    const std::byte* key = rows.stored_keys + row * row_bytes;
    const std::byte* value = rows.stored_values + row * row_bytes;
    const std::size_t following = std::min(i + kTileRows, rows.row_count - 1);
    for (std::size_t k = 0; k < rank; ++k) tile.loadings[k][r] = loadings[row * rank + k];
    tile.from[r] = keys ? key : value;
    tile.next[r] = keys ? value : rows.stored_keys + rows.rows[following] * row_bytes;
    tile.to[r] = cell_of(i);
    // One line of every page that is written next: not for its bytes, but so that the page is
    // translated by then. Worth a tenth.
    const std::byte* to_next = cell_of(following);
    constexpr std::uintptr_t kPageBytes = 4096;
    if (reinterpret_cast<std::uintptr_t>(to_next) / kPageBytes == page) continue;
    page = reinterpret_cast<std::uintptr_t>(to_next) / kPageBytes;
    hwy::Prefetch(to_next);
  }
}

// Takes up to kTileRows rows that are corrected, from the i-th on, and returns where to go on.
// Tells in `any` whether there was one.
std::size_t NextTile(const CompleteJob& job, std::size_t i, Tile& tile, bool& any) {
  const ChunkRows& rows = job.rows;
  std::size_t count = 0;
  for (; i < rows.row_count && count < kTileRows; ++i) {
    // Others are placed already.
    if (!scalar::NoLoadings(job.update, rows.rows[i])) tile.index[count++] = i;
  }
  any = count != 0;
  if (!any) return i;
  for (std::size_t r = 0; r < kTileRows; ++r) {
    if (r >= count) tile.index[r] = tile.index[count - 1];
    const std::size_t row = rows.rows[tile.index[r]];
    tile.cos[r] = job.rotations.cos().data() + row * job.rotations.pair_count();
    tile.sin[r] = job.rotations.sin().data() + row * job.rotations.pair_count();
  }
  return i;
}

// The tile's values, into a cache that has cells, and not elements, beside one another: by way of
// rows on the stack.
template <ElementType kType, PairLayout kLayout>
void TransposedValues(const CompleteJob& job, const Tables& move, const PairsToElements& spread,
                      Tile& tile) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  constexpr std::size_t kPieceColumns = 256;
  HWY_ALIGN std::byte piece[kTileRows][kPieceColumns * kBytes];
  const ChunkRows& rows = job.rows;
  const std::size_t elements = rows.row_elements(), rank = job.update.rank;
  for (std::size_t r = 0; r < kTileRows; ++r) {
    const float* loadings = job.update.value_loadings + rows.rows[tile.index[r]] * rank;
    for (std::size_t k = 0; k < rank; ++k) tile.loadings[k][r] = loadings[k];
  }
  for (std::size_t begin = 0; begin < elements; begin += kPieceColumns) {
    const std::size_t columns = std::min(kPieceColumns, elements - begin);
    for (std::size_t r = 0; r < kTileRows; ++r) {
      const std::size_t row = rows.rows[tile.index[r]];
      tile.from[r] = rows.stored_values + (row * elements + begin) * kBytes;
      tile.to[r] = piece[r];
    }
    const float* gain = job.update.gain + elements + begin;
    TilePlane<kType, kLayout, false>{
        job, move, spread, tile, job.update.value_loadings, gain, job.update.gain_stride}
        .Elements(0, columns);
    for (std::size_t e = 0; e < columns; ++e) {
      std::byte* to = rows.values + (begin + e) * rows.value_element_stride_bytes;
      for (std::size_t r = 0; r < kTileRows; ++r) {
        std::memcpy(to + rows.cells[tile.index[r]] * rows.value_stride_bytes, piece[r] + e * kBytes,
                    kBytes);
      }
    }
  }
}

template <ElementType kType, PairLayout kLayout, bool kStream>
void CompleteTiles(const CompleteJob& job) {
  Tables move;
  FillTables<kType, kLayout>(job.table, move);
  const PairsToElements spread;
  Tile tile;
  const ChunkRows& rows = job.rows;
  const std::size_t elements = rows.row_elements();
  const float* gain = job.update.gain;
  bool any = true;
  for (std::size_t i = 0;;) {
    i = NextTile(job, i, tile, any);
    if (!any) return;
    PointAtPlane(rows, job.update, true, tile);
    TilePlane<kType, kLayout, kStream>{
        job, move, spread, tile, job.update.key_loadings, gain, job.update.gain_stride}
        .Keys();
    if (rows.value_element_stride_bytes != ElementBytes(kType)) {
      TransposedValues<kType, kLayout>(job, move, spread, tile);
      continue;
    }
    PointAtPlane(rows, job.update, false, tile);
    TilePlane<kType, kLayout, kStream>{
        job, move, spread, tile, job.update.value_loadings, gain + elements, job.update.gain_stride}
        .Elements(0, elements);
  }
}

template <ElementType kType, PairLayout kLayout>
void CompleteJobOf(const CompleteJob& job) {
  const ChunkRows& rows = job.rows;
  const KeyRowFormat& format = rows.format;
  constexpr std::size_t kBytes = ElementBytes(kType);
  const bool aligned =
      HeadsFitVectors<kType, kLayout>(format) &&
      (reinterpret_cast<std::uintptr_t>(rows.keys) | reinterpret_cast<std::uintptr_t>(rows.values) |
       rows.key_stride_bytes | rows.value_stride_bytes) %
              (hn::Lanes(D16()) * 2) ==
          0;
  const bool transposed = rows.value_element_stride_bytes != kBytes;
  if (aligned && !transposed && 2 * rows.row_count * format.row_bytes() >= kStreamBytesMin) {
    CompleteTiles<kType, kLayout, true>(job);
    FenceStream();
  } else {
    CompleteTiles<kType, kLayout, false>(job);
  }
}

template <ElementType kType>
void CompleteJobOf(const CompleteJob& job) {
  if (job.rows.format.layout == PairLayout::kHalfSplit) {
    CompleteJobOf<kType, PairLayout::kHalfSplit>(job);
  } else {
    CompleteJobOf<kType, PairLayout::kInterleaved>(job);
  }
}

void CompleteKernel(const CompleteJob& job) {
  switch (job.rows.format.type) {
    case ElementType::kFp16:
      return CompleteJobOf<ElementType::kFp16>(job);
    case ElementType::kBf16:
      return CompleteJobOf<ElementType::kBf16>(job);
    case ElementType::kFp32:
      return CompleteJobOf<ElementType::kFp32>(job);
  }
}

#else  // HWY_NATIVE_FMA

void CompleteKernel(const CompleteJob& job) {
  CompleteRowsReference(job.table, job.rotations, job.rows, job.update);
}

#endif  // HWY_NATIVE_FMA

}  // namespace kvcommons::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvcommons {
namespace {

// A row that is not corrected.
void PlaceRow(const RotationTable& table, const ChunkRows& rows, std::size_t i) {
  const std::size_t row_bytes = rows.format.row_bytes();
  RotateRows(rows.format, table, rows.stored_keys + rows.rows[i] * row_bytes,
             rows.keys + rows.cells[i] * rows.key_stride_bytes, 1, row_bytes);
  const std::byte* from = rows.stored_values + rows.rows[i] * row_bytes;
  std::byte* to = rows.values + rows.cells[i] * rows.value_stride_bytes;
  const std::size_t element_bytes = ElementBytes(rows.format.type);
  if (rows.value_element_stride_bytes == element_bytes) return CopyBytes(from, to, row_bytes);
  for (std::size_t e = 0; e < rows.row_elements(); ++e) {
    std::memcpy(to + e * rows.value_element_stride_bytes, from + e * element_bytes, element_bytes);
  }
}

}  // namespace

HWY_EXPORT(CompleteKernel);

void CompleteRows(const RotationTable& table, const RowRotations& rotations, const ChunkRows& rows,
                  const CompletionUpdate& update) {
  CheckChunkRows(table, rotations, rows);
  KVC_ASSERT(update.rank >= 1 && update.rank <= kCompletionRankMax);
  KVC_ASSERT(update.gain_stride >= 2 * rows.row_elements());
  const bool no_gain = scalar::NoGain(update, 2 * rows.row_elements());
  for (std::size_t i = 0; i < rows.row_count; ++i) {
    if (no_gain || scalar::NoLoadings(update, rows.rows[i])) PlaceRow(table, rows, i);
  }
  if (no_gain) return;
  HWY_DYNAMIC_DISPATCH(CompleteKernel)({table, rotations, rows, update});
}

}  // namespace kvcommons
#endif  // HWY_ONCE
