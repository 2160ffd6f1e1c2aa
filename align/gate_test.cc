// A synthetic engine writes random keys rotated to their positions, as the engine under test would;
// the gate is then asked with a profile that is right, or wrong in one way.

#include "align/gate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "align/rope.h"

namespace kvcommons {
namespace {

constexpr unsigned kSeed = 1605;
constexpr std::size_t kTokens = 16;
constexpr Position kShifts[] = {1, 7, 256, 4096};

std::vector<float> Omega(double base, std::uint32_t width, double factor) {
  RopeConfig config;
  config.kind = "linear";
  config.base = base;
  config.rotary_dim = width;
  config.factor = factor;
  return MakeOmega(config).value();
}

ModelProfile Profile(PairLayout layout = PairLayout::kHalfSplit) {
  ModelProfile profile;
  profile.layer_count = 2;
  profile.kv_head_count = 2;
  profile.head_dim = 32;
  profile.rotary_dim = 24;  // partial, and not at the start
  profile.rotary_offset = 4;
  profile.pair_layout = layout;
  profile.element_type = ElementType::kFp16;
  profile.context_tokens = 8192;
  profile.vocabulary_size = 100;
  profile.omega = Omega(10000, 24, 4);
  return profile;
}

struct Engine {
  ModelProfile truth = Profile();
  double magnitude_at_shift = 1;               // of keys in the second run, against the first
  double noise = 0;                            // relative, in keys and values of the second run
  std::vector<bool> no_rope = {false, false};  // per layer

  struct Rows {
    std::vector<float> key_at_zero, key_at_shift, value_at_zero, value_at_shift;
  };
  std::vector<Rows> rows;
  std::vector<GateProbe> probes;

  void Run() {
    std::mt19937 random(kSeed);
    std::normal_distribution<double> normal;
    const std::size_t row = truth.kv_head_count * truth.head_dim;
    rows.resize(truth.layer_count * std::size(kShifts));
    std::size_t next = 0;
    for (std::uint32_t layer = 0; layer < truth.layer_count; ++layer) {
      for (const Position shift : kShifts) {
        Rows& out = rows[next++];
        std::vector<double> bare(kTokens * row);
        for (double& x : bare) x = normal(random);
        const auto written = [&](Position start) {
          std::vector<double> keys = bare;
          if (no_rope[layer]) return keys;
          for (std::size_t t = 0; t < kTokens; ++t) {
            for (std::size_t h = 0; h < truth.kv_head_count; ++h) {
              double* head = &keys[t * row + h * truth.head_dim + truth.rotary_offset];
              for (std::size_t c = 0; c < truth.omega.size(); ++c) {
                const bool interleaved = truth.pair_layout == PairLayout::kInterleaved;
                double& x = head[interleaved ? 2 * c : c];
                double& y = head[interleaved ? 2 * c + 1 : c + truth.omega.size()];
                const double angle = static_cast<double>(truth.omega[c]) *
                                     (static_cast<double>(start) + static_cast<double>(t));
                const double turned = x * std::cos(angle) - y * std::sin(angle);
                y = x * std::sin(angle) + y * std::cos(angle);
                x = turned;
              }
            }
          }
          return keys;
        };
        for (const double x : written(0)) out.key_at_zero.push_back(static_cast<float>(x));
        for (const double x : written(shift)) {
          out.key_at_shift.push_back(
              static_cast<float>(magnitude_at_shift * (x + noise * normal(random))));
        }
        for (const double x : bare) {
          out.value_at_zero.push_back(static_cast<float>(x));
          out.value_at_shift.push_back(static_cast<float>(x + noise * normal(random)));
        }
        probes.push_back({layer, shift, out.key_at_zero, out.key_at_shift, out.value_at_zero,
                          out.value_at_shift});
      }
    }
  }
};

void ExpectFails(const GateReport& report, const std::string& reason) {
  EXPECT_FALSE(report.passed);
  EXPECT_NE(report.reason.find(reason), std::string::npos) << report.reason;
}

TEST(GateTest, PassesBothLayoutsWhenTheyAreRight) {
  for (const PairLayout layout : {PairLayout::kHalfSplit, PairLayout::kInterleaved}) {
    Engine engine;
    engine.truth = Profile(layout);
    engine.Run();
    const GateReport report = EvaluateGate(engine.truth, engine.probes);
    EXPECT_TRUE(report.passed) << report.reason;
    EXPECT_EQ(report.reason, "");
    EXPECT_LT(report.worst_key_error, 1e-6);
    EXPECT_EQ(report.worst_value_error, 0);
    EXPECT_GT(report.weakest_control, 0.05);
  }
}

TEST(GateTest, PassesWithTheNoiseOfAnHonestEngine) {
  Engine engine;
  engine.noise = 0.01;
  engine.Run();
  const GateReport report = EvaluateGate(engine.truth, engine.probes);
  EXPECT_TRUE(report.passed) << report.reason;
  EXPECT_NEAR(report.worst_value_error, 0.01, 0.003);
  EXPECT_NEAR(report.worst_key_error, 0.01, 0.003);
}

TEST(GateTest, AWrongProfileFailsWithTheKeyError) {
  const std::vector<std::pair<const char*, std::function<void(ModelProfile&)>>> faults = {
      {"layout", [](auto& p) { p.pair_layout = PairLayout::kInterleaved; }},
      {"base", [](auto& p) { p.omega = Omega(10500, 24, 4); }},
      {"factor forgotten", [](auto& p) { p.omega = Omega(10000, 24, 1); }},
      {"width", [](auto& p) { p.rotary_dim = 20, p.omega = Omega(10000, 20, 4); }},
      {"offset", [](auto& p) { p.rotary_offset = 0; }},
      {"a pair left still", [](auto& p) { p.omega[0] = 0; }},
  };
  Engine engine;
  engine.Run();
  for (const auto& [name, fault] : faults) {
    SCOPED_TRACE(name);
    ModelProfile profile = engine.truth;
    fault(profile);
    const GateReport report = EvaluateGate(profile, engine.probes);
    ExpectFails(report, "key error is ");
    ExpectFails(report, "; the limit is 0.0006");
    EXPECT_GT(report.worst_key_error, 0.0006);
  }
}

TEST(GateTest, AMagnitudeAppliedTwiceFails) {
  Engine engine;
  engine.magnitude_at_shift = 1.3466;
  engine.Run();
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "layer 0, shift 1: key error is ");
}

TEST(GateTest, ALayerWithoutRotationFailsAndIsNamed) {
  Engine engine;
  engine.no_rope = {false, true};
  engine.Run();
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "layer 1, shift 1: key error is ");
}

