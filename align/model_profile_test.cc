#include "align/model_profile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace kvcommons {
namespace {

// A small Llama-like model: 4 heads of 8, all of it rotary.
ModelProfile SmallProfile() {
  ModelProfile profile;
  profile.name = "small";
  profile.weights_sha256.fill(1);
  profile.tokenizer_sha256.fill(2);
  profile.numeric_class = "test/fp32";
  profile.layer_count = 3;
  profile.kv_head_count = 4;
  profile.head_dim = 8;
  profile.rotary_dim = 8;
  profile.block_tokens = 64;
  profile.context_tokens = 8192;
  profile.vocabulary_size = 32000;
  profile.omega = {1.0f, 0.1f, 0.01f, 0.001f};
  return profile;
}

using Change = std::function<void(ModelProfile&)>;

TEST(ModelProfileTest, AcceptsASmallModelAndAModelThatCannotMove) {
  EXPECT_TRUE(Validate(SmallProfile()).ok());
  ModelProfile profile = SmallProfile();
  profile.omega.clear();
  profile.omega_refusal = "RoPE kind \"dynamic\" is refused";
  EXPECT_TRUE(Validate(profile).ok());
  profile.rotary_dim = 0;
  EXPECT_TRUE(Validate(profile).ok());
}

TEST(ModelProfileTest, AcceptsTheLimitAndRefusesOnePast) {
  struct Case {
    const char* field;
    Change at;
    Change past;
  };
  // ω is dropped where rotary_dim follows head_dim: its length is another field's case.
  const std::vector<Case> cases = {
      {"layer_count", [](auto& p) { p.layer_count = 1024; }, [](auto& p) { p.layer_count = 1025; }},
      {"layer_count", [](auto& p) { p.layer_count = 1; }, [](auto& p) { p.layer_count = 0; }},
      {"kv_head_count", [](auto& p) { p.kv_head_count = 1024; },
       [](auto& p) { p.kv_head_count = 1025; }},
      {"kv_head_count", [](auto& p) { p.kv_head_count = 1; }, [](auto& p) { p.kv_head_count = 0; }},
      {"head_dim", [](auto& p) { p.head_dim = 1024; }, [](auto& p) { p.head_dim = 1025; }},
      {"head_dim", [](auto& p) { p.head_dim = 8; }, [](auto& p) { p.head_dim = 0; }},
      {"rotary_dim", [](auto& p) { p.rotary_dim = 8; }, [](auto& p) { p.rotary_dim = 10; }},
      {"rotary_dim", [](auto& p) { p.rotary_dim = 8; }, [](auto& p) { p.rotary_dim = 7; }},
      {"rotary_offset", [](auto& p) { p.head_dim = 10, p.rotary_offset = 2; },
       [](auto& p) { p.head_dim = 10, p.rotary_offset = 3; }},
      {"block_tokens", [](auto& p) { p.block_tokens = 16; }, [](auto& p) { p.block_tokens = 15; }},
      {"block_tokens", [](auto& p) { p.block_tokens = 256; },
       [](auto& p) { p.block_tokens = 257; }},
      {"context_tokens", [](auto& p) { p.context_tokens = 1u << 24; },
       [](auto& p) { p.context_tokens = (1u << 24) + 1; }},
      {"context_tokens", [](auto& p) { p.context_tokens = 1; },
       [](auto& p) { p.context_tokens = 0; }},
      {"vocabulary_size", [](auto& p) { p.vocabulary_size = 0x7fffffffu; },
       [](auto& p) { p.vocabulary_size = 0x80000000u; }},
      {"vocabulary_size", [](auto& p) { p.vocabulary_size = 1; },
       [](auto& p) { p.vocabulary_size = 0; }},
      {"pair_layout", [](auto& p) { p.pair_layout = PairLayout::kInterleaved; },
       [](auto& p) { p.pair_layout = static_cast<PairLayout>(2); }},
      {"element_type", [](auto& p) { p.element_type = ElementType::kFp32; },
       [](auto& p) { p.element_type = static_cast<ElementType>(3); }},
      {"omega", [](auto& p) { p.omega.assign(4, 0.0f); }, [](auto& p) { p.omega.resize(5); }},
      {"omega", [](auto& p) { p.omega[1] = 0.0f; }, [](auto& p) { p.omega[1] = -0.1f; }},
      {"omega", [](auto& p) { p.omega[1] = std::numeric_limits<float>::max(); },
       [](auto& p) { p.omega[1] = std::numeric_limits<float>::infinity(); }},
      {"name", [](auto& p) { p.name.assign(256, 'x'); }, [](auto& p) { p.name.assign(257, 'x'); }},
      {"numeric_class", [](auto& p) { p.numeric_class.assign(256, 'x'); },
       [](auto& p) { p.numeric_class.assign(257, 'x'); }},
      {"adapters", [](auto& p) { p.adapters.assign(4096, 'x'); },
       [](auto& p) { p.adapters.assign(4097, 'x'); }},
      {"omega_refusal", [](auto& p) { p.omega_refusal.assign(4096, 'x'); },
       [](auto& p) { p.omega_refusal.assign(4097, 'x'); }},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE("case " + std::to_string(i) + ": " + cases[i].field);
    ModelProfile profile = SmallProfile();
    cases[i].at(profile);
    EXPECT_TRUE(Validate(profile).ok()) << Validate(profile).ToString();
    profile = SmallProfile();
    cases[i].past(profile);
    const Status refused = Validate(profile);
    EXPECT_EQ(refused.code(), Code::kInvalidArgument);
    EXPECT_EQ(refused.message().rfind(cases[i].field, 0), 0u) << refused.message();
  }
}

TEST(ModelProfileTest, ARefusalNamesFieldValueAndLimit) {
  ModelProfile profile = SmallProfile();
  profile.block_tokens = 512;
  EXPECT_EQ(Validate(profile).message(), "block_tokens is 512; the limit is 16 to 256");
}

TEST(FingerprintTest, EveryFieldThatDecidesBytesChangesIt) {
  const std::vector<std::pair<const char*, Change>> changes = {
      {"weights", [](auto& p) { p.weights_sha256[31] ^= 1; }},
      {"tokenizer", [](auto& p) { p.tokenizer_sha256[0] ^= 1; }},
      {"adapters", [](auto& p) { p.adapters = "lora"; }},
      {"numeric_class", [](auto& p) { p.numeric_class += "2"; }},
      {"layer_count", [](auto& p) { ++p.layer_count; }},
      {"kv_head_count", [](auto& p) { ++p.kv_head_count; }},
      {"head_dim", [](auto& p) { ++p.head_dim; }},
      {"rotary_dim", [](auto& p) { p.rotary_dim = 6; }},
      {"rotary_offset", [](auto& p) { ++p.rotary_offset; }},
      {"pair_layout", [](auto& p) { p.pair_layout = PairLayout::kInterleaved; }},
      {"element_type", [](auto& p) { p.element_type = ElementType::kBf16; }},
      {"block_tokens", [](auto& p) { p.block_tokens = 32; }},
      {"vocabulary_size", [](auto& p) { ++p.vocabulary_size; }},
      {"an omega, one ulp", [](auto& p) { p.omega[3] = std::nextafter(p.omega[3], 1.0f); }},
      {"omega's length", [](auto& p) { p.omega.pop_back(); }},
      {"no omega", [](auto& p) { p.omega.clear(); }},
  };
  std::vector<std::pair<std::string, Fingerprint>> seen = {
      {"unchanged", FingerprintOf(SmallProfile())}};
  for (const auto& [name, change] : changes) {
    ModelProfile profile = SmallProfile();
    change(profile);
    const Fingerprint fingerprint = FingerprintOf(profile);
    for (const auto& [other, taken] : seen) {
      EXPECT_NE(fingerprint, taken) << name << " and " << other;
    }
    seen.emplace_back(name, fingerprint);
  }
}

TEST(FingerprintTest, WhatIsForPeopleDoesNotChangeIt) {
  ModelProfile profile = SmallProfile();
  profile.name = "another name";
  profile.context_tokens = 100;
  profile.omega_refusal = "a reason";
  EXPECT_EQ(FingerprintOf(profile), FingerprintOf(SmallProfile()));
}

TEST(FingerprintTest, BytesThatMoveFromOneFieldToTheNextChangeIt) {
  ModelProfile one = SmallProfile();
  one.adapters = "ab";
  one.numeric_class = "c";
  ModelProfile other = SmallProfile();
  other.adapters = "a";
  other.numeric_class = "bc";
  EXPECT_NE(FingerprintOf(one), FingerprintOf(other));
}

// Stored KV is found by it, so it must not change from one release or machine to another.
TEST(FingerprintTest, IsAPromise) {
  EXPECT_EQ(FingerprintOf(SmallProfile()).ToHex(), "2796762c3fe0bff21d61f224deffbd05");
}

TEST(ModelProfileTest, RowsAndPlanesFollowTheShape) {
  ModelProfile profile = SmallProfile();
  profile.rotary_dim = 6;
  profile.rotary_offset = 1;
  profile.pair_layout = PairLayout::kInterleaved;
  profile.element_type = ElementType::kBf16;
  const KeyRowFormat row = profile.key_row();
  EXPECT_EQ(row.head_count, 4u);
  EXPECT_EQ(row.head_dim, 8u);
  EXPECT_EQ(row.rotary_dim, 6u);
  EXPECT_EQ(row.rotary_offset, 1u);
  EXPECT_EQ(row.layout, PairLayout::kInterleaved);
  EXPECT_EQ(row.type, ElementType::kBf16);
  EXPECT_EQ(row.row_bytes(), 64u);
  EXPECT_EQ(profile.planes().row_bytes, std::vector<std::uint32_t>(6, 64));
}

}  // namespace
}  // namespace kvcommons
