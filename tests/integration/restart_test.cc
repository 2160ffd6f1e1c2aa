// What a user may rely on over the life of a real daemon: what was acknowledged as durable is there
// after SIGKILL, bit for bit; a document's revision survives and the next edit starts from it;
// wrong folders, sockets and versions are refused with a word on what to do.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "tests/integration/daemon_process.h"
#include "tests/integration/synthetic_model.h"

namespace kvcommons {
namespace {

using ::testing::HasSubstr;

struct Session {
  std::unique_ptr<Client> client;
  std::unique_ptr<ModelHandle> model;
};

Session Open(const DaemonProcess& daemon) {
  Session session;
  auto client = daemon.Connect();
  EXPECT_TRUE(client.has_value()) << client.error().ToString();
  session.client = std::move(*client);
  auto model = session.client->OpenModel(SyntheticProfile(), PassedGate());
  EXPECT_TRUE(model.has_value()) << model.error().ToString();
  session.model = std::move(*model);
  return session;
}

class RestartTest : public testing::Test {
 protected:
  RestartTest() : seed_(std::random_device{}()), random_(seed_) {}
  void SetUp() override {
    const Status started = daemon_.Start();
    ASSERT_TRUE(started.ok()) << started.ToString();
  }
  std::uint64_t seed_;
  std::mt19937_64 random_;
  DaemonProcess daemon_;
};

TEST_F(RestartTest, DurableBlocksSurviveSigkillBitForBit) {
  const auto prompt = RandomTokens(random_, 1000);
  {
    Session session = Open(daemon_);
    ASSERT_TRUE(StorePrompt(*session.model, prompt, "", UploadAck::kDurable).status.ok());
  }
  daemon_.Kill();
  const Status started = daemon_.Start();
  ASSERT_TRUE(started.ok()) << started.ToString();

  Session session = Open(daemon_);
  const StoreOutcome again = StorePrompt(*session.model, prompt, "", UploadAck::kDurable);
  ASSERT_TRUE(again.status.ok()) << again.status.ToString();
  EXPECT_GE(again.exact, 992u) << "seed=" << seed_;  // All full blocks; the last token is computed.
  EXPECT_EQ(again.wrong, 0u) << "seed=" << seed_;
}

TEST_F(RestartTest, ADocumentsRevisionSurvivesAndTheNextEditStartsFromIt) {
  const auto before = RandomTokens(random_, 600);
  {
    Session session = Open(daemon_);
    const StoreOutcome stored = StorePrompt(*session.model, before, "doc", UploadAck::kDurable);
    ASSERT_TRUE(stored.status.ok()) << stored.status.ToString();
    EXPECT_EQ(stored.revision, 1u);
  }
  daemon_.Kill();
  ASSERT_TRUE(daemon_.Start().ok());

  Session session = Open(daemon_);
  auto after = before;
  const auto inserted = RandomTokens(random_, 7);
  after.insert(after.begin() + 200, inserted.begin(), inserted.end());
  PlanRequest request;
  request.tokens = after;
  request.document = "doc";
  request.store_tokens = static_cast<std::uint32_t>(after.size());
  auto plan = session.model->Plan(request);
  ASSERT_TRUE(plan.has_value()) << plan.error().ToString();
  EXPECT_EQ((*plan)->parent_revision, 1u);
  EXPECT_GE((*plan)->moved_rows, 300u) << (*plan)->explanation;
  EXPECT_LE((*plan)->exact_rows, 200u);
  // Moved rows are the bytes that were stored for the version before, at the positions they had.
  const PlaneLayout planes = SyntheticProfile().planes();
  for (const PlannedSpan& span : (*plan)->spans) {
    if (span.kind != SpanKind::kMoved) continue;
    EXPECT_EQ(span.delta, 7);
    std::vector<std::byte> expected(planes.BlockBytes(1));
    WriteRows(before, span.begin - span.delta, 1, expected.data());
    EXPECT_EQ(std::memcmp(span.block + span.first_row * planes.row_bytes[0], expected.data(),
                          planes.row_bytes[0]),
              0)
        << "seed=" << seed_;
  }
  auto committed = (*plan)->Commit(
      [&](Position begin, std::uint32_t count, std::byte* destination) {
        WriteRows(after, begin, count, destination);
        return Status();
      },
      UploadAck::kDurable);
  ASSERT_TRUE(committed.has_value()) << committed.error().ToString();
  EXPECT_EQ(committed->revision, 2u);
}

TEST_F(RestartTest, SigtermEndsWithZeroAndLeavesNoSocket) {
  EXPECT_EQ(daemon_.Stop(), 0);
  EXPECT_FALSE(std::filesystem::exists(daemon_.socket_path()));
}

TEST_F(RestartTest, HeldBlocksBecomeDurableByACleanShutdown) {
  const auto prompt = RandomTokens(random_, 320);
  {
    Session session = Open(daemon_);
    ASSERT_TRUE(StorePrompt(*session.model, prompt, "", UploadAck::kHeld).status.ok());
  }
  EXPECT_EQ(daemon_.Stop(), 0);
  ASSERT_TRUE(daemon_.Start().ok());
  Session session = Open(daemon_);
  const auto lookup = session.model->Lookup(prompt, 1);
  ASSERT_TRUE(lookup.has_value());
  EXPECT_EQ(lookup->exact_tokens, 320u) << "seed=" << seed_;
}

TEST_F(RestartTest, AStaleSocketIsReplaced) {
  daemon_.Kill();
  ASSERT_TRUE(std::filesystem::exists(daemon_.socket_path()));
  EXPECT_TRUE(daemon_.Start().ok());
}

TEST_F(RestartTest, ASecondDaemonOnTheSameStoreIsRefused) {
  const ProgramOutput second =
      RunProgram({KVCOMMONSD_BINARY, "--data-dir", daemon_.data_folder(), "--socket",
                  daemon_.folder() + "/other.sock", "--http", "off"});
  EXPECT_NE(second.exit_code, 0);
  EXPECT_THAT(second.output, HasSubstr(daemon_.data_folder()));
}

TEST_F(RestartTest, ASecondDaemonOnTheSameSocketIsRefused) {
  const ProgramOutput second =
      RunProgram({KVCOMMONSD_BINARY, "--data-dir", daemon_.folder() + "/other", "--socket",
                  daemon_.socket_path(), "--http", "off"});
  EXPECT_NE(second.exit_code, 0);
  EXPECT_THAT(second.output, HasSubstr(daemon_.socket_path()));
  EXPECT_TRUE(daemon_.Connect().has_value());
}

TEST_F(RestartTest, AWrongSettingStopsTheStartWithNameValueAndRange) {
  const ProgramOutput wrong =
      RunProgram({KVCOMMONSD_BINARY, "--data-dir", daemon_.folder() + "/other", "--socket",
                  daemon_.folder() + "/other.sock", "--memory", "lots"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.output, HasSubstr("memory"));
  EXPECT_THAT(wrong.output, HasSubstr("lots"));
}

}  // namespace
}  // namespace kvcommons
