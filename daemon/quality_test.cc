// When a rule is switched off: by enough bad samples of its own tenant and model, and for good.

#include "daemon/quality.h"

#include <gtest/gtest.h>

#include <limits>

namespace kvcommons {
namespace {

QualityKey Key(const std::string& rule = "design", std::uint8_t domain = 1) {
  QualityKey key;
  key.domain.bytes.fill(domain);
  key.rule = rule;
  return key;
}

QualityGate::Answer ReportMany(QualityGate& gate, const QualityKey& key, int count, double kl) {
  QualityGate::Answer answer;
  for (int i = 0; i < count; ++i) answer = gate.Report(key, kl, 0.5).value();
  return answer;
}

TEST(QualityGateTest, FewSamplesGiveNoVerdict) {
  QualityGate gate(0.25);
  EXPECT_TRUE(ReportMany(gate, Key(), 15, 9).enabled);
  const auto answer = ReportMany(gate, Key(), 1, 9);
  EXPECT_FALSE(answer.enabled);
  EXPECT_EQ(answer.samples, 16u);
  EXPECT_EQ(answer.reason,
            "mean KL of 16 samples is 9.000000; the limit is 0.250000 (canary_kl_max)");
  EXPECT_EQ(gate.switched_off_count(), 1u);
}

TEST(QualityGateTest, AMeanAtTheLimitIsGoodEnough) {
  QualityGate gate(0.25);
  EXPECT_TRUE(ReportMany(gate, Key(), 64, 0.25).enabled);
  EXPECT_DOUBLE_EQ(gate.Of(Key())->mean_kl, 0.25);
  EXPECT_DOUBLE_EQ(gate.Of(Key())->mean_top1, 0.5);
}

TEST(QualityGateTest, OnlyTheLast64SamplesCount) {
  QualityGate gate(0.25);
  ReportMany(gate, Key(), 64, 0);
  EXPECT_TRUE(ReportMany(gate, Key(), 16, 1).enabled);
  EXPECT_FALSE(ReportMany(gate, Key(), 1, 1).enabled);
  EXPECT_EQ(gate.Of(Key())->samples, 64u);
}

TEST(QualityGateTest, ARuleThatIsOffStaysOffUntilItIsReset) {
  QualityGate gate(0.25);
  ReportMany(gate, Key(), 16, 1);
  EXPECT_FALSE(ReportMany(gate, Key(), 64, 0).enabled);
  EXPECT_EQ(gate.switched_off_count(), 1u);
  EXPECT_TRUE(*gate.Reset(Key()));
  EXPECT_FALSE(*gate.Reset(Key())) << "nothing is left to forget";
  EXPECT_TRUE(gate.Of(Key())->enabled);
  EXPECT_EQ(gate.Of(Key())->samples, 0u);
}

// I7.
TEST(QualityGateTest, OtherTenantsAndModelsAndRulesGoOn) {
  QualityGate gate(0.25);
  ReportMany(gate, Key(), 16, 1);
  EXPECT_TRUE(gate.Of(Key("design", 2))->enabled);
  EXPECT_TRUE(gate.Of(Key("query"))->enabled);
  QualityKey other_model = Key();
  other_model.fingerprint.bytes.fill(9);
  EXPECT_TRUE(gate.Of(other_model)->enabled);
}

TEST(QualityGateTest, TotalsAreOfAllTenantsTogether) {
  QualityGate gate(0.25);
  ReportMany(gate, Key("design", 1), 16, 1);
  ReportMany(gate, Key("design", 2), 16, 0);
  const auto totals = gate.Totals();
  ASSERT_EQ(totals.size(), 1u);
  EXPECT_EQ(totals[0].samples, 32u);
  EXPECT_DOUBLE_EQ(totals[0].mean_kl, 0.5);
  EXPECT_EQ(totals[0].disabled, 1u);
}

TEST(QualityGateTest, InputsAreLimited) {
  QualityGate gate(0.25);
  const auto code = [&](const std::string& rule, double kl, double top1) {
    const auto answer = gate.Report(Key(rule), kl, top1);
    return answer ? Code::kOk : answer.error().code();
  };
  EXPECT_EQ(code("", 0, 0), Code::kInvalidArgument);
  EXPECT_EQ(code(std::string(64, 'a'), 0, 0), Code::kOk);
  EXPECT_EQ(code(std::string(65, 'a'), 0, 0), Code::kInvalidArgument);
  EXPECT_EQ(code("Design", 0, 0), Code::kInvalidArgument);
  EXPECT_EQ(code("a-1", 1e6, 1), Code::kOk);
  EXPECT_EQ(code("a-1", -0.1, 1), Code::kInvalidArgument);
  EXPECT_EQ(code("a-1", 1.1e6, 1), Code::kInvalidArgument);
  EXPECT_EQ(code("a-1", std::numeric_limits<double>::quiet_NaN(), 1), Code::kInvalidArgument);
  EXPECT_EQ(code("a-1", 0, 1.1), Code::kInvalidArgument);
  EXPECT_EQ(code("a-1", 0, std::numeric_limits<double>::infinity()), Code::kInvalidArgument);
}

TEST(QualityGateTest, TheNumberOfPairsOfATenantIsLimited) {
  QualityGate gate(0.25);
  for (std::size_t i = 0; i < QualityGate::kMaxPairsPerDomain; ++i) {
    ASSERT_TRUE(gate.Report(Key("r" + std::to_string(i)), 0, 0));
  }
  EXPECT_EQ(gate.Report(Key("more"), 0, 0).error().code(), Code::kExhausted);
  EXPECT_TRUE(gate.Report(Key("r0"), 0, 0));
  EXPECT_TRUE(gate.Report(Key("more", 2), 0, 0));
}

}  // namespace
}  // namespace kvcommons
