#include "client/wire.h"

#include <capnp/any.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "base/assert.h"

namespace kvcommons {
namespace {

constexpr std::uint8_t kMaxStorageClass = 3;
constexpr std::uint8_t kMaxSpanKind = static_cast<std::uint8_t>(SpanKind::kCompute);

std::string Text(capnp::Text::Reader text) { return std::string(text.cStr(), text.size()); }

Status BadSpan(std::size_t index, const std::string& what) {
  return Internal("the daemon's plan is refused: span " + std::to_string(index) + " " + what);
}

std::array<std::uint8_t, 16> BytesOf(rpc::Hash128::Reader hash) {
  // Halves are little-endian on the wire whatever this machine is.
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<std::uint8_t>(hash.getLow() >> (8 * i));
    bytes[i + 8] = static_cast<std::uint8_t>(hash.getHigh() >> (8 * i));
  }
  return bytes;
}

// The same for the loadings of a block that is in the slab.
Status PlaceLoadings(rpc::PlanSpan::Reader message, std::size_t index, const ModelProfile& profile,
                     const Mapping& slab, PlannedSpan& span) {
  // What this client cannot read is as good as none.
  if (message.getLoadingsRank() == 0 || message.getLoadingsVersion() != kLoadingsVersion) {
    return Status();
  }
  span.loadings_layout = {profile.planes().plane_count(), span.block_tokens,
                          message.getLoadingsRank()};
  const std::uint64_t offset = message.getLoadingsOffset();
  const std::uint64_t bytes = span.loadings_layout.Bytes();
  if (span.loadings_layout.rank > kMaxLoadingsRank || offset % kLoadingsAlignment != 0 ||
      offset > slab.bytes() || bytes > slab.bytes() - offset) {
    return BadSpan(index, "has loadings of rank " + std::to_string(span.loadings_layout.rank) +
                              " at offset " + std::to_string(offset) + " of a slab of " +
                              std::to_string(slab.bytes()) + " bytes");
  }
  span.loadings = reinterpret_cast<const float*>(slab.data() + offset);
  return Status();
}

// Where the rows of a reused span lie, or why they cannot lie there.
Status PlaceSpan(rpc::PlanSpan::Reader message, std::size_t index, const ModelProfile& profile,
                 std::size_t token_bytes, const SlabFinder& find_slab, PlannedSpan& span,
                 std::vector<std::shared_ptr<Mapping>>& slabs) {
  span.block_tokens = message.getBlockTokens();
  span.first_row = message.getFirstRow();
  if (span.block_tokens == 0 || span.block_tokens > profile.block_tokens) {
    return BadSpan(index, "names a block of " + std::to_string(span.block_tokens) +
                              " tokens; the limit is 1 to " + std::to_string(profile.block_tokens));
  }
  const std::uint64_t row_count = static_cast<std::uint64_t>(span.end - span.begin);
  if (span.first_row + row_count > span.block_tokens) {
    return BadSpan(index, "ends at row " + std::to_string(span.first_row + row_count) +
                              " of a block of " + std::to_string(span.block_tokens) + " tokens");
  }
  Result<std::shared_ptr<Mapping>> slab = find_slab(message.getSlabId());
  if (!slab) return slab.error();
  const std::uint64_t block_bytes = token_bytes * span.block_tokens;
  const std::uint64_t offset = message.getOffset();
  if (offset > (*slab)->bytes() || block_bytes > (*slab)->bytes() - offset) {
    return BadSpan(index, "has a block of " + std::to_string(block_bytes) + " bytes at offset " +
                              std::to_string(offset) + " of slab " +
                              std::to_string(message.getSlabId()) + ", which has " +
                              std::to_string((*slab)->bytes()) + " bytes");
  }
  span.block = (*slab)->data() + offset;
  if (span.kind == SpanKind::kCanonical) {
    KVC_RETURN_IF_ERROR(PlaceLoadings(message, index, profile, **slab, span));
  }
  if (std::find(slabs.begin(), slabs.end(), *slab) == slabs.end()) slabs.push_back(*slab);
  return Status();
}

Status ReadPieces(rpc::PlanReply::Reader reply, const ModelProfile& profile,
                  std::size_t token_count, std::vector<PlannedPiece>& pieces) {
  const auto messages = reply.getPieces();
  pieces.reserve(messages.size());
  Position previous_end = 0;
  for (const auto message : messages) {
    const std::uint32_t begin = message.getBegin(), end = message.getEnd();
    if (begin < static_cast<std::uint32_t>(previous_end) || end <= begin || end > token_count ||
        end - begin > profile.block_tokens || message.getStorageClass() > kMaxStorageClass) {
      return Internal("the daemon's plan is refused: it asks for the piece [" +
                      std::to_string(begin) + ", " + std::to_string(end) + ") of class " +
                      std::to_string(message.getStorageClass()) + " after " +
                      std::to_string(previous_end) + " in a prompt of " +
                      std::to_string(token_count) + " tokens and blocks of " +
                      std::to_string(profile.block_tokens));
    }
    previous_end = static_cast<Position>(end);
    pieces.push_back({static_cast<Position>(begin), previous_end, message.getStorageClass()});
  }
  return Status();
}

}  // namespace

