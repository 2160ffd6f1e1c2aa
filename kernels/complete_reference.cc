// Angles of a chunk's rows, and completion one element at a time, which the vector code is checked
// against.

#include <cstring>

#include "base/assert.h"
#include "kernels/complete.h"
#include "kernels/scalar_completion.h"

namespace kvcommons {
namespace {

// The elements of a row: which pairs turn, and which elements stand alone.
template <typename OnPair, typename OnElement>
void ForEveryElement(const KeyRowFormat& format, OnPair on_pair, OnElement on_element) {
  const std::size_t pair_count = format.rotary_dim / 2;
  const bool half_split = format.layout == PairLayout::kHalfSplit;
  for (std::size_t head = 0; head < format.head_count; ++head) {
    const std::size_t begin = head * format.head_dim;
    const std::size_t rotary = begin + format.rotary_offset;
    for (std::size_t pair = 0; pair < pair_count; ++pair) {
      const std::size_t first = rotary + (half_split ? pair : 2 * pair);
      on_pair(first, first + (half_split ? pair_count : 1), pair);
    }
    for (std::size_t e = begin; e < rotary; ++e) on_element(e);
    for (std::size_t e = rotary + format.rotary_dim; e < begin + format.head_dim; ++e) {
      on_element(e);
    }
  }
}

template <ElementType kType>
void CompleteRowsOf(const RotationTable& table, const RowRotations& rotations, const ChunkRows& job,
                    const CompletionUpdate& update) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const std::size_t elements = job.row_elements();
  const bool no_gain = scalar::NoGain(update, 2 * elements);
  for (std::size_t i = 0; i < job.row_count; ++i) {
    const std::size_t row = job.rows[i];
    const std::byte* key = job.stored_keys + row * job.format.row_bytes();
    const std::byte* value = job.stored_values + row * job.format.row_bytes();
    std::byte* to_key = job.keys + job.cells[i] * job.key_stride_bytes;
    std::byte* to_value = job.values + job.cells[i] * job.value_stride_bytes;
    const auto value_cell = [&](std::size_t e) {
      return to_value + e * job.value_element_stride_bytes;
    };
    if (no_gain || scalar::NoLoadings(update, row)) {
      RotateRowsReference(job.format, table, key, to_key, 1, job.format.row_bytes());
      for (std::size_t e = 0; e < elements; ++e) {
        std::memcpy(value_cell(e), value + e * kBytes, kBytes);
      }
      continue;
    }
    const auto correction = [&](std::size_t column) {
      const float* loadings = column < elements ? update.key_loadings : update.value_loadings;
      return scalar::Correction(loadings + row * update.rank, update.gain + column, update.rank,
                                update.gain_stride);
    };
    const std::size_t angles = row * rotations.pair_count();
    ForEveryElement(
        job.format,
        [&](std::size_t a, std::size_t b, std::size_t pair) {
          scalar::CompletePair<kType>(
              key, to_key, a * kBytes, b * kBytes, correction(a), correction(b),
              {rotations.cos()[angles + pair], rotations.sin()[angles + pair]},
              {table.cos()[pair], table.sin()[pair]});
        },
        [&](std::size_t e) {
          scalar::CompleteElement<kType>(key + e * kBytes, to_key + e * kBytes, correction(e));
        });
    for (std::size_t e = 0; e < elements; ++e) {
      scalar::CompleteElement<kType>(value + e * kBytes, value_cell(e), correction(elements + e));
    }
  }
}

template <ElementType kType>
void MeasureResidualsOf(const RotationTable& table, const RowRotations& rotations,
                        const ChunkRows& job, float* residuals) {
  constexpr std::size_t kBytes = ElementBytes(kType);
  const std::size_t elements = job.row_elements();
  for (std::size_t i = 0; i < job.row_count; ++i) {
    const std::size_t row = job.rows[i];
    const std::byte* key = job.stored_keys + row * job.format.row_bytes();
    const std::byte* value = job.stored_values + row * job.format.row_bytes();
    const std::byte* key_cell = job.keys + job.cells[i] * job.key_stride_bytes;
    const std::byte* value_cell = job.values + job.cells[i] * job.value_stride_bytes;
    float* residual = residuals + 2 * i * elements;
    const std::size_t angles = row * rotations.pair_count();
    ForEveryElement(
        job.format,
        [&](std::size_t a, std::size_t b, std::size_t pair) {
          scalar::ResidualPair<kType>(
              key_cell, key, residual, a, b,
              {rotations.cos()[angles + pair], rotations.sin()[angles + pair]},
              {table.cos()[pair], table.sin()[pair]});
        },
        [&](std::size_t e) {
          scalar::ResidualElement<kType>(key_cell + e * kBytes, key + e * kBytes, residual + e);
        });
    for (std::size_t e = 0; e < elements; ++e) {
      scalar::ResidualElement<kType>(value_cell + e * job.value_element_stride_bytes,
                                     value + e * kBytes, residual + elements + e);
    }
  }
}

}  // namespace

RowRotations::RowRotations(std::span<const float> omega, std::uint32_t row_count)
    : row_count_(row_count), pair_count_(omega.size()) {
  cos_.reserve(row_count * pair_count_);
  sin_.reserve(row_count * pair_count_);
  for (std::uint32_t row = 0; row < row_count; ++row) {
    const RotationTable table(omega, row);
    cos_.insert(cos_.end(), table.cos().begin(), table.cos().end());
    sin_.insert(sin_.end(), table.sin().begin(), table.sin().end());
  }
}

void CompleteRowsReference(const RotationTable& table, const RowRotations& rotations,
                           const ChunkRows& rows, const CompletionUpdate& update) {
  switch (rows.format.type) {
    case ElementType::kFp16:
      return CompleteRowsOf<ElementType::kFp16>(table, rotations, rows, update);
    case ElementType::kBf16:
      return CompleteRowsOf<ElementType::kBf16>(table, rotations, rows, update);
    case ElementType::kFp32:
      return CompleteRowsOf<ElementType::kFp32>(table, rotations, rows, update);
  }
  KVC_ASSERT(false && "element type");
}

void MeasureResidualsReference(const RotationTable& table, const RowRotations& rotations,
                               const ChunkRows& rows, float* residuals) {
  switch (rows.format.type) {
    case ElementType::kFp16:
      return MeasureResidualsOf<ElementType::kFp16>(table, rotations, rows, residuals);
    case ElementType::kBf16:
      return MeasureResidualsOf<ElementType::kBf16>(table, rotations, rows, residuals);
    case ElementType::kFp32:
      return MeasureResidualsOf<ElementType::kFp32>(table, rotations, rows, residuals);
  }
  KVC_ASSERT(false && "element type");
}

}  // namespace kvcommons
