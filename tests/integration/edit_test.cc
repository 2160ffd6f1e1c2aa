// The main job with everything real: the command, the engine with a model, a daemon and its disk.
// An edited document's rows are moved, stay close to full prefill, survive SIGKILL, and are the
// same bytes in equal runs; what cannot be done is refused by name.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/integration/daemon_process.h"

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

class EditTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* const model = std::getenv("KVCOMMONS_MODEL");
    if (model == nullptr || *model == '\0') GTEST_SKIP() << "KVCOMMONS_MODEL names no model";
    model_ = model;
    // Some 560 tokens of a real document, and an edit near its beginning.
    before_ = ReadText(KVCOMMONS_QUICKSTART_DATA "/pep-0604.0.rst").substr(0, 2000);
    ASSERT_EQ(before_.size(), 2000u);
    after_ = before_;
    after_.insert(after_.find("Author:"), "Reviewer: Somebody Else <somebody@example.org>\n");
    const Status started = daemon_.Start();
    ASSERT_TRUE(started.ok()) << started.ToString();
  }

  ProgramOutput Edit(const DaemonProcess& daemon, const std::string& before,
                     const std::string& after, const std::vector<std::string>& more = {}) {
    std::ofstream(daemon.folder() + "/before.txt", std::ios::binary) << before;
    std::ofstream(daemon.folder() + "/after.txt", std::ios::binary) << after;
    std::vector<std::string> arguments = {KVCOMMONS_ENGINE_BINARY,
                                          "edit",
                                          "--model",
                                          model_,
                                          "--daemon",
                                          daemon.socket_path(),
                                          "--before",
                                          daemon.folder() + "/before.txt",
                                          "--after",
                                          daemon.folder() + "/after.txt",
                                          "--document",
                                          "doc",
                                          "--json",
                                          JsonPath(daemon),
                                          "--fixed-costs",
                                          "--max-tokens",
                                          "8"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunProgram(arguments);
  }

  static std::string JsonPath(const DaemonProcess& daemon) {
    return daemon.folder() + "/edit.json";
  }
  static nlohmann::json JsonOf(const DaemonProcess& daemon) {
    return nlohmann::json::parse(ReadText(JsonPath(daemon)), nullptr, false);
  }

  std::string model_, before_, after_;
  DaemonProcess daemon_;
};

TEST_F(EditTest, AnEditedDocumentsRowsAreMovedAndStayCloseToFullPrefill) {
  const ProgramOutput run = Edit(daemon_, before_, after_, {"--compare"});
  ASSERT_EQ(run.exit_code, 0) << run.output;
  const auto json = JsonOf(daemon_);
  const auto& tokens = json["tokens"];
  const int total = tokens["total"], exact = tokens["exact"], moved = tokens["moved"],
            computed = tokens["computed"];
  EXPECT_EQ(total, exact + moved + computed);
  EXPECT_GT(moved, total / 2);
  EXPECT_LT(computed, total / 4);
  EXPECT_EQ(json["fallback"], "");
  // Rows at the wrong place, or of the wrong layout, give more than 1.
  EXPECT_LT(json["kl_mean"].get<double>(), 0.1);
  EXPECT_GE(json["top1_agreement"].get<double>(), 0.5);
  EXPECT_LT(json["ttft_ms"]["edit"].get<double>(), json["ttft_ms"]["full"].get<double>());
}

TEST_F(EditTest, AfterSigkillTheNextEditStartsFromDisk) {
  const ProgramOutput first = Edit(daemon_, before_, after_);
  ASSERT_EQ(first.exit_code, 0) << first.output;
  daemon_.Kill();
  const Status started = daemon_.Start();
  ASSERT_TRUE(started.ok()) << started.ToString();

  const ProgramOutput back = Edit(daemon_, after_, before_);
  ASSERT_EQ(back.exit_code, 0) << back.output;
  const auto json = JsonOf(daemon_);
  EXPECT_EQ(json["before_ms"].get<double>(), 0);  // The version before was there.
  EXPECT_LT(json["tokens"]["computed"].get<int>(), json["tokens"]["total"].get<int>() / 4);
}

TEST_F(EditTest, EqualRunsGiveEqualBytes) {
  ASSERT_EQ(Edit(daemon_, before_, after_, {"--compare"}).exit_code, 0);
  DaemonProcess other;
  ASSERT_TRUE(other.Start().ok());
  ASSERT_EQ(Edit(other, before_, after_, {"--compare"}).exit_code, 0);
  EXPECT_EQ(JsonOf(daemon_)["logits_hash"], JsonOf(other)["logits_hash"]);
  EXPECT_EQ(JsonOf(daemon_)["text"], JsonOf(other)["text"]);
}

TEST_F(EditTest, AnEmptyDocumentIsRefused) {
  const ProgramOutput run = Edit(daemon_, before_, "");
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.output, HasSubstr("the document is empty"));
}

TEST_F(EditTest, ADocumentLongerThanTheContextIsRefusedWithBothNumbers) {
  const ProgramOutput run = Edit(daemon_, before_, after_, {"--context", "256"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.output, HasSubstr("the context holds 256"));
}

TEST_F(EditTest, WithoutADaemonTheMessageSaysWhatToDo) {
  daemon_.Kill();
  const ProgramOutput run = Edit(daemon_, before_, after_);
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.output, HasSubstr("start kvcommonsd"));
}

}  // namespace
}  // namespace kvcommons