TEST(GateTest, AnEngineThatIgnoresPositionsCannotPass) {
  Engine engine;
  engine.no_rope = {true, true};
  engine.Run();
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "key error is ");
  // With ω = 0 the keys agree, but so they do with every wrong rotation.
  ModelProfile still = engine.truth;
  still.omega.assign(still.omega.size(), 0.0f);
  ExpectFails(EvaluateGate(still, engine.probes), "a wrong rotation has key error 0");
}

TEST(GateTest, TooNoisyAnEngineFailsWithTheValueError) {
  Engine engine;
  engine.noise = 0.05;
  engine.Run();
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "value error is 0.0");
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "; the limit is 0.02");
}

TEST(GateTest, EveryLayerMustBeProbed) {
  Engine engine;
  engine.Run();
  engine.probes.resize(std::size(kShifts));
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "layer 1 was not probed");
  ExpectFails(EvaluateGate(engine.truth, {}), "layer 0 was not probed");
}

TEST(GateTest, BadProbesFailWithTheirFault) {
  Engine engine;
  engine.Run();
  const std::vector<GateProbe> good = engine.probes;
  engine.probes[0].layer = 2;
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "layer is 2; the model has 2");
  engine.probes = good;
  engine.probes[0].shift = 0;
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "shift is 0");
  engine.probes = good;
  engine.probes[3].key_at_shift = good[3].key_at_shift.first(64);
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "rows have 1024, 64, 1024 and 1024");
  engine.probes = good;
  engine.rows[0].key_at_shift[5] = std::numeric_limits<float>::quiet_NaN();
  ExpectFails(EvaluateGate(engine.truth, engine.probes), "key error is ");
}

TEST(GateTest, AModelThatCannotMoveFailsWithItsReason) {
  ModelProfile profile = Profile();
  profile.omega.clear();
  profile.omega_refusal = "RoPE kind \"dynamic\" is refused";
  ExpectFails(EvaluateGate(profile, {}), "no rotation: RoPE kind \"dynamic\" is refused");
  profile.layer_count = 0;
  ExpectFails(EvaluateGate(profile, {}), "bad profile: layer_count is 0");
}

}  // namespace
}  // namespace kvcommons
