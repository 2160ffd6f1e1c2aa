#include "store/document.h"

#include <limits>

#include "store/byte_codec.h"

namespace kvcommons {
namespace {

constexpr FrameKind kDocumentFrame = {"document", 0x4472766b /* "kvrD" */, 1};
constexpr std::size_t kSegmentBytes = 4 + 4 + 16 + 4 + 4 + 4 + 4 + 4;

Status OutOfRange(const std::string& field, std::uint64_t value, std::uint64_t low,
                  std::uint64_t high) {
  return InvalidArgument(field + " is " + std::to_string(value) + "; the limit is " +
                         std::to_string(low) + " to " + std::to_string(high));
}

Status CheckSegment(const DocumentSegment& segment, Position previous_end, std::size_t tokens) {
  const std::string span =
      "segment [" + std::to_string(segment.begin) + ", " + std::to_string(segment.end) + ")";
  if (segment.begin < previous_end || segment.end <= segment.begin ||
      static_cast<std::size_t>(segment.end) > tokens) {
    return InvalidArgument(span + " is not an ascending, disjoint span of the " +
                           std::to_string(tokens) + " tokens");
  }
  const auto rows = static_cast<std::uint64_t>(segment.end - segment.begin);
  if (segment.first_row + rows > BlockRecord::kMaxTokens) {
    return OutOfRange(span + ": its last row", segment.first_row + rows, 1,
                      BlockRecord::kMaxTokens);
  }
  if (segment.origin < 0 || static_cast<std::uint64_t>(segment.origin) + rows - 1 >
                                static_cast<std::uint64_t>(std::numeric_limits<Position>::max())) {
    return InvalidArgument(span + ": origin is " + std::to_string(segment.origin) +
                           "; positions must be 0 to 2^31 - 1");
  }
  return Status();
}

}  // namespace

Status CheckDocument(const DocumentRevision& revision) {
  if (revision.name.empty() || revision.name.size() > DocumentRevision::kMaxNameBytes) {
    return OutOfRange("name bytes", revision.name.size(), 1, DocumentRevision::kMaxNameBytes);
  }
  if (revision.revision == 0) return InvalidArgument("revision is 0; revisions count from 1");
  if (revision.tokens.size() > DocumentRevision::kMaxTokens) {
    return OutOfRange("tokens", revision.tokens.size(), 0, DocumentRevision::kMaxTokens);
  }
  if (revision.segments.size() > DocumentRevision::kMaxSegments) {
    return OutOfRange("segments", revision.segments.size(), 0, DocumentRevision::kMaxSegments);
  }
  Position previous_end = 0;
  for (const DocumentSegment& segment : revision.segments) {
    KVC_RETURN_IF_ERROR(CheckSegment(segment, previous_end, revision.tokens.size()));
    previous_end = segment.end;
  }
  return Status();
}

DocumentSummary Summarize(const DocumentRevision& revision) {
  return {revision.document, revision.name, revision.revision,
          static_cast<std::uint32_t>(revision.tokens.size()), revision.created_us};
}

std::string EncodeDocument(const DocumentRevision& revision) {
  ByteWriter writer;
  writer.Put(revision.document);
  writer.Put(revision.domain);
  writer.Put(revision.fingerprint);
  writer.Put(revision.revision);
  writer.Put(revision.created_us);
  writer.PutText(revision.name);
  writer.PutArray(revision.tokens);
  writer.Put(static_cast<std::uint64_t>(revision.segments.size()));
  for (const DocumentSegment& segment : revision.segments) {
    writer.Put(segment.begin);
    writer.Put(segment.end);
    writer.Put(segment.block);
    writer.Put(segment.first_row);
    writer.Put(segment.origin);
    writer.Put(segment.generation);
    writer.Put(segment.edited_tokens_left);
    writer.Put(segment.min_distance_tokens);
  }
  return SealFrame(kDocumentFrame, writer.Take());
}

Result<DocumentRevision> DecodeDocument(std::string_view bytes) {
  const Result<std::string_view> payload = OpenFrame(kDocumentFrame, bytes);
  if (!payload) return Fail(payload.error());
  ByteReader reader(*payload);
  DocumentRevision revision;
  std::uint64_t segment_count = 0;
  bool whole = reader.Get(&revision.document) && reader.Get(&revision.domain) &&
               reader.Get(&revision.fingerprint) && reader.Get(&revision.revision) &&
               reader.Get(&revision.created_us) &&
               reader.GetText(&revision.name, DocumentRevision::kMaxNameBytes) &&
               reader.GetArray(&revision.tokens, DocumentRevision::kMaxTokens) &&
               reader.Get(&segment_count) && segment_count <= DocumentRevision::kMaxSegments &&
               reader.remaining_bytes() == segment_count * kSegmentBytes;
  if (whole) revision.segments.resize(segment_count);
  for (DocumentSegment& segment : revision.segments) {
    whole = whole && reader.Get(&segment.begin) && reader.Get(&segment.end) &&
            reader.Get(&segment.block) && reader.Get(&segment.first_row) &&
            reader.Get(&segment.origin) && reader.Get(&segment.generation) &&
            reader.Get(&segment.edited_tokens_left) && reader.Get(&segment.min_distance_tokens);
  }
  if (!whole) return Fail(Corrupted("document: fields do not fill the payload"));
  if (const Status status = CheckDocument(revision); !status.ok()) {
    return Fail(Corrupted("document: " + status.message()));
  }
  return revision;
}

}  // namespace kvcommons
