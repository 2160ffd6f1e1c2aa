#include "client/command/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "align/model_profile.h"
#include "client/command/arguments.h"
#include "client/command/table.h"
#include "client/fake_daemon.h"

namespace kvcommons {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kCommands[] = {"status", "stats", "ls",    "explain", "verify", "doctor",
                                     "flush",  "rm",    "bench", "library", "quality"};

class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() {
    unsetenv("KVCOMMONS_SOCKET");
    char name[] = "/tmp/kvc-command-XXXXXX";
    dir_ = mkdtemp(name);
    script_.plan = [](auto, auto) {};
    script_.stats_json =
        R"({"tenant":{"arena_bytes":1048576,"disk_bytes":0},"arena_capacity_bytes":4194304,
            "arena":{"held_bytes":1048576,"blocks":1},"index":{"entries":1},
            "disk":{"path":"/x","writable":true}})";
  }
  ~CommandLineTest() override {
    daemon_.reset();
    std::filesystem::remove_all(dir_);
  }

  std::string Path() const { return dir_ + "/s"; }
  void Start() { daemon_ = std::make_unique<FakeDaemon>(Path(), script_); }

  int Run(std::vector<std::string> words) {
    std::vector<const char*> argv = {"kvcommons"};
    for (const std::string& word : words) argv.push_back(word.c_str());
    out_.str("");
    err_.str("");
    return RunCommandLine(static_cast<int>(argv.size()), argv.data(), out_, err_);
  }
  // With the fake daemon's socket.
  int RunThere(std::vector<std::string> words) {
    words.insert(words.begin(), {"--socket", Path()});
    return Run(std::move(words));
  }

  std::string dir_;
  FakeDaemon::Script script_;
  std::unique_ptr<FakeDaemon> daemon_;
  std::ostringstream out_, err_;
};

TEST_F(CommandLineTest, EveryCommandHasHelpThatExitsWithZero) {
  EXPECT_EQ(Run({"--help"}), kExitOk);
  for (const char* command : kCommands) EXPECT_THAT(out_.str(), HasSubstr(command));
  for (const char* command : kCommands) {
    EXPECT_EQ(Run({command, "--help"}), kExitOk) << command;
    EXPECT_THAT(out_.str(), HasSubstr(command));
    EXPECT_EQ(err_.str(), "");
  }
}

TEST_F(CommandLineTest, WrongUsageExitsWithTwoAndSaysWhatIsWrong) {
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"stat"},
      {"status", "extra"},
      {"status", "--no-such-option"},
      {"ls", "--limit", "0"},
      {"ls", "--limit", "10001"},
      {"ls", "--limit", "many"},
      {"status", "--timeout", "0"},
      {"explain"},
      {"rm"},
      {"bench", "speed"},
      {"bench", "--repeats", "2"},
      {"bench", "--scratch", "/no/such/folder"},
      {"status", "--socket"},
  };
  Start();
  for (const auto& words : wrong) {
    EXPECT_EQ(Run(words), kExitUsage) << testing::PrintToString(words);
    EXPECT_NE(err_.str(), "") << testing::PrintToString(words);
    EXPECT_EQ(out_.str(), "") << testing::PrintToString(words);
  }
}

TEST_F(CommandLineTest, MissingDaemonExitsWithOneAndSaysHowToStartIt) {
  for (const char* command : {"status", "stats", "ls", "verify", "flush"}) {
    EXPECT_EQ(RunThere({command}), kExitFailure) << command;
    EXPECT_THAT(err_.str(), HasSubstr("start kvcommonsd")) << command;
    EXPECT_EQ(out_.str(), "") << command;
  }
}

