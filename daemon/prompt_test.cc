#include "daemon/prompt.h"

#include <gtest/gtest.h>

#include <random>

namespace kvcommons {
namespace {

OpenedModel TestModel() {
  ModelProfile profile;
  profile.name = "test";
  profile.numeric_class = "test/1";
  profile.layer_count = 1;
  profile.kv_head_count = 1;
  profile.head_dim = 8;
  profile.rotary_dim = 8;
  profile.block_tokens = 16;
  profile.context_tokens = 1 << 20;
  profile.vocabulary_size = 1000;
  return {TenantOfUid(1), profile, GateReport{}, DomainSecret{7}};
}

std::vector<BlockKey> KeysOf(const PromptChain& chain) {
  std::vector<BlockKey> keys;
  for (const ChainBlock& block : chain.full) keys.push_back(block.key);
  for (const ChainBlock& block : chain.short_last) keys.push_back(block.key);
  return keys;
}

TEST(ChainMemoTest, ARememberedPromptChangesNoKeyOfAnyLaterOne) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const OpenedModel model = TestModel();
  ChainMemo memo;
  PromptRequest request;
  for (int round = 0; round < 500; ++round) {
    // Cut somewhere, changed somewhere, grown: what the next prompt of a session may be.
    request.tokens.resize(random() % (request.tokens.size() + 1));
    if (!request.tokens.empty() && random() % 2 == 0) {
      request.tokens[random() % request.tokens.size()] = static_cast<TokenId>(random() % 1000);
    }
    for (std::uint64_t more = 1 + random() % 100; more > 0; --more) {
      request.tokens.push_back(static_cast<TokenId>(random() % 1000));
    }
    request.store_tokens = static_cast<Position>(random() % (request.tokens.size() + 1));
    const PromptChain with = CutChain(model, request, &memo);
    const PromptChain without = CutChain(model, request, nullptr);
    ASSERT_EQ(KeysOf(with), KeysOf(without)) << "round " << round;
    ASSERT_EQ(with.full.size(), request.tokens.size() / 16);
  }
}

TEST(ChainMemoTest, EqualLeadingBlocksAreKnownUpToTheFirstDifference) {
  const OpenedModel model = TestModel();
  ChainMemo memo;
  PromptRequest request;
  request.tokens.assign(100, 5);
  EXPECT_TRUE(memo.Known(request.tokens, 16).empty());
  CutChain(model, request, &memo);
  EXPECT_EQ(memo.Known(request.tokens, 16).size(), 6u);
  request.tokens[40] = 6;
  EXPECT_EQ(memo.Known(request.tokens, 16).size(), 2u);
  request.tokens.resize(31);
  EXPECT_EQ(memo.Known(request.tokens, 16).size(), 1u);
}

TEST(ChainMemoTest, AVeryLongPromptIsRememberedInPart) {
  const OpenedModel model = TestModel();
  ChainMemo memo;
  PromptRequest request;
  request.tokens.assign((1 << 17) + 64, 5);
  CutChain(model, request, &memo);
  EXPECT_EQ(memo.Known(request.tokens, 16).size(), (1u << 17) / 16);
}

}  // namespace
}  // namespace kvcommons
