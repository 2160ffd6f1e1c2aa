// What these tests hold library records to: what was encoded decodes to an equal value, nothing
// else decodes, and the list of neighbours finds those that come often.

#include "store/library.h"

#include <gtest/gtest.h>

#include "store/byte_codec.h"

namespace kvcommons {
namespace {

template <typename Id>
Id IdOf(std::uint8_t first) {
  Id id;
  for (std::uint8_t& byte : id.bytes) byte = first++;
  return id;
}

LibraryVariant Variant(RootKind kind, std::size_t neighbours = 0) {
  LibraryVariant variant;
  variant.root = {kind, IdOf<RootId>(static_cast<std::uint8_t>(kind))};
  variant.set = IdOf<RootId>(7);
  variant.preface_count = 8;
  variant.prepare_us = 1234;
  variant.ready = true;
  for (std::size_t i = 0; i < neighbours; ++i) variant.neighbours.push_back(IdOf<ContentKey>(9));
  return variant;
}

LibraryDocument Sample() {
  LibraryDocument document;
  document.document = IdOf<DocumentKey>(1);
  document.name = "paper.txt";
  document.domain = IdOf<DomainId>(2);
  document.fingerprint = IdOf<Fingerprint>(3);
  document.block_tokens = 64;
  document.tokens = {5, 6, 7};
  document.created_us = 1'700'000'000'000'000;
  document.related = {"a", "b"};
  document.variants = {Variant(RootKind::kMean), Variant(RootKind::kNear, 2)};
  document.variants[1].renamed = true;
  document.neighbours = {{IdOf<DocumentKey>(4), 3}};
  return document;
}

Code CodeOf(const LibraryDocument& document) {
  const auto decoded = DecodeLibraryDocument(EncodeLibraryDocument(document));
  return decoded ? Code::kOk : decoded.error().code();
}

TEST(LibraryDocumentTest, DecodesToWhatWasEncoded) {
  const LibraryDocument document = Sample();
  const std::string bytes = EncodeLibraryDocument(document);
  const auto decoded = DecodeLibraryDocument(bytes);
  ASSERT_TRUE(decoded) << decoded.error().ToString();
  EXPECT_EQ(EncodeLibraryDocument(*decoded), bytes);
  EXPECT_EQ(decoded->name, "paper.txt");
  EXPECT_EQ(decoded->tokens, document.tokens);
  EXPECT_EQ(decoded->related, document.related);
  ASSERT_EQ(decoded->variants.size(), 2u);
  EXPECT_EQ(decoded->variants[1].root, document.variants[1].root);
  EXPECT_EQ(decoded->variants[1].neighbours, document.variants[1].neighbours);
  EXPECT_TRUE(decoded->variants[0].ready);
  EXPECT_FALSE(decoded->variants[0].renamed);
  EXPECT_TRUE(decoded->variants[1].renamed);
  ASSERT_EQ(decoded->neighbours.size(), 1u);
  EXPECT_EQ(decoded->neighbours[0].count, 3u);
}

TEST(LibraryDocumentTest, EveryChangedByteAndEveryTruncationIsRefused) {
  const std::string bytes = EncodeLibraryDocument(Sample());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_FALSE(DecodeLibraryDocument(damaged)) << i;
    EXPECT_FALSE(DecodeLibraryDocument(bytes.substr(0, i))) << i;
  }
}

TEST(LibraryDocumentTest, AnotherFormatVersionIsUnsupportedAndNamed) {
  std::string bytes = EncodeLibraryDocument(Sample());
  bytes[4] = 3;
  const auto decoded = DecodeLibraryDocument(bytes);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code(), Code::kUnsupported);
  EXPECT_EQ(decoded.error().message(),
            "library document: format version is 3; this release reads 2");
}

// A frame of the first version: magic, version, size, payload, checksum of what stands before it.
std::string AsFirstVersion(const LibraryDocument& document) {
  const std::string bytes = EncodeLibraryDocument(document);
  return SealFrame({"library document", 0x4c72766b, 1}, bytes.substr(16, bytes.size() - 32));
}

