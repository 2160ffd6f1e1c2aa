// Reports of quality and what follows from them, as clients see it.

#include <nlohmann/json.hpp>

#include "daemon/daemon_testing.h"

namespace kvcommons {
namespace {

using testing::CodeOf;
using testing::MessageOf;
using testing::ModelShape;
using testing::TestClient;
using testing::TestDaemon;

class QualityRpcTest : public ::testing::Test {
 protected:
  auto Report(rpc::Model::Client& model, double kl) {
    auto request = model.reportQualityRequest();
    request.setRule("design");
    request.setKl(kl);
    request.setTop1(0.5);
    return request.send().wait(io_.waitScope);
  }
  void SwitchOff(rpc::Model::Client& model) {
    for (int i = 0; i < 16; ++i) Report(model, 0.5);
    EXPECT_FALSE(IsEnabled(model));
  }
  bool IsEnabled(rpc::Model::Client& model) {
    auto ask = model.qualityRequest();
    ask.setRule("design");
    return ask.send().wait(io_.waitScope).getQuality().getEnabled();
  }
  auto Reset(TestClient& client, const std::string& fingerprint, const std::string& rule) {
    auto request = client.Session().resetQualityRequest();
    request.setFingerprint(fingerprint.c_str());
    request.setRule(rule.c_str());
    return request.send().wait(io_.waitScope);
  }
  nlohmann::json Listed(TestClient& client) {
    const auto stats = client.Session().statsRequest().send().wait(io_.waitScope);
    const auto json = nlohmann::json::parse(stats.getJson().cStr());
    return json["tenant"].value("quality", nlohmann::json::array());
  }

  testing::EventLoop loop_;
  kj::AsyncIoContext& io_ = loop_.io;
  ModelShape shape_;
};

TEST_F(QualityRpcTest, ARuleWhoseCanaryFailsIsSwitchedOffCountedAndReset) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  for (int i = 0; i < 15; ++i) EXPECT_TRUE(Report(model, 0.5).getQuality().getEnabled());
  const auto off = Report(model, 0.5);
  EXPECT_FALSE(off.getQuality().getEnabled());
  EXPECT_EQ(off.getQuality().getSamples(), 16u);
  EXPECT_THAT(off.getQuality().getReason().cStr(),
              ::testing::HasSubstr("the limit is 0.250000 (canary_kl_max)"));
  EXPECT_EQ(CodeOf(Report(model, -1)), Code::kInvalidArgument);
  const std::string stats =
      client.Session().statsRequest().send().wait(io_.waitScope).getJson().cStr();
  EXPECT_THAT(stats, ::testing::HasSubstr(R"("rule":"design","samples":16,"mean_kl":0.5)"));
  const std::string metrics =
      daemon.get().metrics().Text(daemon.get().store().GetStats(), daemon.get().quality());
  EXPECT_THAT(metrics, ::testing::HasSubstr("kvcommons_quality_switched_off_total 1\n"));
  EXPECT_THAT(metrics, ::testing::HasSubstr("rule=\"design\"} 0.5\n"));
  auto reset = model.resetQualityRequest();
  reset.setRule("design");
  EXPECT_EQ(MessageOf(reset.send().wait(io_.waitScope)), "");
  EXPECT_TRUE(IsEnabled(model));
}

TEST_F(QualityRpcTest, ARuleIsResetWithoutItsModelByItsFingerprintAsListed) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  SwitchOff(model);
  const auto listed = Listed(client);
  ASSERT_EQ(listed.size(), 1u);
  const std::string fingerprint = listed[0]["model"];
  const auto reset = Reset(client, fingerprint, "design");
  EXPECT_EQ(MessageOf(reset), "");
  EXPECT_TRUE(reset.getWasKnown());
  EXPECT_TRUE(IsEnabled(model));
  EXPECT_EQ(Listed(client).size(), 0u);
  EXPECT_FALSE(Reset(client, fingerprint, "design").getWasKnown()) << "nothing is left";
}

TEST_F(QualityRpcTest, AnotherTenantResetsNothingOfOurs) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  SwitchOff(model);
  const std::string fingerprint = Listed(client)[0]["model"];
  daemon.uid = 1001;
  TestClient other(io_, daemon.socket());
  EXPECT_FALSE(Reset(other, fingerprint, "design").getWasKnown());
  EXPECT_FALSE(IsEnabled(model));
}

TEST_F(QualityRpcTest, AResetOfWhatIsNoFingerprintOrRuleIsRefused) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  SwitchOff(model);
  const std::string fingerprint = Listed(client)[0]["model"];
  EXPECT_THAT(MessageOf(Reset(client, fingerprint.substr(1), "design")),
              ::testing::HasSubstr("fingerprint is '"));
  EXPECT_EQ(CodeOf(Reset(client, fingerprint + "0", "design")), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(Reset(client, fingerprint, "")), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(Reset(client, fingerprint, std::string(64, 'a'))), std::nullopt) << "the limit";
  EXPECT_EQ(CodeOf(Reset(client, fingerprint, std::string(65, 'a'))), Code::kInvalidArgument);
  EXPECT_FALSE(IsEnabled(model));
}

}  // namespace
}  // namespace kvcommons
