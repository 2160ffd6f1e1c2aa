#include "agents/rag/compose_chunk.h"

namespace kvcommons {
namespace {

// Rows of a part in the layer that `view` shows.
ChunkRows RowsOf(const LayerView& view, const ModelProfile& profile, const ChunkPart& part,
                 std::span<const std::uint32_t> rows, std::span<const std::uint32_t> cells) {
  const PlaneLayout planes = profile.planes();
  const std::size_t element = ElementBytes(view.type), row_bytes = view.row_elements * element;
  ChunkRows result;
  result.format = profile.key_row();
  result.stored_keys = part.planes + planes.PlaneOffset(2 * view.layer, part.block_tokens);
  result.stored_values = part.planes + planes.PlaneOffset(2 * view.layer + 1, part.block_tokens);
  result.rows = rows.data();
  result.cells = cells.data();
  result.row_count = rows.size();
  result.keys = view.key;
  result.values = view.value;
  result.key_stride_bytes = row_bytes;
  result.value_stride_bytes = view.value_transposed ? element : row_bytes;
  result.value_element_stride_bytes = view.value_transposed ? view.cell_count * element : element;
  return result;
}

}  // namespace

std::size_t ComposeChunk::rows() const {
  std::size_t sum = 0;
  for (const ChunkPart& part : parts) sum += part.block_tokens;
  return sum;
}

ComposeChunk ViewOf(const CanonicalChunk& chunk, Position begin) {
  const auto rows = static_cast<std::uint32_t>(chunk.tokens.size());
  const float* loadings = chunk.rank > 0 ? chunk.loadings.data() : nullptr;
  return {begin, {{chunk.planes.data(), rows, loadings}}, chunk.rank};
}

ChunkInLayer::ChunkInLayer(const LayerView& view, const ModelProfile& profile,
                           const RowRotations& rotations, const ComposeChunk& chunk)
    : view_(view),
      profile_(profile),
      rotations_(rotations),
      chunk_(chunk),
      to_prompt_(profile.omega, chunk.begin) {}

template <typename Visit>
void ChunkInLayer::ForParts(std::span<const std::size_t> rows, Visit visit) const {
  std::vector<std::uint32_t> in_part, cells;
  std::size_t first = 0, next = 0;
  for (const ChunkPart& part : chunk_.parts) {
    in_part.clear();
    cells.clear();
    for (; next < rows.size() && rows[next] < first + part.block_tokens; ++next) {
      in_part.push_back(static_cast<std::uint32_t>(rows[next] - first));
      cells.push_back(static_cast<std::uint32_t>(
          view_.cell_of_position[static_cast<std::size_t>(chunk_.begin) + rows[next]]));
    }
    if (!in_part.empty()) visit(first, RowsOf(view_, profile_, part, in_part, cells));
    first += part.block_tokens;
  }
}

void ChunkInLayer::TurnKeys(Position delta, std::size_t count, float* rows) const {
  if (delta == 0) return;
  const RowRotation turn(profile_, delta);
  const std::size_t elements = view_.row_elements;
  for (std::size_t i = 0; i < count; ++i) turn.Apply({rows + 2 * i * elements, elements});
}

std::vector<float> ChunkInLayer::Measure(std::span<const std::size_t> rows) const {
  std::vector<float> residuals(rows.size() * 2 * view_.row_elements);
  float* into = residuals.data();
  ForParts(rows, [&](std::size_t first, const ChunkRows& some) {
    MeasureResiduals(to_prompt_, rotations_, some, into);
    // From the part's frame to the chunk's.
    TurnKeys(-static_cast<Position>(first), some.row_count, into);
    into += some.row_count * 2 * view_.row_elements;
  });
  return residuals;
}

void ChunkInLayer::Correct(std::span<const std::size_t> rows, const RowLoadings& loadings,
                           std::vector<float> gain) const {
  std::size_t turned = 0;
  ForParts(rows, [&](std::size_t first, const ChunkRows& some) {
    TurnKeys(static_cast<Position>(first - turned), loadings.rank, gain.data());
    turned = first;
    const std::size_t at = first * loadings.rank;
    CompleteRows(to_prompt_, rotations_, some,
                 {loadings.rank, loadings.keys.data() + at, loadings.values.data() + at,
                  gain.data(), std::size_t{2} * view_.row_elements});
  });
}

}  // namespace kvcommons