std::string TextFrom(capnp::Text::Reader text) { return Text(text); }

Status StatusOf(rpc::Error::Reader error) {
  const std::uint8_t code = error.getCode();
  if (code == 0 || code > static_cast<std::uint8_t>(Code::kInternal)) {
    return Internal("the daemon failed with code " + std::to_string(code) +
                    ", which this client does not know: " + Text(error.getMessage()));
  }
  return Status(static_cast<Code>(code), Text(error.getMessage()));
}

std::string HexOf(rpc::Hash128::Reader hash) { return Fingerprint{BytesOf(hash)}.ToHex(); }

Fingerprint FingerprintOf(rpc::Hash128::Reader hash) { return Fingerprint{BytesOf(hash)}; }

DaemonInfo InfoOf(rpc::DaemonInfo::Reader message) {
  DaemonInfo info;
  info.protocol_version = message.getProtocolVersion();
  info.version = Text(message.getVersion());
  info.tenant = Text(message.getTenant());
  info.boot_id = HexOf(message.getBootId());
  info.quota_bytes = message.getQuotaBytes();
  info.started_us = message.getStartedUs();
  info.durable = message.getDurable();
  return info;
}

void FillProfile(const ModelProfile& profile, rpc::ModelProfile::Builder message) {
  message.setName(profile.name);
  message.setWeightsSha256({profile.weights_sha256.data(), profile.weights_sha256.size()});
  message.setTokenizerSha256({profile.tokenizer_sha256.data(), profile.tokenizer_sha256.size()});
  message.setAdapters(profile.adapters);
  message.setNumericClass(profile.numeric_class);
  message.setLayerCount(profile.layer_count);
  message.setKvHeadCount(profile.kv_head_count);
  message.setHeadDim(profile.head_dim);
  message.setRotaryDim(profile.rotary_dim);
  message.setRotaryOffset(profile.rotary_offset);
  message.setPairLayout(static_cast<std::uint8_t>(profile.pair_layout));
  message.setElementType(static_cast<std::uint8_t>(profile.element_type));
  message.setBlockTokens(profile.block_tokens);
  message.setContextTokens(profile.context_tokens);
  message.setVocabularySize(profile.vocabulary_size);
  auto omega = message.initOmega(static_cast<unsigned>(profile.omega.size()));
  for (unsigned i = 0; i < omega.size(); ++i) omega.set(i, profile.omega[i]);
  message.setOmegaRefusal(profile.omega_refusal);
}

void FillGate(const GateReport& gate, rpc::GateReport::Builder message) {
  message.setPassed(gate.passed);
  message.setWorstKeyError(gate.worst_key_error);
  message.setWorstValueError(gate.worst_value_error);
  message.setWeakestControl(gate.weakest_control);
  message.setReason(gate.reason);
}

Status CheckTokens(std::span<const TokenId> tokens, const ModelProfile& profile) {
  if (!tokens.empty() && tokens.size() <= profile.context_tokens) return Status();
  return InvalidArgument("tokens has " + std::to_string(tokens.size()) +
                         " entries; the limit is 1 to " + std::to_string(profile.context_tokens) +
                         " (context_tokens)");
}

