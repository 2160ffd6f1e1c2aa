#include "agents/engine/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace kvcommons {
namespace {

// A GGUF file written field by field, so that any field can lie.
class Writer {
 public:
  template <typename T>
  Writer& Number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& Text(const std::string& text) {
    Number<std::uint64_t>(text.size());
    bytes_ += text;
    return *this;
  }
  Writer& Head(std::int64_t tensors, std::int64_t keys) {
    bytes_ += "GGUF";
    return Number<std::uint32_t>(3).Number(tensors).Number(keys);
  }
  Writer& U32(const std::string& key, std::uint32_t value) {
    return Text(key).Number<std::int32_t>(4).Number(value);
  }
  Writer& String(const std::string& key, const std::string& value) {
    return Text(key).Number<std::int32_t>(8).Text(value);
  }
  Writer& Tokens(std::uint64_t claimed, std::uint64_t written) {
    Text("tokenizer.ggml.tokens").Number<std::int32_t>(9).Number<std::int32_t>(8).Number(claimed);
    for (std::uint64_t i = 0; i < written; ++i) Text("t" + std::to_string(i));
    return *this;
  }
  Writer& Tensor(const std::string& name, std::int64_t rows, std::uint64_t offset) {
    return Text(name)
        .Number<std::uint32_t>(2)
        .Number<std::int64_t>(32)
        .Number(rows)
        .Number<std::int32_t>(0)
        .Number(offset);
  }
  Writer& Data(std::size_t size) {
    bytes_.resize((bytes_.size() + 31) / 32 * 32);
    bytes_.append(size, '\1');
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class GgufFileTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() /
            ("kvcommons-gguf-" + std::to_string(getpid()) + ".gguf");
  }
  void TearDown() override { std::filesystem::remove(path_); }

  Result<GgufFile> Open(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
    return GgufFile::Open(path_);
  }
  Status Refusal(const std::string& bytes) {
    const auto file = Open(bytes);
    return file ? Status() : file.error();
  }

  // A whole file; `blocks` and so on lie where the test says so.
  static Writer Whole(std::uint32_t blocks = 2, std::uint32_t heads = 4) {
    Writer writer;
    writer.Head(1, 6)
        .String("general.architecture", "llama")
        .U32("llama.block_count", blocks)
        .U32("llama.context_length", 128)
        .U32("llama.embedding_length", 32)
        .U32("llama.attention.head_count", heads)
        .Tokens(3, 3);
    return writer;
  }
  static std::string Finish(Writer writer) {
    return writer.Tensor("a.weight", 2, 0).Data(256).bytes();
  }

  std::filesystem::path path_;
};

TEST_F(GgufFileTest, AWholeFileIsReadAndHashed) {
  const auto file = Open(Finish(Whole()));
  ASSERT_TRUE(file) << file.error().ToString();
  EXPECT_EQ(file->architecture(), "llama");
  EXPECT_EQ(file->Number("block_count"), 2.0);
  EXPECT_EQ(file->Number("no_such_key"), std::nullopt);
  const Sha256 weights = file->WeightsHash();
  const Sha256 tokenizer = file->TokenizerHash();
  const auto other = Open(Finish(Whole(3)));
  ASSERT_TRUE(other);
  EXPECT_NE(other->WeightsHash(), weights) << "the architecture's settings count";
  EXPECT_EQ(other->TokenizerHash(), tokenizer);
  std::string bytes = Finish(Whole());
  bytes.back() = '\2';
  const auto changed = Open(bytes);
  ASSERT_TRUE(changed);
  EXPECT_NE(changed->WeightsHash(), weights) << "every byte of the weights counts";
}

TEST_F(GgufFileTest, EveryTruncationIsRefused) {
  const std::string whole = Finish(Whole());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto file = Open(whole.substr(0, size));
    EXPECT_FALSE(file) << size << " of " << whole.size() << " bytes";
  }
}

TEST_F(GgufFileTest, LyingCountsAreRefused) {
  const auto refuse = [&](const Writer& writer) {
    EXPECT_EQ(Refusal(writer.bytes()).code(), Code::kCorrupted);
  };
  constexpr std::int64_t kHuge = std::int64_t{1} << 60;
  refuse(Writer().Head(kHuge, 0));
  refuse(Writer().Head(0, kHuge));
  refuse(Writer().Head(-1, -1));
  refuse(Writer().Head(0, 1).Text(std::string(3, 'k')).Number<std::int32_t>(99));
  refuse(Writer().Head(1, 1).Tokens(1ULL << 61, 3));
  refuse(Writer().Head(1, 1).Text("k").Number<std::int32_t>(8).Number<std::uint64_t>(1ULL << 62));
  refuse(Whole().Tensor("a.weight", 1 << 20, 0).Data(256));  // beyond the file's end
  refuse(Whole().Tensor("a.weight", std::int64_t{1} << 58, 0).Data(256));
  refuse(Whole().Tensor("a.weight", 2, 1ULL << 40).Data(256));
  refuse(Whole().Tensor("a.weight", -2, 0).Data(256));
}

TEST_F(GgufFileTest, NumbersThatLlamaAssertsOnAreRefusedByName) {
  EXPECT_TRUE(Open(Finish(Whole(512, 1024))));
  for (const auto& [blocks, heads, name] :
       {std::tuple{0U, 4U, "block_count"}, std::tuple{513U, 4U, "block_count"},
        std::tuple{2U, 0U, "attention.head_count"},
        std::tuple{2U, 1025U, "attention.head_count"}}) {
    const Status status = Refusal(Finish(Whole(blocks, heads)));
    EXPECT_EQ(status.code(), Code::kCorrupted);
    EXPECT_THAT(status.message(), testing::HasSubstr(name));
  }
  Writer unknown;
  unknown.Head(1, 7)
      .String("general.architecture", "llama")
      .U32("llama.block_count", 2)
      .U32("llama.context_length", 128)
      .U32("llama.embedding_length", 32)
      .U32("llama.attention.head_count", 4)
      .String("llama.rope.scaling.type", "spiral")
      .Tokens(3, 3);
  const Status status = Refusal(Finish(unknown));
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_THAT(status.message(), testing::HasSubstr("spiral"));
}

TEST_F(GgufFileTest, AFileThatIsMissingOrSomethingElseIsRefused) {
  EXPECT_EQ(GgufFile::Open("/no/such/file.gguf").error().code(), Code::kNotFound);
  EXPECT_EQ(GgufFile::Open("/tmp").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(Refusal("").code(), Code::kInvalidArgument);
  EXPECT_EQ(Refusal("not a model at all").code(), Code::kCorrupted);
}

}  // namespace
}  // namespace kvcommons
