#include "daemon/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/bytes.h"

namespace kvcommons {
namespace {

Result<DaemonConfig> Load(std::vector<std::string> arguments,
                          std::vector<std::string> environment = {}) {
  const auto config = Config::Load(
      DaemonSettings(), {std::move(arguments), std::move(environment), kEnvironmentPrefix});
  if (!config) return Fail(config.error());
  return DaemonConfigOf(*config);
}

TEST(DaemonConfigTest, DefaultsSuitAUserOfThisMachine) {
  const auto config = Load({});
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->socket_mode, 0600u);
  EXPECT_EQ(config->http, "127.0.0.1:9470");
  EXPECT_TRUE(config->http_is_default);
  EXPECT_GE(config->memory_bytes, 256 * kMiB);
  EXPECT_LE(config->memory_bytes, std::max(256 * kMiB, MemoryLimitBytes() / 4));
  EXPECT_GE(config->disk_bytes, 64 * kMiB);
  EXPECT_LE(config->disk_bytes, 10 * kGiB);
  EXPECT_EQ(config->quota_bytes, 0u);
  EXPECT_EQ(config->max_leases, 4096u);
  EXPECT_FALSE(config->data_dir.empty());
  EXPECT_FALSE(config->socket.empty());
}

TEST(DaemonConfigTest, TheNamesThatOtherToolsUseAreThere) {
  const auto config = Load({"--data-dir", "/d", "--socket", "/s"});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->data_dir, "/d");
  EXPECT_EQ(config->socket, "/s");
  EXPECT_EQ(Load({}, {"KVCOMMONS_SOCKET=/e", "KVCOMMONS_MODEL=m.gguf"})->socket, "/e");
}

TEST(DaemonConfigTest, OffMeansWithout) {
  const auto config = Load({"--disk=off", "--http=off", "--quota=off"});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->disk_bytes, 0u);
  EXPECT_EQ(config->http, "");
  EXPECT_EQ(config->quota_bytes, 0u);
}

struct Bound {
  const char* argument;
  bool allowed;
};
class DaemonConfigBoundTest : public testing::TestWithParam<Bound> {};
INSTANTIATE_TEST_SUITE_P(
    AtTheLimitAndOnePast, DaemonConfigBoundTest,
    testing::Values(Bound{"--memory=64MiB", true}, Bound{"--memory=67108863", false},
                    Bound{"--disk=64MiB", true}, Bound{"--disk=67108863", false},
                    Bound{"--quota=1MiB", true}, Bound{"--quota=1048575", false},
                    Bound{"--max-message=64KiB", true}, Bound{"--max-message=65535", false},
                    Bound{"--max-message=512MiB", true}, Bound{"--max-message=536870913", false},
                    Bound{"--max-connections=1", true}, Bound{"--max-connections=0", false},
                    Bound{"--max-connections=65536", true}, Bound{"--max-connections=65537", false},
                    Bound{"--max-leases=1048576", true}, Bound{"--max-leases=1048577", false},
                    Bound{"--max-staging=1MiB", true}, Bound{"--max-staging=1048575", false},
                    Bound{"--worker-threads=256", true}, Bound{"--worker-threads=257", false},
                    Bound{"--socket-mode=0660", true}, Bound{"--socket-mode=0777", false},
                    Bound{"--log-level=debug", true}, Bound{"--log-level=loud", false}));

TEST_P(DaemonConfigBoundTest, IsKept) {
  EXPECT_EQ(Load({GetParam().argument}).has_value(), GetParam().allowed) << GetParam().argument;
}

TEST(DaemonConfigTest, SocketModesAreOctal) {
  EXPECT_EQ(Load({"--socket-mode=0660"})->socket_mode, 0660u);
}

TEST(DefaultDiskTest, CountsWhatAnEarlierRunStoredAsOurs) {
  const std::string folder = testing::TempDir() + "/kvcommons_disk_absent/of/this/run";
  const std::uint64_t bytes = DefaultDiskBytes(folder);
  EXPECT_GE(bytes, 64 * kMiB);
  EXPECT_LE(bytes, 10 * kGiB);
  EXPECT_FALSE(std::filesystem::exists(folder)) << "asking makes nothing";
}

TEST(MemoryLimitTest, IsNeverMoreThanTheMachineHas) {
  EXPECT_GT(MemoryLimitBytes(), 0u);
  EXPECT_LT(MemoryLimitBytes(), 1ull << 50);
}

}  // namespace
}  // namespace kvcommons