TEST(LibraryDocumentTest, RecordsOfTheFirstVersionAreReadWhichKnewNothingOfNames) {
  LibraryDocument document = Sample();
  EXPECT_FALSE(DecodeLibraryDocument(AsFirstVersion(document)));  // A flag that it had not.
  document.variants[1].renamed = false;
  const auto decoded = DecodeLibraryDocument(AsFirstVersion(document));
  ASSERT_TRUE(decoded) << decoded.error().ToString();
  EXPECT_EQ(EncodeLibraryDocument(*decoded), EncodeLibraryDocument(document));
  std::string torn = AsFirstVersion(document);
  torn[20] = static_cast<char>(torn[20] ^ 1);
  EXPECT_EQ(DecodeLibraryDocument(torn).error().code(), Code::kCorrupted);
}

TEST(LibraryDocumentTest, EveryFieldIsLimited) {
  const auto with = [](auto change) {
    LibraryDocument document = Sample();
    change(document);
    return CodeOf(document);
  };
  using D = LibraryDocument;
  EXPECT_EQ(with([](D& d) { d.name.clear(); }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.name.assign(D::kMaxNameBytes, 'x'); }), Code::kOk);
  EXPECT_EQ(with([](D& d) { d.name.assign(D::kMaxNameBytes + 1, 'x'); }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.tokens.clear(); }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.tokens.resize(D::kMaxTokens); }), Code::kOk);
  EXPECT_EQ(with([](D& d) { d.tokens.resize(D::kMaxTokens + 1); }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.block_tokens = 0; }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.block_tokens = 257; }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.related.assign(D::kMaxRelated, "x"); }), Code::kOk);
  EXPECT_EQ(with([](D& d) { d.related.assign(D::kMaxRelated + 1, "x"); }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.related = {""}; }), Code::kCorrupted);
  const LibraryVariant mean = Variant(RootKind::kMean);
  EXPECT_EQ(with([&](D& d) { d.variants.assign(D::kMaxVariants, mean); }), Code::kOk);
  EXPECT_EQ(with([&](D& d) { d.variants.assign(D::kMaxVariants + 1, mean); }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.variants = {Variant(RootKind::kEmpty)}; }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.variants = {Variant(static_cast<RootKind>(6))}; }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.variants = {Variant(RootKind::kMean, 1)}; }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.variants = {Variant(RootKind::kNear, 32)}; }), Code::kOk);
  EXPECT_EQ(with([](D& d) { d.variants = {Variant(RootKind::kNear, 33)}; }), Code::kCorrupted);
  EXPECT_EQ(with([](D& d) { d.neighbours.resize(D::kMaxNeighbours); }), Code::kOk);
  EXPECT_EQ(with([](D& d) { d.neighbours.resize(D::kMaxNeighbours + 1); }), Code::kCorrupted);
  LibraryDocument document = Sample();
  document.related.assign(33, "x");
  EXPECT_EQ(CheckLibraryDocument(document).message(), "related is 33; the limit is 0 to 32");
}

TEST(LibraryDocumentTest, CountsAreWorthWritingWhenTheyDouble) {
  LibraryDocument document = Sample();
  document.neighbours.clear();
  std::string told;
  for (int i = 1; i <= 8; ++i) {
    if (document.CountTogether(IdOf<DocumentKey>(50))) told += std::to_string(i) + " ";
  }
  EXPECT_EQ(told, "1 2 4 8 ");
  EXPECT_EQ(document.neighbours[0].count, 8u);
}

TEST(LibraryDocumentTest, ANeighbourThatComesOftenGetsIntoAFullList) {
  LibraryDocument document = Sample();
  document.neighbours.clear();
  for (std::uint8_t i = 0; i < LibraryDocument::kMaxNeighbours; ++i) {
    for (int times = 0; times < 2 + i; ++times) document.CountTogether(IdOf<DocumentKey>(i));
  }
  const auto newcomer = IdOf<DocumentKey>(200);
  document.CountTogether(newcomer);
  ASSERT_EQ(document.neighbours.size(), LibraryDocument::kMaxNeighbours);
  EXPECT_EQ(document.neighbours[0].document, newcomer);  // in the rarest one's place
  EXPECT_EQ(document.neighbours[0].count, 3u);           // whose count it inherited
}

}  // namespace
}  // namespace kvcommons
