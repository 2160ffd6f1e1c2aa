#include "agents/rag/kept_chunks.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

class KeptChunksTest : public ::testing::Test {
 protected:
  KeptChunksTest() : folder_(::testing::TempDir() + "kept_chunks") {
    std::filesystem::remove_all(folder_);
  }
  ~KeptChunksTest() override { std::filesystem::remove_all(folder_); }

  KeptChunks Open(const std::string& made_with = R"({"model":"a"})") {
    auto kept = KeptChunks::Open(folder_, made_with);
    EXPECT_TRUE(kept) << kept.error().ToString();
    return *kept;
  }

  static PreparedChunks Two() {
    PreparedChunks prepared;
    prepared.prepare_ms = 12.5;
    prepared.chunks.resize(2);
    prepared.chunks[0].tokens = {1, 2, 3};
    prepared.chunks[0].planes.assign(60, std::byte{7});
    prepared.chunks[0].loadings = {0.5F, -1, 2};
    prepared.chunks[0].rank = 1;
    prepared.chunks[0].prefaces = 8;
    prepared.chunks[1].tokens = {4};
    prepared.chunks[1].planes.assign(20, std::byte{9});
    prepared.chunks[1].prefaces = 1;
    return prepared;
  }

  const std::vector<std::vector<TokenId>> tokens_{{1, 2, 3}, {4}};
  const std::string folder_;
};

TEST_F(KeptChunksTest, WhatIsKeptIsFoundAgain) {
  ASSERT_TRUE(Open().Keep("musique/1#0 near", Two()).ok());
  const auto found = Open().Find("musique/1#0 near", tokens_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->prepare_ms, 12.5);
  ASSERT_EQ(found->chunks.size(), 2U);
  const PreparedChunks two = Two();
  for (std::size_t i = 0; i < 2; ++i) {
    const CanonicalChunk &was = two.chunks[i], &is = found->chunks[i];
    EXPECT_EQ(is.tokens, was.tokens);
    EXPECT_EQ(is.planes, was.planes);
    EXPECT_EQ(is.loadings, was.loadings);
    EXPECT_EQ(is.rank, was.rank);
    EXPECT_EQ(is.prefaces, was.prefaces);
  }
  EXPECT_FALSE(Open().Find("musique/1#0 mean", tokens_)) << "another name";
}

TEST_F(KeptChunksTest, OtherTokensAreNotFound) {
  ASSERT_TRUE(Open().Keep("one", Two()).ok());
  EXPECT_FALSE(Open().Find("one", std::vector<std::vector<TokenId>>{{1, 2, 3}, {5}}));
  EXPECT_FALSE(Open().Find("one", std::vector<std::vector<TokenId>>{{1, 2, 3}}));
}

TEST_F(KeptChunksTest, AFileThatIsCutOffOrDamagedAtAnyByteIsNotFound) {
  ASSERT_TRUE(Open().Keep("one", Two()).ok());
  const std::string path = folder_ + "/one.chunks";
  std::ifstream file(path, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(file), {}};
  const auto found_with = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    return Open().Find("one", tokens_).has_value();
  };
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(found_with(whole.substr(0, size))) << size;
  }
  const std::size_t body = whole.find('\n') + 1;
  for (std::size_t at = body; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_FALSE(found_with(damaged)) << at;
  }
  // A length beyond the file is not made room for.
  std::string huge = whole;
  huge.replace(huge.find("\"plane_bytes\":60"), 16, "\"plane_bytes\":6000000000000");
  EXPECT_FALSE(found_with(huge));
  EXPECT_TRUE(found_with(whole));
}

TEST_F(KeptChunksTest, AFolderIsOfOneWayOfMakingThem) {
  Open(R"({"model":"a"})");
  Open(R"({"model":"a"})");
  const auto other = KeptChunks::Open(folder_, R"({"model":"b"})");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(other.error().ToString(), HasSubstr(R"({"model":"b"})"));
  EXPECT_THAT(other.error().ToString(), HasSubstr("use another folder"));
}

TEST_F(KeptChunksTest, AFolderThatCannotBeMadeIsSaid) {
  std::ofstream(folder_) << "a file";
  const auto kept = KeptChunks::Open(folder_ + "/in_it", "{}");
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace kvcommons
