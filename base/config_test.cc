#include "base/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/bytes.h"

namespace kvcommons {
namespace {

using Kind = Setting::Kind;

const std::vector<Setting>& Table() {
  static const std::vector<Setting> table = {
      {.name = "data_dir",
       .sentence = "Where data lies.",
       .default_text = "/d",
       .min = 1,
       .max = 8},
      {.name = "memory",
       .sentence = "Memory for blocks.",
       .kind = Kind::kBytes,
       .default_text = "64MiB",
       .min = 64 * kMiB,
       .max = kGiB},
      {.name = "disk",
       .sentence = "Disk for blocks.",
       .kind = Kind::kBytes,
       .computed_default = [](const Config& c) { return std::to_string(2 * c.Number("memory")); },
       .default_sentence = "twice the memory",
       .min = 64 * kMiB,
       .max = 4 * kGiB,
       .off_allowed = true},
      {.name = "max_leases",
       .sentence = "Leases.",
       .kind = Kind::kInteger,
       .default_text = "10",
       .min = 1,
       .max = 100},
      {.name = "share",
       .sentence = "Share.",
       .kind = Kind::kDecimal,
       .default_text = "0.25",
       .min = 1,
       .max = 2500},
      {.name = "log_level",
       .sentence = "Level.",
       .kind = Kind::kChoice,
       .default_text = "info",
       .choices = {"info", "error"}},
  };
  return table;
}

Result<Config> Load(std::vector<std::string> arguments, std::vector<std::string> environment = {}) {
  return Config::Load(Table(), {std::move(arguments), std::move(environment), "KVT_"});
}

class ConfigFileTest : public testing::Test {
 protected:
  std::string Write(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    return path_;
  }
  ~ConfigFileTest() override { std::filesystem::remove(path_); }

  const std::string path_ = testing::TempDir() + "/config_test_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name() + ".toml";
};

TEST(ConfigTest, WhatIsNotSetHasItsDefault) {
  const auto config = Load({});
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->action(), Config::Action::kRun);
  EXPECT_EQ(config->Text("data_dir"), "/d");
  EXPECT_EQ(config->Number("memory"), 64 * kMiB);
  EXPECT_EQ(config->Number("disk"), 128 * kMiB) << "computed from the setting above";
  EXPECT_EQ(config->source("memory"), Config::Source::kDefault);
}

TEST_F(ConfigFileTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string file = Write("memory = \"100MiB\"\nmax_leases = 20\nlog_level = 'error'\n");
  const auto config = Load({"--config", file, "--memory=128MiB"},
                           {"KVT_MEMORY=96MiB", "KVT_MAX_LEASES=30", "OTHER=1"});
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->Number("memory"), 128 * kMiB);
  EXPECT_EQ(config->source("memory"), Config::Source::kFlag);
  EXPECT_EQ(config->Number("max_leases"), 30u);
  EXPECT_EQ(config->source("max_leases"), Config::Source::kEnvironment);
  EXPECT_EQ(config->Text("log_level"), "error");
  EXPECT_EQ(config->source("log_level"), Config::Source::kFile);
  EXPECT_EQ(config->source("data_dir"), Config::Source::kDefault);
}

TEST(ConfigTest, AFlagIsWrittenWithEitherDash) {
  EXPECT_EQ(Load({"--max-leases", "7"})->Number("max_leases"), 7u);
  EXPECT_EQ(Load({"--max_leases=7"})->Number("max_leases"), 7u);
}

struct Bound {
  const char* argument;
  bool allowed;
};
class ConfigBoundTest : public testing::TestWithParam<Bound> {};
INSTANTIATE_TEST_SUITE_P(
    AtTheLimitAndOnePast, ConfigBoundTest,
    testing::Values(Bound{"--memory=67108864", true}, Bound{"--memory=67108863", false},
                    Bound{"--memory=1GiB", true}, Bound{"--memory=1073741825", false},
                    Bound{"--memory=off", false}, Bound{"--disk=off", true},
                    Bound{"--max-leases=1", true}, Bound{"--max-leases=0", false},
                    Bound{"--max-leases=100", true}, Bound{"--max-leases=101", false},
                    Bound{"--max-leases=-1", false}, Bound{"--max-leases=7x", false},
                    Bound{"--data-dir=/2345678", true}, Bound{"--data-dir=/23456789", false},
                    Bound{"--data-dir=", false}, Bound{"--log-level=error", true},
                    Bound{"--log-level=loud", false}, Bound{"--share=0.001", true},
                    Bound{"--share=0", false}, Bound{"--share=2.5", true},
                    Bound{"--share=2.501", false}, Bound{"--share=1", true},
                    Bound{"--share=1.", false}, Bound{"--share=.5", false},
                    Bound{"--share=1.0005", false}, Bound{"--share=1e-1", false},
                    Bound{"--share=-1", false}));

TEST_P(ConfigBoundTest, IsKept) {
  const auto config = Load({GetParam().argument});
  EXPECT_EQ(config.has_value(), GetParam().allowed) << GetParam().argument;
}

