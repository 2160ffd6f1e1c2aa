#include "daemon/wire.h"

#include <capnp/any.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

namespace kvcommons {
namespace {

std::string_view ViewOf(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

kj::StringPtr Ptr(const std::string& text) { return {text.c_str(), text.size()}; }

Status CheckLength(std::string_view field, std::size_t size, std::size_t max) {
  if (size <= max) return Status();
  return InvalidArgument(std::string(field) + " has " + std::to_string(size) +
                         " bytes; the limit is " + std::to_string(max));
}

Result<std::array<std::uint8_t, 32>> ReadDigest(std::string_view field,
                                                capnp::Data::Reader reader) {
  std::array<std::uint8_t, 32> digest;
  if (reader.size() != digest.size()) {
    return Fail(InvalidArgument(std::string(field) + " has " + std::to_string(reader.size()) +
                                " bytes; it must have 32"));
  }
  std::memcpy(digest.data(), reader.begin(), digest.size());
  return digest;
}

Result<double> ReadCost(std::string_view field, double value) {
  if (std::isfinite(value) && value >= 0 && value <= kMaxCostUs) return value;
  return Fail(InvalidArgument(std::string(field) + " is " + std::to_string(value) +
                              "; the limit is 0 to 1e9 microseconds"));
}

}  // namespace

Status ReadCosts(rpc::CostModel::Reader reader, CostModel& costs) {
  const std::pair<std::string_view, std::pair<double, double*>> fields[] = {
      {"prefillUsPerToken", {reader.getPrefillUsPerToken(), &costs.prefill_us_per_token}},
      {"attentionUsPerTokenK", {reader.getAttentionUsPerTokenK(), &costs.attention_us_per_token_k}},
      {"placeUsPerToken", {reader.getPlaceUsPerToken(), &costs.place_us_per_token}},
      {"rotateUsPerToken", {reader.getRotateUsPerToken(), &costs.rotate_us_per_token}},
      {"runUs", {reader.getRunUs(), &costs.run_us}},
      {"lookupUs", {reader.getLookupUs(), &costs.lookup_us}},
      {"blendUsPerToken", {reader.getBlendUsPerToken(), &costs.blend_us_per_token}},
  };
  for (const auto& [name, field] : fields) {
    const auto value = ReadCost(name, field.first);
    if (!value) return value.error();
    *field.second = *value;
  }
  return Status();
}

namespace {

// What only a composed plan has.
Status ReadChunks(rpc::PlanRequest::Reader reader, PromptRequest& request) {
  const auto chunks = reader.getChunks();
  if (request.policy != Policy::kCompose) {
    if (chunks.size() == 0 && reader.getVariants() == 0) return Status();
    return InvalidArgument("chunks has " + std::to_string(chunks.size()) +
                           " entries and variants is " + std::to_string(reader.getVariants()) +
                           "; only policy 3 (compose) takes any");
  }
  if (!request.document.empty()) {
    return InvalidArgument("document is '" + request.document +
                           "'; a composed prompt is no revision of one");
  }
  if (chunks.size() > ChunkRange::kMaxChunks) {
    return OutOfRange("chunks' length", chunks.size(), 0, ChunkRange::kMaxChunks);
  }
  std::uint32_t end = 0;
  for (const auto chunk : chunks) {
    if (chunk.getBegin() < end || chunk.getEnd() <= chunk.getBegin() ||
        chunk.getEnd() > request.tokens.size()) {
      return InvalidArgument("chunks[" + std::to_string(request.chunks.size()) + "] is [" +
                             std::to_string(chunk.getBegin()) + ", " +
                             std::to_string(chunk.getEnd()) + "); it must lie in [" +
                             std::to_string(end) + ", " + std::to_string(request.tokens.size()) +
                             ") and not be empty");
    }
    end = chunk.getEnd();
    request.chunks.push_back(
        {static_cast<Position>(chunk.getBegin()), static_cast<Position>(chunk.getEnd())});
  }
  KVC_RETURN_IF_ERROR(CheckVariants(reader.getVariants()));
  request.variants = reader.getVariants();
  request.compose.min_chunk_rows = reader.getMinChunkRows();
  return Status();
}

}  // namespace

Status CheckVariants(std::uint32_t variants) {
  constexpr std::uint32_t kAll = (2u << kMaxRootKind) - 2;
  if ((variants & ~kAll) == 0) return Status();
  return InvalidArgument("variants is " + std::to_string(variants) +
                         "; the limit is a sum of 2 (sink), 4 (system), 8 (warm), 16 (mean) and "
                         "32 (near), or 0");
}

void WriteError(rpc::Error::Builder builder, const Status& status) {
  builder.setCode(static_cast<std::uint8_t>(status.code()));
  builder.setMessage(Ptr(status.message()));
}

Status OutOfRange(std::string_view field, std::uint64_t value, std::uint64_t min,
                  std::uint64_t max) {
  return InvalidArgument(std::string(field) + " is " + std::to_string(value) + "; the limit is " +
                         std::to_string(min) + " to " + std::to_string(max));
}

Result<ModelProfile> ReadProfile(rpc::ModelProfile::Reader reader) {
  ModelProfile profile;
  profile.name = ViewOf(reader.getName());
  profile.adapters = ViewOf(reader.getAdapters());
  profile.numeric_class = ViewOf(reader.getNumericClass());
  profile.omega_refusal = ViewOf(reader.getOmegaRefusal());
  const auto weights = ReadDigest("weightsSha256", reader.getWeightsSha256());
  if (!weights) return Fail(weights.error());
  profile.weights_sha256 = *weights;
  const auto tokenizer = ReadDigest("tokenizerSha256", reader.getTokenizerSha256());
  if (!tokenizer) return Fail(tokenizer.error());
  profile.tokenizer_sha256 = *tokenizer;
  profile.layer_count = reader.getLayerCount();
  profile.kv_head_count = reader.getKvHeadCount();
  profile.head_dim = reader.getHeadDim();
  profile.rotary_dim = reader.getRotaryDim();
  profile.rotary_offset = reader.getRotaryOffset();
  if (reader.getPairLayout() > static_cast<std::uint8_t>(PairLayout::kInterleaved)) {
    return Fail(OutOfRange("pairLayout", reader.getPairLayout(), 0, 1));
  }
  profile.pair_layout = static_cast<PairLayout>(reader.getPairLayout());
  if (reader.getElementType() > static_cast<std::uint8_t>(ElementType::kFp32)) {
    return Fail(OutOfRange("elementType", reader.getElementType(), 0, 2));
  }
  profile.element_type = static_cast<ElementType>(reader.getElementType());
  profile.block_tokens = reader.getBlockTokens();
  profile.context_tokens = reader.getContextTokens();
  profile.vocabulary_size = reader.getVocabularySize();
  const auto omega = reader.getOmega();
  if (omega.size() > kMaxOmegaCount) {
    return Fail(OutOfRange("omega's length", omega.size(), 0, kMaxOmegaCount));
  }
  profile.omega.reserve(omega.size());
  for (const float value : omega) profile.omega.push_back(value);
  KVC_FAIL_IF_ERROR(Validate(profile));
  // One block must fit the store's limit for a record, whatever the shape.
  const PlaneLayout planes = profile.planes();
  if (planes.plane_count() > BlockRecord::kMaxPlanes) {
    return Fail(OutOfRange("planes", planes.plane_count(), 1, BlockRecord::kMaxPlanes));
  }
  if (planes.BlockBytes(profile.block_tokens) > BlockRecord::kMaxBlockBytes) {
    return Fail(OutOfRange("bytes of a block", planes.BlockBytes(profile.block_tokens), 1,
                           BlockRecord::kMaxBlockBytes));
  }
  return profile;
}

Result<GateReport> ReadGate(rpc::GateReport::Reader reader) {
  GateReport gate;
  gate.passed = reader.getPassed();
  gate.worst_key_error = reader.getWorstKeyError();
  gate.worst_value_error = reader.getWorstValueError();
  gate.weakest_control = reader.getWeakestControl();
  const auto reason = ViewOf(reader.getReason());
  KVC_FAIL_IF_ERROR(CheckLength("gate.reason", reason.size(), 1024));
  gate.reason = reason;
  return gate;
}

Result<std::vector<TokenId>> ReadTokens(capnp::List<std::int32_t>::Reader reader,
                                        const ModelProfile& profile) {
  return ReadTokens("tokens", reader, 1, profile.context_tokens, profile);
}

Result<std::vector<TokenId>> ReadTokens(std::string_view field,
                                        capnp::List<std::int32_t>::Reader reader,
                                        std::size_t min_tokens, std::size_t max_tokens,
                                        const ModelProfile& profile) {
  if (reader.size() < min_tokens || reader.size() > max_tokens) {
    return Fail(OutOfRange(std::string(field) + "' length", reader.size(), min_tokens, max_tokens));
  }
  std::vector<TokenId> tokens(reader.size());
  const capnp::AnyList::Reader list(reader);
  if (tokens.empty()) return tokens;
  if (list.getElementSize() == capnp::ElementSize::FOUR_BYTES) {
    // As they lie in the message, little-endian as we are; one by one takes a third of the call.
    std::memcpy(tokens.data(), list.getRawBytes().begin(), tokens.size() * sizeof(TokenId));
  } else {
    for (std::uint32_t i = 0; i < reader.size(); ++i) tokens[i] = reader[i];
  }
  const auto is_bad = [&](TokenId id) {  // negative ids, too
    return static_cast<std::uint32_t>(id) >= profile.vocabulary_size;
  };
  // The largest of sixteen lanes, without a way out, so that it is vector code.
  std::uint32_t largest[16] = {};
  std::size_t i = 0;
  for (; i + 16 <= tokens.size(); i += 16) {
    for (std::size_t lane = 0; lane < 16; ++lane) {
      largest[lane] = std::max(largest[lane], static_cast<std::uint32_t>(tokens[i + lane]));
    }
  }
  for (; i < tokens.size(); ++i) {
    largest[0] = std::max(largest[0], static_cast<std::uint32_t>(tokens[i]));
  }
  if (*std::max_element(std::begin(largest), std::end(largest)) < profile.vocabulary_size) {
    return tokens;
  }
  const auto bad = std::find_if(tokens.begin(), tokens.end(), is_bad);
  return Fail(InvalidArgument(std::string(field) + "[" + std::to_string(bad - tokens.begin()) +
                              "] is " + std::to_string(*bad) + "; the limit is 0 to " +
                              std::to_string(profile.vocabulary_size - 1)));
}

Result<PromptRequest> ReadPlanRequest(rpc::PlanRequest::Reader reader,
                                      const ModelProfile& profile) {
  PromptRequest request;
  auto tokens = ReadTokens(reader.getTokens(), profile);
  if (!tokens) return Fail(tokens.error());
  request.tokens = std::move(*tokens);
  if (reader.getPolicy() > static_cast<std::uint8_t>(Policy::kCompose)) {
    return Fail(OutOfRange("policy", reader.getPolicy(), 0, 3));
  }
  request.policy = static_cast<Policy>(reader.getPolicy());
  const auto document = ViewOf(reader.getDocument());
  KVC_FAIL_IF_ERROR(
      CheckLength("document's name", document.size(), DocumentRevision::kMaxNameBytes));
  request.document = document;
  if (reader.getStoreTokens() > request.tokens.size()) {
    return Fail(OutOfRange("storeTokens", reader.getStoreTokens(), 0, request.tokens.size()));
  }
  request.store_tokens = static_cast<Position>(reader.getStoreTokens());
  if (reader.hasCosts()) KVC_FAIL_IF_ERROR(ReadCosts(reader.getCosts(), request.costs));
  request.edit.after_rows = reader.getAfterRows();
  request.edit.min_run = reader.getMinRun();
  request.edit.max_generation = reader.getMaxGeneration();
  const double share = reader.getMaxStaleShare();
  if (!(share >= 0 && share <= 1)) {
    return Fail(
        InvalidArgument("maxStaleShare is " + std::to_string(share) + "; the limit is 0 to 1"));
  }
  request.edit.max_stale_share = share;
  const double recomputed = reader.getRecomputeShare();
  if (!(recomputed >= 0 && recomputed <= 1)) {
    return Fail(InvalidArgument("recomputeShare is " + std::to_string(recomputed) +
                                "; the limit is 0 to 1"));
  }
  request.compose.recompute_share = recomputed;
  KVC_FAIL_IF_ERROR(ReadChunks(reader, request));
  return request;
}

void WritePlan(const PreparedPlan& plan, rpc::PlanReply::Builder builder) {
  auto spans = builder.initSpans(static_cast<unsigned>(plan.spans.size()));
  for (unsigned i = 0; i < spans.size(); ++i) {
    const LeasedSpan& part = plan.spans[i];
    auto span = spans[i];
    span.setBegin(static_cast<std::uint32_t>(part.span.begin));
    span.setEnd(static_cast<std::uint32_t>(part.span.end));
    span.setKind(static_cast<std::uint8_t>(part.span.kind));
    span.setDelta(part.span.delta);
    if (i == 0 || part.span.reason != plan.spans[i - 1].span.reason) {  // pointers to one text
      span.setReason(part.span.reason);
    }
    span.setGeneration(part.span.staleness.generation);
    span.setEditedTokensLeft(part.span.staleness.edited_tokens_left);
    span.setMinDistanceTokens(part.span.staleness.min_distance_tokens);
    if (part.pin == LeasedSpan::kNoBlock) continue;
    const PinnedBlock& pin = plan.pins[part.pin];
    span.setSlabId(pin.slab_id());
    span.setOffset(pin.slab_offset_bytes());
    span.setBlockTokens(static_cast<std::uint32_t>(pin.record().tokens.size()));
    span.setFirstRow(part.first_row);
    if (part.span.source != SpanSource::kCanonical) continue;
    span.setChunk(part.span.chunk);
    span.setChunkRow(static_cast<std::uint32_t>(part.span.parent_begin));
    const BlockRecord& record = pin.record();
    if (record.loadings().rank == 0) continue;
    span.setLoadingsRank(record.loadings_rank);
    span.setLoadingsVersion(record.loadings_version);
    span.setLoadingsOffset(pin.slab_offset_bytes() +
                           LoadingsLayout::OffsetBytes(record.plane_bytes()));
  }
  auto chunks = builder.initChunks(static_cast<unsigned>(plan.chunks.size()));
  for (unsigned i = 0; i < chunks.size(); ++i) {
    const CanonicalChunk& chunk = plan.chunks[i];
    if (!chunk.document.empty()) chunks[i].setDocument(Ptr(chunk.document));
    if (chunk.variants.empty()) continue;
    chunks[i].setVariant(static_cast<std::uint8_t>(chunk.variants.front().root.kind));
    WriteHash(chunk.variants.front().root.id, chunks[i].initRoot());
  }
  auto pieces = builder.initPieces(static_cast<unsigned>(plan.pieces.size()));
  for (unsigned i = 0; i < pieces.size(); ++i) {
    const WantedPiece& piece = plan.pieces[i];
    pieces[i].setBegin(static_cast<std::uint32_t>(piece.begin));
    pieces[i].setEnd(static_cast<std::uint32_t>(piece.end));
    pieces[i].setStorageClass(static_cast<std::uint8_t>(piece.storage_class));
  }
  builder.setExactRows(static_cast<std::uint32_t>(plan.plan.exact_rows));
  builder.setMovedRows(static_cast<std::uint32_t>(plan.plan.moved_rows));
  builder.setAnchoredRows(static_cast<std::uint32_t>(plan.plan.anchored_rows));
  builder.setCanonicalRows(static_cast<std::uint32_t>(plan.plan.canonical_rows));
  builder.setComputedRows(static_cast<std::uint32_t>(plan.plan.computed_rows));
  builder.setPredictedUs(plan.plan.predicted_us);
  builder.setPrefillUs(plan.plan.prefill_us);
  builder.setExplanation(Ptr(plan.notes + Explain(plan.plan)));
  builder.setParentRevision(plan.parent_revision);
  builder.setLoadedBlocks(plan.loaded_blocks);
  builder.setLoadedBytes(plan.loaded_bytes);
  builder.setLoadedUs(plan.loaded_us);
}

Result<std::array<std::uint8_t, 16>> ParseKey(std::string_view hex, const char* field) {
  std::array<std::uint8_t, 16> bytes{};
  if (hex.size() == 2 * bytes.size()) {
    std::size_t i = 0;
    for (; i < hex.size(); ++i) {
      const char c = hex[i];
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
      if (digit < 0) break;
      bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] << 4 | digit);
    }
    if (i == hex.size()) return bytes;
  }
  return Fail(InvalidArgument(std::string(field) + " is '" + std::string(hex.substr(0, 64)) +
                              "'; it must be 32 lower-case hexadecimal digits"));
}

}  // namespace kvcommons