void FillTokens(std::span<const TokenId> tokens, capnp::List<std::int32_t>::Builder list) {
  // A new list of 32-bit numbers lies in the message as in memory, little-endian.
  const auto raw = capnp::AnyList::Reader(list.asReader()).getRawBytes();
  KVC_ASSERT(raw.size() == tokens.size_bytes());
  if (!tokens.empty()) {
    std::memcpy(const_cast<kj::byte*>(raw.begin()), tokens.data(), raw.size());
  }
}

void FillCosts(const CostModel& costs, rpc::CostModel::Builder message) {
  message.setPrefillUsPerToken(costs.prefill_us_per_token);
  message.setAttentionUsPerTokenK(costs.attention_us_per_token_k);
  message.setPlaceUsPerToken(costs.place_us_per_token);
  message.setRotateUsPerToken(costs.rotate_us_per_token);
  message.setRunUs(costs.run_us);
  message.setLookupUs(costs.lookup_us);
  message.setBlendUsPerToken(costs.blend_us_per_token);
}

void FillPlanRequest(const PlanRequest& request, rpc::PlanRequest::Builder message) {
  FillTokens(request.tokens, message.initTokens(static_cast<unsigned>(request.tokens.size())));
  message.setPolicy(static_cast<std::uint8_t>(request.policy));
  message.setDocument(request.document);
  message.setStoreTokens(request.store_tokens);
  FillCosts(request.costs, message.initCosts());
  message.setAfterRows(request.edit.after_rows);
  message.setMinRun(request.edit.min_run);
  message.setMaxGeneration(request.edit.max_generation);
  message.setMaxStaleShare(request.edit.max_stale_share);
  auto chunks = message.initChunks(static_cast<unsigned>(request.chunks.size()));
  for (unsigned i = 0; i < chunks.size(); ++i) {
    chunks[i].setBegin(static_cast<std::uint32_t>(request.chunks[i].begin));
    chunks[i].setEnd(static_cast<std::uint32_t>(request.chunks[i].end));
  }
  message.setVariants(request.variants);
  message.setMinChunkRows(request.compose.min_chunk_rows);
  message.setRecomputeShare(request.compose.recompute_share);
}

