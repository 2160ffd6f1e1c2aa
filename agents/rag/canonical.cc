#include "agents/rag/canonical.h"

#include <algorithm>
#include <string>

#include "agents/engine/cache_memory.h"
#include "agents/engine/elapsed.h"
#include "align/complete/loadings.h"

namespace kvcommons {
namespace {

// Rows of one layer behind every preface, fp32, keys un-rotated: [preface][row][element].
struct LayerRows {
  std::vector<float> keys, values;
};

void MeanOf(std::span<const float> all, std::size_t count, std::span<float> mean) {
  std::fill(mean.begin(), mean.end(), 0.0F);
  for (std::size_t p = 0; p < count; ++p) {
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += all[p * mean.size() + i];
  }
  for (float& x : mean) x /= static_cast<float>(count);
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

Result<CanonicalMaker> CanonicalMaker::Create(Engine& engine,
                                              std::span<const std::vector<TokenId>> prefaces,
                                              const CanonicalMaker* like) {
  const ModelProfile& profile = engine.profile();
  if (prefaces.empty() || prefaces.size() > kMaxPrefaces) {
    return Fail(InvalidArgument("prefaces has " + std::to_string(prefaces.size()) +
                                " entries; the limit is 1 to " + std::to_string(kMaxPrefaces)));
  }
  if (profile.omega.empty()) {
    return Fail(Unsupported("keys of this model cannot be moved: " + profile.omega_refusal));
  }
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  CanonicalMaker maker(engine);
  for (const std::vector<TokenId>& tokens : prefaces) {
    if (tokens.empty()) {
      return Fail(InvalidArgument("preface " + std::to_string(maker.prefaces_.size()) +
                                  " is empty; it needs at least 1 token"));
    }
    const auto is_same = [&](const auto& known) { return known->tokens == tokens; };
    if (like != nullptr) {
      const auto known = std::find_if(like->prefaces_.begin(), like->prefaces_.end(), is_same);
      if (known != like->prefaces_.end()) {
        maker.prefaces_.push_back(*known);
        continue;
      }
    }
    auto preface = std::make_shared<Preface>(Preface{tokens, {}});
    engine.Clear();
    KVC_FAIL_IF_ERROR(engine.RunRest(tokens));
    preface->block.resize(profile.planes().BlockBytes(tokens.size()));
    KVC_FAIL_IF_ERROR(
        engine.ReadRows(0, static_cast<std::uint32_t>(tokens.size()), preface->block.data()));
    maker.prefaces_.push_back(std::move(preface));
    ++maker.prefilled_;
  }
  engine.Clear();
  maker.preface_ms_ = MsSince(clock, start_ns);
  return maker;
}

Result<CanonicalChunk> CanonicalMaker::Make(std::span<const TokenId> tokens) {
  if (tokens.empty()) return Fail(InvalidArgument("the chunk is empty; it needs at least 1 token"));
  const ModelProfile& profile = engine_->profile();
  for (const auto& preface : prefaces_) {
    if (preface->tokens.size() + tokens.size() > engine_->context_tokens()) {
      return Fail(InvalidArgument(
          "the chunk has " + std::to_string(tokens.size()) + " tokens; behind a preface of " +
          std::to_string(preface->tokens.size()) + " the limit is " +
          std::to_string(engine_->context_tokens() - preface->tokens.size())));
    }
  }
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  const std::size_t rows = tokens.size(), count = prefaces_.size();
  const std::size_t elements = std::size_t{profile.kv_head_count} * profile.head_dim;
  const std::size_t element = ElementBytes(profile.element_type), row_bytes = elements * element;
  const PlaneLayout planes = profile.planes();
  std::vector<std::vector<std::byte>> blocks;
  for (const auto& preface : prefaces_) {
    const auto begin = static_cast<std::uint32_t>(preface->tokens.size());
    std::vector<TokenId> prompt = preface->tokens;
    prompt.insert(prompt.end(), tokens.begin(), tokens.end());
    const PlaceSpan span{0, begin, 0, preface->block.data(), begin, 0};
    KVC_FAIL_IF_ERROR(engine_->Place({&span, 1}));
    KVC_FAIL_IF_ERROR(engine_->RunRest(prompt));
    blocks.emplace_back(planes.BlockBytes(rows));
    KVC_FAIL_IF_ERROR(engine_->ReadRows(static_cast<Position>(begin),
                                        static_cast<std::uint32_t>(rows), blocks.back().data()));
  }
  engine_->Clear();

  std::vector<RowRotation> forward;  // from 0 to the row's place in the chunk
  for (std::size_t row = 0; row < rows; ++row) {
    forward.emplace_back(profile, static_cast<Position>(row));
  }
  const bool learns = count > 1 && rows <= kMaxLoadingsRows;
  CanonicalChunk chunk;
  chunk.tokens.assign(tokens.begin(), tokens.end());
  chunk.prefaces = static_cast<std::uint32_t>(count);
  chunk.planes.resize(planes.BlockBytes(rows));
  std::vector<LayerLoadings> learned_layers;
  LayerRows layer_rows;
  layer_rows.keys.resize(count * rows * elements);
  layer_rows.values.resize(layer_rows.keys.size());
  std::vector<float> mean(rows * elements);
  for (std::size_t layer = 0; layer < profile.layer_count; ++layer) {
    for (std::size_t p = 0; p < count; ++p) {
      const auto begin = static_cast<Position>(prefaces_[p]->tokens.size());
      for (std::size_t row = 0; row < rows; ++row) {
        const std::size_t to = (p * rows + row) * elements;
        const auto load = [&](std::size_t plane, std::vector<float>& into) {
          LoadRow(profile.element_type,
                  blocks[p].data() + planes.PlaneOffset(plane, rows) + row * row_bytes, element,
                  std::span(into).subspan(to, elements));
        };
        load(2 * layer, layer_rows.keys);
        load(2 * layer + 1, layer_rows.values);
        RowRotation(profile, -(begin + static_cast<Position>(row)))
            .Apply(std::span(layer_rows.keys).subspan(to, elements));
      }
    }
    const auto store = [&](std::size_t plane) {
      for (std::size_t row = 0; row < rows; ++row) {
        StoreRow(profile.element_type, std::span(mean).subspan(row * elements, elements),
                 chunk.planes.data() + planes.PlaneOffset(plane, rows) + row * row_bytes, element);
      }
    };
    MeanOf(layer_rows.keys, count, mean);
    for (std::size_t row = 0; row < rows; ++row) {
      forward[row].Apply(std::span(mean).subspan(row * elements, elements));
    }
    store(2 * layer);
    MeanOf(layer_rows.values, count, mean);
    store(2 * layer + 1);
    if (!learns) continue;
    PrefaceRows deviations;
    deviations.preface_count = chunk.prefaces;
    deviations.row_count = static_cast<std::uint32_t>(rows);
    deviations.row_elements = static_cast<std::uint32_t>(elements);
    deviations.keys = layer_rows.keys;
    deviations.values = layer_rows.values;
    auto learned = LearnLoadings(deviations);
    if (!learned) return Fail(learned.error());
    learned_layers.push_back(std::move(*learned));
  }
  if (learns) {
    auto mean_loadings = MeanLoadings(learned_layers);
    if (!mean_loadings) return Fail(mean_loadings.error());
    chunk.rank = mean_loadings->rank;
    const auto add = [&chunk](const PlaneLoadings& plane) {
      chunk.loadings.insert(chunk.loadings.end(), plane.u.begin(), plane.u.end());
      chunk.loadings.push_back(plane.residue);
    };
    for (const LayerLoadings& layer : learned_layers) {
      add(layer.keys);
      add(layer.values);
    }
    add(*mean_loadings);
  }
  chunk.prepare_ms = MsSince(clock, start_ns);
  return chunk;
}

}  // namespace kvcommons
