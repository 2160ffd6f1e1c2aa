#include "agents/rag/canonical.h"

#include <algorithm>
#include <string>

#include "agents/engine/cache_memory.h"
#include "base/clock.h"

namespace kvcommons {
namespace {

std::size_t RowElements(const ModelProfile& profile) {
  return std::size_t{profile.kv_head_count} * profile.head_dim;
}

}  // namespace

RowRotation::RowRotation(const ModelProfile& profile, Position delta)
    : format_(profile.key_row()), table_(profile.omega, delta) {
  format_.type = ElementType::kFp32;
}

void RowRotation::Apply(std::span<float> row) const {
  const std::vector<float> before(row.begin(), row.end());
  RotateRows(format_, table_, reinterpret_cast<const std::byte*>(before.data()),
             reinterpret_cast<std::byte*>(row.data()), 1, row.size_bytes());
}

Result<CanonicalChunk> MakeCanonical(Engine& engine, std::span<const TokenId> tokens,
                                     std::span<const std::vector<TokenId>> prefaces) {
  const ModelProfile& profile = engine.profile();
  if (tokens.empty()) return Fail(InvalidArgument("the chunk is empty; it needs at least 1 token"));
  if (prefaces.empty() || prefaces.size() > kMaxPrefaces) {
    return Fail(InvalidArgument("prefaces has " + std::to_string(prefaces.size()) +
                                " entries; the limit is 1 to " + std::to_string(kMaxPrefaces)));
  }
  if (profile.omega.empty()) {
    return Fail(Unsupported("keys of this model cannot be moved: " + profile.omega_refusal));
  }
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  const std::size_t rows = tokens.size(), elements = RowElements(profile);
  const std::size_t layers = profile.layer_count, plane = rows * elements;
  const PlaneLayout planes = profile.planes();
  std::vector<std::byte> block(planes.BlockBytes(rows));
  // [layer][preface][row][element]
  std::vector<float> keys(layers * prefaces.size() * plane), values(keys.size());
  for (std::size_t p = 0; p < prefaces.size(); ++p) {
    std::vector<TokenId> prompt = prefaces[p];
    const auto begin = static_cast<Position>(prompt.size());
    prompt.insert(prompt.end(), tokens.begin(), tokens.end());
    engine.Clear();
    KVC_FAIL_IF_ERROR(engine.RunRest(prompt));
    KVC_FAIL_IF_ERROR(engine.ReadRows(begin, static_cast<std::uint32_t>(rows), block.data()));
    for (std::size_t row = 0; row < rows; ++row) {
      const RowRotation back(profile, -(begin + static_cast<Position>(row)));
      for (std::size_t layer = 0; layer < layers; ++layer) {
        const std::size_t to = (layer * prefaces.size() + p) * plane + row * elements;
        const auto load = [&](std::size_t plane_index, std::vector<float>& into) {
          LoadRow(profile.element_type,
                  block.data() + planes.PlaneOffset(plane_index, rows) +
                      row * elements * ElementBytes(profile.element_type),
                  ElementBytes(profile.element_type), std::span(into).subspan(to, elements));
        };
        load(2 * layer, keys);
        load(2 * layer + 1, values);
        back.Apply(std::span(keys).subspan(to, elements));
      }
    }
  }
  engine.Clear();

  CanonicalChunk chunk;
  chunk.tokens.assign(tokens.begin(), tokens.end());
  chunk.prefaces = static_cast<std::uint32_t>(prefaces.size());
  const auto mean_of = [&](const std::vector<float>& all, std::size_t layer,
                           std::vector<float>& into) {
    for (std::size_t i = 0; i < plane; ++i) {
      double sum = 0;
      for (std::size_t p = 0; p < prefaces.size(); ++p) {
        sum += all[(layer * prefaces.size() + p) * plane + i];
      }
      into.push_back(static_cast<float>(sum / static_cast<double>(prefaces.size())));
    }
  };
  for (std::size_t layer = 0; layer < layers; ++layer) {
    mean_of(keys, layer, chunk.keys);
    mean_of(values, layer, chunk.values);
    if (prefaces.size() < 2) continue;
    PrefaceRows deviations;
    deviations.preface_count = chunk.prefaces;
    deviations.row_count = static_cast<std::uint32_t>(rows);
    deviations.row_elements = static_cast<std::uint32_t>(elements);
    const std::size_t count = prefaces.size() * plane;
    deviations.keys = std::span(keys).subspan(layer * count, count);
    deviations.values = std::span(values).subspan(layer * count, count);
    auto loadings = LearnLoadings(deviations);
    if (!loadings) return Fail(loadings.error());
    chunk.loadings.push_back(std::move(*loadings));
  }
  chunk.prepare_ms = static_cast<double>(clock.NowNs() - start_ns) / 1e6;
  return chunk;
}

std::vector<std::byte> BlockOf(const Engine& engine, const CanonicalChunk& chunk) {
  const ModelProfile& profile = engine.profile();
  const std::size_t rows = chunk.tokens.size(), elements = RowElements(profile);
  const std::size_t element = ElementBytes(profile.element_type);
  const PlaneLayout planes = profile.planes();
  std::vector<std::byte> block(planes.BlockBytes(rows));
  std::vector<float> key(elements);
  for (std::size_t row = 0; row < rows; ++row) {
    const RowRotation turn(profile, static_cast<Position>(row));
    for (std::size_t layer = 0; layer < profile.layer_count; ++layer) {
      const std::size_t from = (layer * rows + row) * elements;
      std::copy_n(chunk.keys.begin() + static_cast<std::ptrdiff_t>(from), elements, key.begin());
      turn.Apply(key);
      const std::size_t at = row * elements * element;
      StoreRow(profile.element_type, key, block.data() + planes.PlaneOffset(2 * layer, rows) + at,
               element);
      StoreRow(profile.element_type, std::span(chunk.values).subspan(from, elements),
               block.data() + planes.PlaneOffset(2 * layer + 1, rows) + at, element);
    }
  }
  return block;
}

}  // namespace kvcommons