TEST_F(CommandLineTest, SocketIsAcceptedBeforeAndAfterTheCommandAndFromTheEnvironment) {
  Start();
  EXPECT_EQ(Run({"--socket", Path(), "status"}), kExitOk) << err_.str();
  EXPECT_EQ(Run({"status", "--socket", Path()}), kExitOk) << err_.str();
  EXPECT_EQ(Run({"status", "--json", "--socket=" + Path()}), kExitOk) << err_.str();
  EXPECT_TRUE(json::accept(out_.str()));
  setenv("KVCOMMONS_SOCKET", Path().c_str(), 1);
  EXPECT_EQ(Run({"status"}), kExitOk) << err_.str();
  setenv("KVCOMMONS_SOCKET", "/nowhere", 1);
  EXPECT_EQ(Run({"status"}), kExitFailure);
  EXPECT_EQ(Run({"status", "--socket", Path()}), kExitOk) << "the option wins";
  unsetenv("KVCOMMONS_SOCKET");
}

TEST_F(CommandLineTest, StatusSaysWhoseAndHowFull) {
  Start();
  ASSERT_EQ(RunThere({"status"}), kExitOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("uid:1000"));
  EXPECT_THAT(out_.str(), HasSubstr("1 MiB of 4 MiB (25 %)"));
  ASSERT_EQ(RunThere({"status", "--json"}), kExitOk);
  EXPECT_EQ(json::parse(out_.str())["tenant"], "uid:1000");
}

