// Golden values were computed by another program from the wavelength form of the formulas.

#include "align/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace kvcommons {
namespace {

RopeConfig Config(const std::string& kind, double base, std::uint32_t rotary_dim) {
  RopeConfig config;
  config.kind = kind;
  config.base = base;
  config.rotary_dim = rotary_dim;
  return config;
}

RopeConfig Llama31() {
  RopeConfig config = Config("llama3", 500000, 128);
  config.factor = 8;
  config.low_freq_factor = 1;
  config.high_freq_factor = 4;
  config.original_context = 8192;
  return config;
}

void ExpectValues(const RopeConfig& config,
                  const std::vector<std::pair<std::size_t, double>>& golden) {
  const auto omega = MakeOmega(config);
  ASSERT_TRUE(omega.has_value()) << omega.error().ToString();
  ASSERT_EQ(omega->size(), config.rotary_dim / 2);
  for (const auto& [c, value] : golden) {
    EXPECT_NEAR(static_cast<double>((*omega)[c]), value, 1e-7 * value) << "pair " << c;
  }
}

TEST(RopeTest, PlainIsBaseToThePowerOfMinusTwoCByD) {
  for (const char* kind : {"", "none", "default"}) {
    ExpectValues(
        Config(kind, 100000, 64),
        {{0, 1}, {1, 0.697830585}, {8, 0.0562341325}, {16, 0.00316227766}, {31, 1.43301257e-05}});
  }
}

TEST(RopeTest, LinearDividesByItsFactor) {
  RopeConfig config = Config("linear", 100000, 128);
  config.factor = 4;
  ExpectValues(config, {{0, 0.25}, {1, 0.208840637}, {32, 0.000790569415}, {63, 2.99271258e-06}});
}

TEST(RopeTest, Llama31KeepsShortBlendsMiddleAndStretchesLong) {
  ExpectValues(Llama31(), {{0, 1},
                           {1, 0.814617234},
                           {20, 0.0165604401},
                           {28, 0.00321144599},
                           {29, 0.00216657076},
                           {30, 0.00137189357},
                           {31, 0.000856751413},
                           {32, 0.000524846161},
                           {33, 0.00031269375},
                           {34, 0.000178507813},
                           {35, 9.55621235e-05},
                           {36, 7.78465527e-05},
                           {50, 4.41153467e-06},
                           {63, 3.06892599e-07}});
}

TEST(RopeTest, Llama32HasFactor32) {
  RopeConfig config = Llama31();
  config.rotary_dim = 64;
  config.factor = 32;
  ExpectValues(config, {{0, 1},
                        {14, 0.00321144599},
                        {15, 0.00129054793},
                        {16, 0.000429556797},
                        {17, 9.7082878e-05},
                        {18, 1.94616382e-05},
                        {31, 9.41830673e-08}});
}

// What GGUF files store of the same model: ω of the plain kind, divided pair by pair.
TEST(RopeTest, PairFactorsGiveTheSameTable) {
  const auto scaled = MakeOmega(Llama31()).value();
  RopeConfig config = Config("none", 500000, 128);
  const auto plain = MakeOmega(config).value();
  for (std::size_t c = 0; c < plain.size(); ++c) {
    config.pair_factors.push_back(plain[c] / scaled[c]);
  }
  EXPECT_FLOAT_EQ(config.pair_factors[29], 1.207484f);
  EXPECT_FLOAT_EQ(config.pair_factors[63], 8.0f);
  const auto divided = MakeOmega(config).value();
  for (std::size_t c = 0; c < plain.size(); ++c) EXPECT_FLOAT_EQ(divided[c], scaled[c]) << c;
}

TEST(RopeTest, PlainIgnoresTheFactorOfOtherKinds) {
  RopeConfig config = Config("none", 10000, 64);
  config.factor = 8;
  EXPECT_EQ(MakeOmega(config).value()[0], 1.0f);
}

TEST(RopeTest, EveryOtherKindIsRefusedByName) {
  for (const std::string kind :
       {"dynamic", "yarn", "longrope", "su", "mrope", "imrope", "xdrope", "proportional", "fope",
        "alibi", "learned", "Linear", "llama4", "none "}) {
    const auto omega = MakeOmega(Config(kind, 10000, 64));
    ASSERT_FALSE(omega.has_value()) << kind;
    EXPECT_EQ(omega.error().code(), Code::kUnsupported) << kind;
    EXPECT_NE(omega.error().message().find("\"" + kind + "\""), std::string::npos)
        << omega.error().message();
  }
  EXPECT_EQ(MakeOmega(Config("dynamic", 10000, 64)).error().message(),
            "RoPE kind \"dynamic\" is refused: its frequencies change with the length of the "
            "sequence");
  EXPECT_EQ(MakeOmega(Config("llama4", 10000, 64)).error().message(),
            "RoPE kind \"llama4\" is refused: it is not known");
}

TEST(RopeTest, ValuesOutOfRangeAreRefused) {
  const auto refusal = [](RopeConfig config) {
    const auto omega = MakeOmega(config);
    if (omega) return std::string("accepted");
    EXPECT_EQ(omega.error().code(), Code::kInvalidArgument);
    return omega.error().message();
  };
  EXPECT_EQ(refusal(Config("none", 10000, 2)), "accepted");
  EXPECT_EQ(refusal(Config("none", 10000, 1024)), "accepted");
  for (const std::uint32_t width : {0u, 1u, 63u, 1026u}) {
    EXPECT_EQ(refusal(Config("none", 10000, width)),
              "rotary_dim is " + std::to_string(width) + "; it must be even, 2 to 1024");
  }
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double base : {1.0, 0.0, -10000.0, infinity, std::nan("")}) {
    EXPECT_EQ(refusal(Config("none", base, 64)).rfind("base is ", 0), 0u) << base;
  }
  for (const double factor : {0.0, -1.0, infinity, std::nan("")}) {
    RopeConfig config = Config("linear", 10000, 64);
    config.factor = factor;
    EXPECT_EQ(refusal(config).rfind("factor is ", 0), 0u) << factor;
  }
  RopeConfig config = Llama31();
  config.low_freq_factor = 0;
  EXPECT_EQ(refusal(config).rfind("low_freq_factor is ", 0), 0u);
  config = Llama31();
  config.high_freq_factor = config.low_freq_factor;
  EXPECT_EQ(refusal(config),
            "high_freq_factor is 1.000000; it must be more than low_freq_factor, 1.000000");
  config = Llama31();
  config.original_context = 0;
  EXPECT_EQ(refusal(config).rfind("original_context is ", 0), 0u);
  config = Llama31();
  config.pair_factors.assign(64, 1.0f);
  EXPECT_NE(refusal(config), "accepted") << "scaled twice";
  config = Config("none", 10000, 64);
  config.pair_factors.assign(31, 1.0f);
  EXPECT_EQ(refusal(config), "pair_factors has 31 values; rotary_dim 64 needs 32");
  config.pair_factors.assign(32, 1.0f);
  config.pair_factors[5] = 0.0f;
  EXPECT_EQ(refusal(config).rfind("a value of pair_factors is ", 0), 0u);
}

}  // namespace
}  // namespace kvcommons
