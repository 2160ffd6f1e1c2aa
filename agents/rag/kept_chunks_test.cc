#include "agents/rag/kept_chunks.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

namespace kvcommons {
namespace {

class KeptChunksTest : public ::testing::Test {
 protected:
  // A folder for each test: they run side by side.
  KeptChunksTest()
      : folder_(::testing::TempDir() + "kept_chunks_" +
                ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
  }
  ~KeptChunksTest() override { std::filesystem::remove_all(folder_); }

  KeptChunks Open(const std::string& made_with = "model a") const {
    auto kept = KeptChunks::Open(folder_, made_with);
    EXPECT_TRUE(kept) << kept.error().ToString();
    return *kept;
  }

  static std::vector<CanonicalChunk> Two() {
    std::vector<CanonicalChunk> chunks(2);
    chunks[0].tokens = {1, 2, 3};
    chunks[0].planes.assign(60, std::byte{7});
    chunks[0].loadings = {0.5F, -1, 2, 0.25F};  // a layer: three rows and the residue
    chunks[0].rank = 1;
    chunks[0].prefaces = 8;
    chunks[1].tokens = {4};
    chunks[1].planes.assign(20, std::byte{9});
    chunks[1].prefaces = 1;
    return chunks;
  }

  std::string OnlyFile() const {
    return std::filesystem::directory_iterator(folder_)->path().string();
  }

  const std::vector<std::vector<TokenId>> tokens_{{1, 2, 3}, {4}};
  const std::string folder_;
};

TEST_F(KeptChunksTest, WhatIsKeptIsFoundAgain) {
  ASSERT_TRUE(Open().Keep("musique/1#0 near", Two()).ok());
  const auto found = Open().Find("musique/1#0 near", tokens_);
  ASSERT_TRUE(found);
  const std::vector<CanonicalChunk> two = Two();
  ASSERT_EQ(found->size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*found)[i].tokens, two[i].tokens);
    EXPECT_EQ((*found)[i].planes, two[i].planes);
    EXPECT_EQ((*found)[i].loadings, two[i].loadings);
    EXPECT_EQ((*found)[i].rank, two[i].rank);
    EXPECT_EQ((*found)[i].prefaces, two[i].prefaces);
  }
  // The same again takes the other's place.
  EXPECT_TRUE(Open().Keep("musique/1#0 near", Two()).ok());
  EXPECT_TRUE(Open().Find("musique/1#0 near", tokens_));
}

TEST_F(KeptChunksTest, OtherNamesTokensAndWaysOfMakingAreNotFound) {
  ASSERT_TRUE(Open().Keep("a b", Two()).ok());
  EXPECT_FALSE(Open().Find("a_b", tokens_));
  EXPECT_FALSE(Open().Find("a b", std::vector<std::vector<TokenId>>{{1, 2, 3}, {5}}));
  EXPECT_FALSE(Open().Find("a b", std::vector<std::vector<TokenId>>{{1, 2, 3}}));
  EXPECT_FALSE(Open("model b").Find("a b", tokens_));
  // Nor where a file has come into the place of theirs.
  const std::string file = OnlyFile();
  ASSERT_TRUE(Open("model b").Keep("a b", Two()).ok());
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    if (entry.path() != file) std::filesystem::rename(file, entry.path());
  }
  EXPECT_FALSE(Open("model b").Find("a b", tokens_));
}

TEST_F(KeptChunksTest, AFileThatIsCutOffOrDamagedAtAnyByteIsNotFound) {
  ASSERT_TRUE(Open().Keep("one", Two()).ok());
  const std::string path = OnlyFile();
  std::ifstream file(path, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(file), {}};
  const auto found_with = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    return Open().Find("one", tokens_).has_value();
  };
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(found_with(whole.substr(0, size))) << size;
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
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

TEST_F(KeptChunksTest, LoadingsThatDoNotFitTheirRowsAreNotFound) {
  const auto found_with = [&](std::uint32_t rank, std::size_t loadings) {
    std::vector<CanonicalChunk> chunks = Two();
    chunks[0].rank = rank;
    chunks[0].loadings.assign(loadings, 1);
    EXPECT_TRUE(Open().Keep("one", chunks).ok());
    return Open().Find("one", tokens_).has_value();
  };
  EXPECT_TRUE(found_with(1, 4));
  EXPECT_TRUE(found_with(2, 14)) << "two layers";
  EXPECT_FALSE(found_with(2, 13));
  EXPECT_FALSE(found_with(1, 0));
  EXPECT_FALSE(found_with(0, 4));
  EXPECT_TRUE(found_with(64, 3 * 64 + 1));
  EXPECT_FALSE(found_with(65, 3 * 65 + 1));
}

TEST_F(KeptChunksTest, WhatCannotBeWrittenIsSaidAndLeavesNothing) {
  std::ofstream(folder_) << "a file";
  const auto kept = KeptChunks::Open(folder_ + "/in_it", "model a");
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().code(), Code::kUnavailable);
  std::filesystem::remove(folder_);
  const KeptChunks gone = Open();
  std::filesystem::remove_all(folder_);
  EXPECT_EQ(gone.Keep("one", Two()).code(), Code::kUnavailable);
  EXPECT_FALSE(gone.Find("one", tokens_));
}

}  // namespace
}  // namespace kvcommons