TEST_F(CommandLineTest, StatsIsATableOrTheDaemonsJson) {
  Start();
  ASSERT_EQ(RunThere({"stats"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("arena.held_bytes"));
  ASSERT_EQ(RunThere({"stats", "--json"}), kExitOk);
  EXPECT_EQ(json::parse(out_.str()), json::parse(script_.stats_json));
}

TEST_F(CommandLineTest, StatsOfAnotherShapeAreAFailureNotACrash) {
  script_.stats_json = "[1]";
  Start();
  EXPECT_EQ(RunThere({"stats"}), kExitFailure);
  daemon_.reset();
  script_.stats_json = "{}";
  Start();
  EXPECT_EQ(RunThere({"stats"}), kExitOk);
  EXPECT_EQ(RunThere({"status"}), kExitOk);
  daemon_.reset();
  script_.stats_json = R"({"arena":{"held_bytes":"many"},"disk":[]})";
  Start();
  EXPECT_EQ(RunThere({"status"}), kExitOk);
  EXPECT_EQ(RunThere({"doctor"}), kExitOk) << out_.str();
}

TEST_F(CommandLineTest, LsListsDocumentsThenBlocks) {
  Start();
  ASSERT_EQ(RunThere({"ls"}), kExitOk);
  EXPECT_LT(out_.str().find("notes.txt"), out_.str().find("00112233445566778899aabbccddeeff"));
  ASSERT_EQ(RunThere({"ls", "--json"}), kExitOk);
  const json listing = json::parse(out_.str());
  EXPECT_EQ(listing["documents"][0]["revision"], 3);
  EXPECT_EQ(listing["blocks"][0]["class"], "exact");
}

TEST_F(CommandLineTest, ExplainFindsByKeyByItsBeginningAndByDocument) {
  Start();
  EXPECT_EQ(RunThere({"explain", "0011"}), kExitOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("interchangeable"));
  EXPECT_EQ(RunThere({"explain", "notes.txt"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("revision"));
  EXPECT_EQ(RunThere({"explain", "other.txt"}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr("kvcommons ls"));
}

TEST_F(CommandLineTest, RmRemovesByKeyAndByTheNameOfADocument) {
  Start();
  EXPECT_EQ(RunThere({"rm", "00112233445566778899aabbccddeeff"}), kExitOk) << err_.str();
  EXPECT_EQ(RunThere({"rm", "00112233445566778899aabbccddeef0"}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr("not_found"));
  EXPECT_EQ(RunThere({"rm", "notes.txt"}), kExitOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("ffeeddccbbaa99887766554433221100"));
  EXPECT_EQ(RunThere({"rm", "other.txt"}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr("neither a key"));
}

TEST_F(CommandLineTest, VerifyExitsWithOneWhenBlocksAreBad) {
  Start();
  EXPECT_EQ(RunThere({"verify"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("all good"));
  daemon_.reset();
  script_.verify_bad = 2;
  Start();
  EXPECT_EQ(RunThere({"verify", "--json"}), kExitFailure);
  EXPECT_EQ(json::parse(out_.str())["bad"], 2);
  EXPECT_THAT(err_.str(), HasSubstr("daemon's log"));
}

TEST_F(CommandLineTest, FlushWithoutADiskTierFails) {
  Start();
  EXPECT_EQ(RunThere({"flush"}), kExitOk);
  daemon_.reset();
  script_.durable = false;
  Start();
  EXPECT_EQ(RunThere({"flush"}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr("no disk tier"));
}

TEST_F(CommandLineTest, DoctorSaysWhatToDoWhenThereIsNoDaemon) {
  EXPECT_EQ(RunThere({"doctor"}), kExitFailure);
  EXPECT_THAT(out_.str(), HasSubstr("start kvcommonsd"));
  std::ofstream(Path()) << "a file";
  EXPECT_EQ(RunThere({"doctor"}), kExitFailure);
  EXPECT_THAT(out_.str(), HasSubstr("is not a socket"));
}

TEST_F(CommandLineTest, DoctorNamesAnotherProtocolVersionAndAFailingDisk) {
  script_.login = Unsupported("protocol_version is 1; this daemon speaks 2");
  Start();
  EXPECT_EQ(RunThere({"doctor"}), kExitFailure);
  EXPECT_THAT(out_.str(), HasSubstr("use client and daemon of one version"));
  daemon_.reset();
  script_.login = Status();
  script_.stats_json = R"({"disk":{"path":"/x","writable":false,"reason":"no space"}})";
  Start();
  EXPECT_EQ(RunThere({"doctor", "--json"}), kExitFailure);
  bool found = false;
  for (const json& finding : json::parse(out_.str())) {
    if (finding["check"] != "disk") continue;
    found = true;
    EXPECT_EQ(finding["verdict"], "fail");
    EXPECT_NE(finding["advice"], "");
  }
  EXPECT_TRUE(found);
}

TEST_F(CommandLineTest, BenchWithoutADaemonBinarySaysHowToNameOne) {
  EXPECT_EQ(RunThere({"bench", "control"}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr(Path()));
  const std::string binary = dir_ + "/not-a-daemon";
  std::ofstream(binary) << "#!/bin/sh\necho it cannot start; exit 3\n";
  std::filesystem::permissions(binary, std::filesystem::perms::owner_all);
  EXPECT_EQ(Run({"bench", "control", "--daemon-binary", binary, "--scratch", dir_}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr("it cannot start"));
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
    EXPECT_FALSE(entry.is_directory()) << entry.path() << " was left behind";
  }
}

TEST(TableTest, NumbersAreAlignedRightAndUtf8CountsByCharacter) {
  Table table({{"A"}, {"N", Table::Align::kRight}});
  table.AddRow({"\xc3\xa4\xc3\xb6", "5"});
  table.AddRow({"abc", "10"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "A     N\n\xc3\xa4\xc3\xb6    5\nabc  10\n");
}

TEST(TableTest, DurationsHaveTwoUnitsAtMost) {
  EXPECT_EQ(FormatDuration(-5), "0 s");
  EXPECT_EQ(FormatDuration(59'999'999), "59 s");
  EXPECT_EQ(FormatDuration(60'000'000), "1 min");
  EXPECT_EQ(FormatDuration(3'661'000'000), "1 h 1 min");
  EXPECT_EQ(FormatDuration(90'000'000'000), "1 d 1 h");
}

TEST(TableTest, ControlCharactersDoNotReachTheTerminal) {
  EXPECT_EQ(Printable("a\x1b[2Jb\n"), "a?[2Jb?");
}

TEST_F(CommandLineTest, LibraryLsShowsWhatIsReady) {
  Start();
  EXPECT_EQ(RunThere({"library", "ls"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("paper.txt"));
  EXPECT_THAT(out_.str(), HasSubstr("mean"));
  EXPECT_EQ(RunThere({"library", "ls", "--json"}), kExitOk);
  const json list = json::parse(out_.str());
  EXPECT_EQ(list[0]["variants"][0]["kind"], "mean");
  EXPECT_EQ(list[0]["variants"][0]["prepare_us"], 1500000);
}

TEST_F(CommandLineTest, LibraryStatusSumsUpByModel) {
  Start();
  EXPECT_EQ(RunThere({"library", "status"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("1 mean"));
  EXPECT_EQ(RunThere({"--json", "library", "status"}), kExitOk);
  EXPECT_EQ(json::parse(out_.str())[0]["ready"]["mean"], 1);
}

TEST_F(CommandLineTest, LibraryRmTakesANameOrAKey) {
  Start();
  EXPECT_EQ(RunThere({"library", "rm", "paper.txt"}), kExitOk);
  EXPECT_EQ(out_.str(), "Removed 0123456789abcdef0123456789abcdef.\n");
  EXPECT_EQ(RunThere({"library", "rm", "0123456789abcdef0123456789abcdef"}), kExitOk);
  EXPECT_EQ(RunThere({"library", "rm", "other.txt"}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr("no library has a text \"other.txt\""));
  EXPECT_EQ(RunThere({"library", "rm"}), kExitUsage);
  EXPECT_EQ(RunThere({"library"}), kExitUsage);
}

constexpr const char* kTwoModels =
    R"({"tenant":{"quality":[
        {"model":"aa","rule":"design","samples":16,"mean_kl":0.5,"mean_top1":0.25,"enabled":false,
         "reason":"strayed"},
        {"model":"aa","rule":"boundary","samples":3,"mean_kl":0.01,"mean_top1":1,"enabled":true},
        {"model":"bb","rule":"design","samples":1,"mean_kl":0,"mean_top1":1,"enabled":true}]}})";

TEST_F(CommandLineTest, QualityLsSaysWhatIsOffAndWhy) {
  script_.stats_json = kTwoModels;
  Start();
  EXPECT_EQ(RunThere({"quality", "ls"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("off: strayed"));
  EXPECT_THAT(out_.str(), HasSubstr("0.5000"));
  EXPECT_EQ(RunThere({"--json", "quality", "ls"}), kExitOk);
  EXPECT_EQ(json::parse(out_.str())[0]["reason"], "strayed");
}

TEST_F(CommandLineTest, QualityLsOfADaemonThatCountsOtherThingsIsEmpty) {
  for (const char* stats : {"{}", R"({"tenant":{"quality":7}})", R"({"tenant":{"quality":[]}})"}) {
    script_.stats_json = stats;
    Start();
    EXPECT_EQ(RunThere({"quality", "ls"}), kExitOk) << stats;
    EXPECT_EQ(out_.str(), "No engine has reported on a rule.\n");
    daemon_.reset();
  }
  script_.stats_json = R"({"tenant":{"quality":[7,{"rule":7,"mean_kl":"x"}]}})";
  Start();
  EXPECT_EQ(RunThere({"quality", "ls"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("unknown"));
}

TEST_F(CommandLineTest, QualityResetTakesARuleOfAllModelsOrOfOne) {
  script_.stats_json = kTwoModels;
  Start();
  EXPECT_EQ(RunThere({"quality", "reset", "design", "--model", "bb"}), kExitOk);
  EXPECT_EQ(out_.str(), "design goes on with model bb.\n");
  EXPECT_EQ(RunThere({"quality", "reset", "design"}), kExitOk);
  EXPECT_EQ(daemon_->Resets(), (std::vector<std::string>{"bb design", "aa design"}))
      << "without a model, only where it is off";
  EXPECT_EQ(RunThere({"quality", "reset", "boundary"}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr("\"boundary\" is switched off for no model"));
  EXPECT_EQ(RunThere({"quality", "reset", "boundary", "--model", "bb"}), kExitFailure);
  EXPECT_THAT(err_.str(), HasSubstr("with model \"bb\"; kvcommons quality ls lists"));
  EXPECT_EQ(RunThere({"quality", "reset"}), kExitUsage);
  EXPECT_EQ(RunThere({"quality"}), kExitUsage);
  EXPECT_EQ(daemon_->Resets().size(), 2u);
}

}  // namespace
}  // namespace kvcommons