Status ReadPlan(rpc::PlanReply::Reader reply, const ModelProfile& profile, std::size_t token_count,
                const SlabFinder& find_slab, PlanHandle& plan,
                std::vector<std::shared_ptr<Mapping>>& slabs) {
  KVC_ASSERT(token_count <= static_cast<std::size_t>(std::numeric_limits<Position>::max()));
  const std::size_t token_bytes = profile.planes().TokenBytes();
  const auto messages = reply.getSpans();
  plan.spans.reserve(messages.size());
  for (const auto message : reply.getChunks()) {
    if (message.getVariant() > kMaxRootKind) {
      return Internal("the daemon's plan is refused: chunk " + std::to_string(plan.chunks.size()) +
                      " is of variant " + std::to_string(message.getVariant()) +
                      ", which this client does not know");
    }
    PlannedChunk& chunk = plan.chunks.emplace_back();
    chunk.variant = static_cast<RootKind>(message.getVariant());
    if (message.hasRoot()) chunk.root = HexOf(message.getRoot());
    chunk.document = Text(message.getDocument());
  }
  Position covered = 0;
  for (const auto message : messages) {
    const std::size_t index = plan.spans.size();
    const std::uint32_t begin = message.getBegin(), end = message.getEnd();
    if (begin != static_cast<std::uint32_t>(covered) || end <= begin || end > token_count) {
      return BadSpan(index, "is [" + std::to_string(begin) + ", " + std::to_string(end) +
                                ") after " + std::to_string(covered) + " in a prompt of " +
                                std::to_string(token_count) + " tokens");
    }
    if (message.getKind() > kMaxSpanKind) {
      return BadSpan(index, "is of kind " + std::to_string(message.getKind()) +
                                ", which this client does not know");
    }
    PlannedSpan& span = plan.spans.emplace_back();
    span.begin = covered;
    span.end = covered = static_cast<Position>(end);
    span.kind = static_cast<SpanKind>(message.getKind());
    span.delta = message.getDelta();
    span.reason = message.hasReason() || index == 0 ? Text(message.getReason())
                                                    : plan.spans[index - 1].reason;
    span.staleness.generation = message.getGeneration();
    span.staleness.edited_tokens_left = message.getEditedTokensLeft();
    span.staleness.min_distance_tokens = message.getMinDistanceTokens();
    if (span.kind == SpanKind::kCompute) continue;
    if (span.kind == SpanKind::kCanonical) {
      if (message.getChunk() >= plan.chunks.size()) {
        return BadSpan(index, "is of chunk " + std::to_string(message.getChunk()) +
                                  "; the plan has " + std::to_string(plan.chunks.size()));
      }
      span.chunk = message.getChunk();
      span.chunk_row = static_cast<Position>(message.getChunkRow());
      span.variant = plan.chunks[span.chunk].variant;
      span.root = plan.chunks[span.chunk].root;
    }
    if (span.delta != 0 && (span.kind == SpanKind::kExact || profile.omega.empty())) {
      return BadSpan(index, "moves keys by " + std::to_string(span.delta) +
                                ", but it is exact or the model's keys cannot be moved");
    }
    KVC_RETURN_IF_ERROR(PlaceSpan(message, index, profile, token_bytes, find_slab, span, slabs));
  }
  if (static_cast<std::size_t>(covered) != token_count || plan.spans.empty() ||
      plan.spans.back().kind != SpanKind::kCompute) {
    return Internal("the daemon's plan is refused: it covers " + std::to_string(covered) + " of " +
                    std::to_string(token_count) + " tokens, or does not end in a computed one");
  }
  KVC_RETURN_IF_ERROR(ReadPieces(reply, profile, token_count, plan.pieces));
  plan.exact_rows = reply.getExactRows();
  plan.moved_rows = reply.getMovedRows();
  plan.canonical_rows = reply.getCanonicalRows();
  plan.anchored_rows = reply.getAnchoredRows();
  plan.computed_rows = reply.getComputedRows();
  plan.predicted_us = reply.getPredictedUs();
  plan.prefill_us = reply.getPrefillUs();
  plan.took_us = reply.getTookUs();
  plan.loaded_blocks = reply.getLoadedBlocks();
  plan.loaded_bytes = reply.getLoadedBytes();
  plan.loaded_us = reply.getLoadedUs();
  plan.parent_revision = reply.getParentRevision();
  plan.explanation = Text(reply.getExplanation());
  return Status();
}

RootKind RootKindOf(std::uint8_t kind) {
  return kind <= kMaxRootKind ? static_cast<RootKind>(kind) : RootKind::kEmpty;
}

LibraryListing ListingOf(rpc::LibraryDocument::Reader message) {
  LibraryListing listing;
  listing.name = Text(message.getName());
  listing.content_key = HexOf(message.getContentKey());
  listing.tokens = message.getTokenCount();
  listing.created_us = message.getCreatedUs();
  for (const auto name : message.getRelated()) listing.related.push_back(Text(name));
  for (const auto variant : message.getVariants()) {
    listing.variants.push_back({RootKindOf(variant.getKind()), HexOf(variant.getRoot()),
                                variant.getPrefaces(), variant.getPrepareUs(), variant.getReady()});
  }
  return listing;
}

Listing ListingOf(capnp::List<rpc::BlockInfo>::Reader blocks,
                  capnp::List<rpc::DocumentInfo>::Reader documents) {
  Listing listing;
  listing.blocks.reserve(blocks.size());
  for (const auto message : blocks) {
    BlockListing& block = listing.blocks.emplace_back();
    block.key = Text(message.getKey());
    block.storage_class = message.getStorageClass();
    block.tokens = message.getTokens();
    block.pins = message.getPins();
    block.origin = message.getOrigin();
    block.bytes = message.getBytes();
    block.in_memory = message.getInMemory();
    block.on_disk = message.getOnDisk();
    block.created_us = message.getCreatedUs();
  }
  listing.documents.reserve(documents.size());
  for (const auto message : documents) {
    DocumentListing& document = listing.documents.emplace_back();
    document.key = Text(message.getKey());
    document.name = Text(message.getName());
    document.revision = message.getRevision();
    document.tokens = message.getTokens();
    document.created_us = message.getCreatedUs();
  }
  return listing;
}

}  // namespace kvcommons
