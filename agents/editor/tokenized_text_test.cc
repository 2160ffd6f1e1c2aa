// What these tests hold TokenizedText to: after any edits its ids are those of the whole text, and
// an edit in a long text gives the tokenizer its surroundings only. The tokenizer here is a toy
// with the one property that matters: pre-tokens (a space and the letters after it, or one other
// byte) that no merge crosses. Within a pre-token it joins pairs from the left, so that an edit
// changes all that follows it there.

#include "agents/editor/tokenized_text.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace kvcommons {
namespace {

class ToyTokenizer {
 public:
  ToyTokenizer() {
    tokenizer.encode = [this](std::string_view text) { return Encode(text); };
    tokenizer.piece = [this](TokenId id) -> Result<std::string> {
      return pieces_[static_cast<std::size_t>(id)];
    };
  }

  Result<std::vector<TokenId>> Encode(std::string_view text) {
    std::vector<TokenId> ids;
    for (std::size_t i = 0; i < text.size();) {
      std::size_t end = i + (text[i] == ' ' ? 1 : 0);
      while (end < text.size() && std::isalpha(static_cast<unsigned char>(text[end]))) ++end;
      if (end == i) ++end;
      for (; i < end; i += 2)
        ids.push_back(IdOf(text.substr(i, std::min<std::size_t>(2, end - i))));
      i = end;
    }
    return ids;
  }

  Tokenizer tokenizer;

 private:
  TokenId IdOf(std::string_view piece) {
    const auto [entry, is_new] =
        ids_.try_emplace(std::string(piece), static_cast<TokenId>(pieces_.size()));
    if (is_new) pieces_.emplace_back(piece);
    return entry->second;
  }
  std::map<std::string, TokenId> ids_;
  std::vector<std::string> pieces_;
};

std::string RandomText(std::mt19937_64& random, std::size_t bytes) {
  constexpr std::string_view kAlphabet = "abcdefghij      \n\t.,(){}0123456789";
  std::string text;
  while (text.size() < bytes) text.push_back(kAlphabet[random() % kAlphabet.size()]);
  return text;
}

TEST(TokenizedTextTest, AnyEditsEqualTokenisingTheWholeText) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    ToyTokenizer toy;
    auto text = TokenizedText::Create(toy.tokenizer, RandomText(random, random() % 3000));
    ASSERT_TRUE(text.has_value());
    for (int step = 0; step < 5; ++step) {
      std::vector<ByteEdit> edits;
      std::size_t at = 0;
      for (std::size_t n = random() % 4; n > 0; --n) {
        const std::size_t begin = at + random() % (text->text().size() - at + 1);
        const std::size_t end =
            begin + random() % (std::min<std::size_t>(40, text->text().size() - begin) + 1);
        edits.push_back({begin, end, RandomText(random, random() % 30)});
        at = end;
      }
      ASSERT_TRUE(text->Apply(edits).ok()) << "seed=" << seed;
      ASSERT_EQ(text->ids(), toy.Encode(text->text()).value()) << "seed=" << seed;
    }
  }
}

TEST(TokenizedTextTest, ReplaceFindsTheEditByItself) {
  ToyTokenizer toy;
  auto text = TokenizedText::Create(toy.tokenizer, "one two three two one");
  ASSERT_TRUE(text.has_value());
  for (const std::string next : {"one two four two one", "one two four two one", "", "two"}) {
    ASSERT_TRUE(text->Replace(next).ok());
    EXPECT_EQ(text->text(), next);
    EXPECT_EQ(text->ids(), toy.Encode(next).value());
  }
}

TEST(TokenizedTextTest, AKeyStrokeInALongTextEncodesItsSurroundingsOnly) {
  ToyTokenizer toy;
  std::string words;
  for (int i = 0; i < 20'000; ++i) words += " word";
  auto text = TokenizedText::Create(toy.tokenizer, words);
  ASSERT_TRUE(text.has_value());
  const ByteEdit stroke{50'002, 50'002, "x"};
  ASSERT_TRUE(text->Apply({&stroke, 1}).ok());
  EXPECT_LT(text->encoded_bytes(), 512u);
  EXPECT_EQ(text->ids(), toy.Encode(text->text()).value());
}

TEST(TokenizedTextTest, APieceThatDoesNotSpellTheTextMeansFullTokenisation) {
  ToyTokenizer toy;
  Tokenizer liar = toy.tokenizer;
  liar.piece = [](TokenId) -> Result<std::string> { return std::string("?"); };
  auto text = TokenizedText::Create(liar, std::string(5000, 'a') + " b");
  ASSERT_TRUE(text.has_value());
  ASSERT_TRUE(text->Replace(std::string(5000, 'a') + " c").ok());
  EXPECT_EQ(text->encoded_bytes(), 5002u);
  EXPECT_EQ(text->ids(), toy.Encode(text->text()).value());
}

TEST(TokenizedTextTest, BadEditsAreRefusedAndChangeNothing) {
  ToyTokenizer toy;
  auto text = TokenizedText::Create(toy.tokenizer, "0123456789");
  ASSERT_TRUE(text.has_value());
  const std::vector<std::vector<ByteEdit>> bad = {
      {{5, 11, ""}}, {{6, 5, ""}}, {{0, 5, ""}, {4, 6, ""}}, {{8, 9, ""}, {0, 1, ""}}};
  for (const auto& edits : bad) {
    EXPECT_EQ(text->Apply(edits).code(), Code::kInvalidArgument);
    EXPECT_EQ(text->text(), "0123456789");
  }
}

TEST(TokenizedTextTest, TextAtTheLimitIsTakenAndOnePastItIsRefused) {
  const std::string longest(TokenizedText::kMaxTextBytes, 'a');
  Tokenizer one_token;
  one_token.encode = [](std::string_view) -> Result<std::vector<TokenId>> {
    return std::vector<TokenId>{0};
  };
  one_token.piece = [&](TokenId) -> Result<std::string> { return longest; };
  auto text = TokenizedText::Create(one_token, longest);
  ASSERT_TRUE(text.has_value());
  const ByteEdit one_more{0, 0, "a"};
  EXPECT_EQ(text->Apply({&one_more, 1}).code(), Code::kInvalidArgument);
  EXPECT_FALSE(TokenizedText::Create(one_token, longest + "a").has_value());
}

}  // namespace
}  // namespace kvcommons
