#include "store/library.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "store/block_record.h"
#include "store/byte_codec.h"

namespace kvcommons {
namespace {

constexpr FrameKind kLibraryFrame = {"library document", 0x4c72766b /* "kvrL" */, 2};
constexpr FrameKind kFirstFrame = {kLibraryFrame.name, kLibraryFrame.magic, 1};

// Of a variant; a record of version 1 has no others than the first.
constexpr std::uint8_t kReady = 1, kRenamed = 2;

Status CheckCount(const std::string& field, std::uint64_t value, std::uint64_t low,
                  std::uint64_t high) {
  if (value >= low && value <= high) return Status();
  return InvalidArgument(field + " is " + std::to_string(value) + "; the limit is " +
                         std::to_string(low) + " to " + std::to_string(high));
}

Status CheckVariant(const LibraryVariant& variant) {
  KVC_RETURN_IF_ERROR(
      CheckCount("variant's kind", static_cast<std::uint64_t>(variant.root.kind), 1, kMaxRootKind));
  return CheckCount("variant's neighbours", variant.neighbours.size(), 0,
                    variant.root.kind == RootKind::kNear ? LibraryDocument::kMaxNeighbours : 0);
}

void PutVariant(const LibraryVariant& variant, ByteWriter& writer) {
  writer.Put(variant.root.kind);
  writer.Put(variant.root.id);
  writer.Put(variant.set);
  writer.Put(variant.preface_count);
  writer.Put(variant.prepare_us);
  writer.Put(
      static_cast<std::uint8_t>((variant.ready ? kReady : 0) | (variant.renamed ? kRenamed : 0)));
  writer.Put(static_cast<std::uint64_t>(variant.neighbours.size()));
  for (const ContentKey& neighbour : variant.neighbours) writer.Put(neighbour);
}

bool GetVariant(ByteReader& reader, std::uint8_t known_flags, LibraryVariant* variant) {
  std::uint8_t kind = 0, flags = 0;
  std::uint64_t count = 0;
  const bool whole = reader.Get(&kind) && reader.Get(&variant->root.id) &&
                     reader.Get(&variant->set) && reader.Get(&variant->preface_count) &&
                     reader.Get(&variant->prepare_us) && reader.Get(&flags) &&
                     (flags & ~known_flags) == 0 && reader.Get(&count) &&
                     count <= LibraryDocument::kMaxNeighbours;
  if (!whole) return false;
  variant->root.kind = static_cast<RootKind>(kind);
  variant->ready = (flags & kReady) != 0;
  variant->renamed = (flags & kRenamed) != 0;
  variant->neighbours.resize(count);
  return std::all_of(variant->neighbours.begin(), variant->neighbours.end(),
                     [&](ContentKey& neighbour) { return reader.Get(&neighbour); });
}

// Reads a count and that many elements.
template <typename T, typename GetOne>
bool GetList(ByteReader& reader, std::vector<T>* values, std::size_t max_count, GetOne get_one) {
  std::uint64_t count = 0;
  if (!reader.Get(&count) || count > max_count) return false;
  values->resize(count);
  return std::all_of(values->begin(), values->end(), get_one);
}

}  // namespace

LibraryVariant* LibraryDocument::Find(RootKind kind, const RootId& set) {
  const auto found = std::find_if(variants.begin(), variants.end(), [&](const LibraryVariant& v) {
    return v.root.kind == kind && v.set == set;
  });
  return found == variants.end() ? nullptr : &*found;
}

const LibraryVariant* LibraryDocument::Find(RootKind kind, const RootId& set) const {
  return const_cast<LibraryDocument*>(this)->Find(kind, set);
}

bool LibraryDocument::CountTogether(const DocumentKey& other) {
  auto at = std::find_if(neighbours.begin(), neighbours.end(),
                         [&](const LibraryNeighbour& n) { return n.document == other; });
  if (at == neighbours.end() && neighbours.size() < kMaxNeighbours) {
    at = neighbours.insert(neighbours.end(), {other, 0});
  } else if (at == neighbours.end()) {
    at = std::min_element(
        neighbours.begin(), neighbours.end(),
        [](const LibraryNeighbour& a, const LibraryNeighbour& b) { return a.count < b.count; });
    at->document = other;
  }
  if (at->count < std::numeric_limits<std::uint32_t>::max()) ++at->count;
  return std::has_single_bit(at->count);
}

std::vector<BlockKey> BlocksOf(const LibraryDocument& document, const ChainRoot& root,
                               const ChainHasher& hasher) {
  return hasher.CanonicalChain(root, document.tokens, document.block_tokens);
}

Status CheckLibraryDocument(const LibraryDocument& document) {
  KVC_RETURN_IF_ERROR(
      CheckCount("name bytes", document.name.size(), 1, LibraryDocument::kMaxNameBytes));
  KVC_RETURN_IF_ERROR(CheckCount("tokens", document.tokens.size(), 1, LibraryDocument::kMaxTokens));
  KVC_RETURN_IF_ERROR(
      CheckCount("block_tokens", document.block_tokens, 1, BlockRecord::kMaxTokens));
  KVC_RETURN_IF_ERROR(
      CheckCount("related", document.related.size(), 0, LibraryDocument::kMaxRelated));
  for (const std::string& name : document.related) {
    KVC_RETURN_IF_ERROR(
        CheckCount("related name bytes", name.size(), 1, LibraryDocument::kMaxNameBytes));
  }
  KVC_RETURN_IF_ERROR(
      CheckCount("variants", document.variants.size(), 0, LibraryDocument::kMaxVariants));
  for (const LibraryVariant& variant : document.variants) {
    KVC_RETURN_IF_ERROR(CheckVariant(variant));
  }
  return CheckCount("neighbours", document.neighbours.size(), 0, LibraryDocument::kMaxNeighbours);
}

std::string EncodeLibraryDocument(const LibraryDocument& document) {
  ByteWriter writer;
  writer.Put(document.document);
  writer.Put(document.domain);
  writer.Put(document.fingerprint);
  writer.Put(document.block_tokens);
  writer.Put(document.created_us);
  writer.PutText(document.name);
  writer.PutArray(document.tokens);
  writer.Put(static_cast<std::uint64_t>(document.related.size()));
  for (const std::string& name : document.related) writer.PutText(name);
  writer.Put(static_cast<std::uint64_t>(document.variants.size()));
  for (const LibraryVariant& variant : document.variants) PutVariant(variant, writer);
  writer.Put(static_cast<std::uint64_t>(document.neighbours.size()));
  for (const LibraryNeighbour& neighbour : document.neighbours) {
    writer.Put(neighbour.document);
    writer.Put(neighbour.count);
  }
  return SealFrame(kLibraryFrame, writer.Take());
}

Result<LibraryDocument> DecodeLibraryDocument(std::string_view bytes) {
  Result<std::string_view> payload = OpenFrame(kLibraryFrame, bytes);
  bool is_first = false;
  if (!payload && payload.error().code() == Code::kUnsupported) {
    const Result<std::string_view> first = OpenFrame(kFirstFrame, bytes);
    is_first = first || first.error().code() != Code::kUnsupported;
    if (is_first) payload = first;
  }
  if (!payload) return Fail(payload.error());
  const std::uint8_t known_flags = is_first ? kReady : kReady | kRenamed;
  ByteReader reader(*payload);
  LibraryDocument document;
  const bool whole =
      reader.Get(&document.document) && reader.Get(&document.domain) &&
      reader.Get(&document.fingerprint) && reader.Get(&document.block_tokens) &&
      reader.Get(&document.created_us) &&
      reader.GetText(&document.name, LibraryDocument::kMaxNameBytes) &&
      reader.GetArray(&document.tokens, LibraryDocument::kMaxTokens) &&
      GetList(reader, &document.related, LibraryDocument::kMaxRelated,
              [&](std::string& name) {
                return reader.GetText(&name, LibraryDocument::kMaxNameBytes);
              }) &&
      GetList(reader, &document.variants, LibraryDocument::kMaxVariants,
              [&](LibraryVariant& variant) { return GetVariant(reader, known_flags, &variant); }) &&
      GetList(reader, &document.neighbours, LibraryDocument::kMaxNeighbours,
              [&](LibraryNeighbour& neighbour) {
                return reader.Get(&neighbour.document) && reader.Get(&neighbour.count);
              }) &&
      reader.remaining_bytes() == 0;
  if (!whole) return Fail(Corrupted("library document: fields do not fill the payload"));
  if (const Status status = CheckLibraryDocument(document); !status.ok()) {
    return Fail(Corrupted("library document: " + status.message()));
  }
  return document;
}

}  // namespace kvcommons