TEST(ConfigTest, ARefusalNamesNameValueRangeAndSource) {
  EXPECT_EQ(Load({}, {"KVT_MEMORY=1MiB"}).error().message(),
            "memory is '1MiB' (environment KVT_MEMORY); allowed: 64 MiB to 1 GiB");
  EXPECT_EQ(Load({"--log-level", "loud"}).error().message(),
            "log_level is 'loud' (flag --log-level); allowed: info, error");
  EXPECT_EQ(Load({"--disk", "0"}).error().message(),
            "disk is '0' (flag --disk); allowed: 64 MiB to 4 GiB, or off");
}

TEST_F(ConfigFileTest, ADecimalCountsThousandthsWhereverItComesFrom) {
  EXPECT_EQ(Load({})->Number("share"), 250u);
  EXPECT_EQ(Load({"--share", "0.5"})->Number("share"), 500u);
  EXPECT_EQ(Load({"--config", Write("share = 0.125\n")})->Number("share"), 125u);
  EXPECT_EQ(Load({"--config", Write("share = 2\n")})->Number("share"), 2000u);
  EXPECT_EQ(Load({"--share", "3"}).error().message(),
            "share is '3' (flag --share); allowed: 0.001 to 2.5");
}

TEST(ConfigTest, OffReadsAsZero) { EXPECT_EQ(Load({"--disk", "off"})->Number("disk"), 0u); }

TEST(ConfigTest, AnUnknownFlagIsRefusedWithTheNearestName) {
  EXPECT_EQ(Load({"--memroy", "1GiB"}).error().message(),
            "flag '--memroy' is unknown; did you mean '--memory'?");
  EXPECT_EQ(Load({"--zzzzzzzz", "1"}).error().message(), "flag '--zzzzzzzz' is unknown");
  EXPECT_FALSE(Load({"memory"}));
  EXPECT_FALSE(Load({"--"}));
  EXPECT_EQ(Load({"--memory"}).error().message(), "flag '--memory' needs a value");
  EXPECT_FALSE(Load({"--help=yes"}));
}

TEST_F(ConfigFileTest, WhatIsWrongInTheFileIsRefused) {
  EXPECT_THAT(Load({"--config", Write("memroy = 1")}).error().message(),
              testing::HasSubstr("key 'memroy' is unknown; did you mean 'memory'?"));
  EXPECT_THAT(Load({"--config", Write("memory = [1]")}).error().message(),
              testing::HasSubstr("memory must be a string or a number"));
  EXPECT_THAT(Load({"--config", Write("\nmemory = = 1")}).error().message(),
              testing::HasSubstr("line 2"));
  EXPECT_THAT(Load({"--config", Write("memory = 5")}).error().message(),
              testing::HasSubstr("memory is '5' (file "));
  EXPECT_FALSE(Load({"--config", path_ + ".absent"}));
  EXPECT_FALSE(Load({"--config", "/"}));
}

TEST_F(ConfigFileTest, AFileMayHaveItsMostBytesAndNotOneMore) {
  EXPECT_TRUE(Load({"--config", Write(std::string(Config::kMaxFileBytes, '\n'))}));
  EXPECT_FALSE(Load({"--config", Write(std::string(Config::kMaxFileBytes + 1, '\n'))}));
}

TEST_F(ConfigFileTest, WhatIsPrintedIsAFileWithTheSameMeaning) {
  const auto config =
      Load({"--print-config", "--disk=off", "--data-dir=/a\"b"}, {"KVT_MEMORY=1GiB"});
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->action(), Config::Action::kPrintConfig);
  const std::string text = config->Print();
  EXPECT_THAT(text, testing::HasSubstr("memory = 1073741824  # environment, 1 GiB"));
  EXPECT_THAT(text, testing::HasSubstr("disk = 'off'  # flag"));
  const auto again = Load({"--config", Write(text)});
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(again->Number("memory"), kGiB);
  EXPECT_EQ(again->Number("disk"), 0u);
  EXPECT_EQ(again->Text("data_dir"), "/a\"b");
}

TEST(ConfigTest, ANearMissInTheEnvironmentIsWarnedOf) {
  const auto config = Load({}, {"KVT_MEMROY=1GiB", "KVT_SOMETHING_ELSE=1"});
  ASSERT_TRUE(config);
  ASSERT_EQ(config->warnings().size(), 1u);
  EXPECT_EQ(config->warnings()[0], "environment: KVT_MEMROY is unknown; did you mean KVT_MEMORY?");
}

TEST(ConfigTest, HelpNamesEverySetting) {
  EXPECT_EQ(Load({"-h"})->action(), Config::Action::kHelp);
  EXPECT_EQ(Load({"--version"})->action(), Config::Action::kVersion);
  const std::string help = HelpText("kvt", "tests", Table(), "KVT_");
  for (const Setting& setting : Table()) {
    EXPECT_THAT(help, testing::HasSubstr(setting.sentence));
    EXPECT_THAT(help, testing::HasSubstr(AllowedValues(setting)));
  }
  EXPECT_THAT(help, testing::HasSubstr("--max-leases  (KVT_MAX_LEASES)"));
  EXPECT_THAT(help, testing::HasSubstr("Default: twice the memory."));
}

}  // namespace
}  // namespace kvcommons
