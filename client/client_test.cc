#include "client/client.h"

#include <kj/async-io.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "client/client_testing.h"

namespace kvcommons {
namespace {

using testing::HasSubstr;

TEST_F(ClientTest, MissingSocketSaysHowToStartADaemon) {
  const auto client = Client::Connect(Options());
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), Code::kUnavailable);
  EXPECT_THAT(client.error().message(), HasSubstr(Path()));
  EXPECT_THAT(client.error().message(), HasSubstr("start kvcommonsd"));
}

TEST_F(ClientTest, StaleSocketSaysThatItsDaemonIsGone) {
  Start();
  std::filesystem::rename(Path(), dir_ + "/t");
  daemon_.reset();
  ClientOptions options;
  options.socket_path = dir_ + "/t";
  const auto client = Client::Connect(options);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), Code::kUnavailable);
  EXPECT_THAT(client.error().message(), HasSubstr("nobody listens"));
}

TEST_F(ClientTest, SocketPathAtTheLimitIsTriedAndOnePastItIsRefused) {
  ClientOptions options;
  options.socket_path = "/tmp/" + std::string(102, 'x');  // 107 bytes
  EXPECT_EQ(Client::Connect(options).error().code(), Code::kUnavailable);
  options.socket_path += 'x';
  EXPECT_EQ(Client::Connect(options).error().code(), Code::kInvalidArgument);
}

TEST_F(ClientTest, NameAtTheLimitLogsInAndOnePastItIsRefused) {
  Start();
  ClientOptions options = Options();
  options.name = std::string(128, 'n');
  EXPECT_TRUE(Client::Connect(options));
  options.name += 'n';
  EXPECT_EQ(Client::Connect(options).error().code(), Code::kInvalidArgument);
}

TEST_F(ClientTest, LoginAnswersWhoTheDaemonIs) {
  Start();
  const auto client = Connect();
  EXPECT_EQ(client->info().protocol_version, 1u);
  EXPECT_EQ(client->info().boot_id, "000102030405060708090a0b0c0d0e0f");
  EXPECT_EQ(client->info().tenant, "uid:1000");
  EXPECT_TRUE(client->info().durable);
  EXPECT_TRUE(client->Ping().ok());
}

TEST_F(ClientTest, RefusedLoginIsTheDaemonsOwnStatus) {
  script_.login = Unsupported("protocol_version is 1; this daemon speaks 9");
  Start();
  const auto client = Client::Connect(Options());
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), Code::kUnsupported);
  EXPECT_THAT(client.error().message(), HasSubstr("speaks 9"));
}

TEST_F(ClientTest, UnknownErrorCodeIsInternal) {
  script_.raw_error_code = 10;
  Start();
  const auto client = Client::Connect(Options());
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), Code::kInternal);
  EXPECT_THAT(client.error().message(), HasSubstr("from the future"));
}

TEST_F(ClientTest, TwoClientsShareOneThread) {
  Start();
  auto first = Connect();
  auto second = Connect();
  EXPECT_TRUE(first->Ping().ok());
  EXPECT_TRUE(second->Ping().ok());
  first.reset();
  EXPECT_TRUE(second->Ping().ok());
}

TEST_F(ClientTest, ThreadWithItsOwnLoopIsRefusedByName) {
  Start();
  std::thread([this] {
    auto io = kj::setupAsyncIo();
    const auto client = Client::Connect(Options());
    ASSERT_FALSE(client);
    EXPECT_EQ(client.error().code(), Code::kUnsupported);
    EXPECT_THAT(client.error().message(), HasSubstr("another thread"));
  }).join();
}

TEST_F(ClientTest, DaemonThatDiesFailsThisCallAndEveryLaterOneAsUnavailable) {
  script_.dies_on_ping = true;
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  const Status status = client->Ping();
  EXPECT_EQ(status.code(), Code::kUnavailable) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr("connect again"));
  EXPECT_EQ(client->Flush().code(), Code::kUnavailable);
  EXPECT_EQ(PlanOf(*model, 17).error().code(), Code::kUnavailable);
}

TEST_F(ClientTest, SilentDaemonIsUnavailableAfterTheTimeLimit) {
  script_.hangs_on_ping = true;
  Start();
  auto client = Connect(50);
  const Status status = client->Ping();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("timeout_ms = 50"));
  EXPECT_TRUE(client->StatsJson());  // the session goes on
}

TEST_F(ClientTest, ExceptionInTheDaemonIsInternalWithItsText) {
  script_.throws_on_ping = true;
  Start();
  const Status status = Connect()->Ping();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("broken on purpose"));
}

TEST_F(ClientTest, ModelWithAnotherFingerprintIsRefused) {
  script_.fingerprint.bytes[3] ^= 1;
  Start();
  auto client = Connect();
  EXPECT_EQ(client->OpenModel(SmallProfile(), GateReport{}).error().code(), Code::kUnsupported);
}

TEST_F(ClientTest, InvalidProfileNeverReachesTheDaemon) {
  Start();
  auto client = Connect();
  ModelProfile profile = SmallProfile();
  profile.block_tokens = 15;
  EXPECT_EQ(client->OpenModel(profile, GateReport{}).error().code(), Code::kInvalidArgument);
}

TEST_F(ClientTest, PromptAtTheLimitIsPlannedAndOnePastItIsRefused) {
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  EXPECT_TRUE(PlanOf(*model, 1024));
  EXPECT_EQ(PlanOf(*model, 0).error().code(), Code::kInvalidArgument);
  tokens_.push_back(1);
  EXPECT_EQ(PlanOf(*model, 1025).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(model->Lookup(tokens_, 1).error().code(), Code::kInvalidArgument);
}

TEST_F(ClientTest, PlannedBlockIsReadableInPlaceAndItsSlabMappedOnce) {
  script_.plan = [](auto, auto reply) { OneBlock(reply, 5, 256); };
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  const auto plan = PlanOf(*model, 17);
  ASSERT_TRUE(plan) << plan.error().ToString();
  ASSERT_EQ((*plan)->spans.size(), 2u);
  const PlannedSpan& span = (*plan)->spans[0];
  EXPECT_EQ(span.kind, SpanKind::kExact);
  EXPECT_EQ(span.reason, "exact_chain");
  ASSERT_NE(span.block, nullptr);
  for (std::uint64_t i = 0; i < 128; ++i) {
    ASSERT_EQ(span.block[i], FakeDaemon::PatternAt(5, 256 + i)) << i;
  }
  EXPECT_EQ((*plan)->spans[1].block, nullptr);
  EXPECT_TRUE(PlanOf(*model, 17));
  EXPECT_EQ(daemon_->SlabRequests(), 1);
}

TEST_F(ClientTest, BlockAtTheSlabsEndIsReadAndOneByteLaterRefused) {
  script_.plan = [this](auto, auto reply) { OneBlock(reply, 0, script_.slab_bytes - 128); };
  EXPECT_TRUE(PlanStatus().ok());
  daemon_.reset();
  script_.plan = [this](auto, auto reply) { OneBlock(reply, 0, script_.slab_bytes - 127); };
  const Status status = PlanStatus();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("slab 0"));
}

TEST_F(ClientTest, OffsetThatWouldOverflowIsRefused) {
  script_.plan = [](auto, auto reply) { OneBlock(reply, 0, ~0ull - 63); };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, RowsBeyondTheirBlockAreRefused) {
  script_.plan = [](auto, auto reply) {
    OneBlock(reply, 0, 0);
    reply.getSpans()[0].setFirstRow(1);
  };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, FirstRowThatWouldWrapAroundIsRefused) {
  script_.plan = [](auto, auto reply) {
    OneBlock(reply, 0, 0);
    reply.getSpans()[0].setFirstRow(~0u - 7);
  };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, BlockOfMoreTokensThanTheModelsIsRefused) {
  script_.plan = [](auto, auto reply) {
    OneBlock(reply, 0, 0);
    reply.getSpans()[0].setBlockTokens(17);
  };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, SpansWithAHoleOrWithoutALastComputedTokenAreRefused) {
  script_.plan = [](auto, auto reply) {
    OneBlock(reply, 0, 0);
    reply.getSpans()[0].setEnd(15);
  };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
  daemon_.reset();
  script_.plan = [](auto, auto reply) {
    OneBlock(reply, 0, 0);
    reply.getSpans()[1].setKind(static_cast<std::uint8_t>(SpanKind::kExact));
    reply.getSpans()[1].setBlockTokens(16);
  };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
  daemon_.reset();
  script_.plan = [](auto, auto) {};
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, ExactSpanThatMovesKeysIsRefused) {
  script_.plan = [](auto, auto reply) {
    OneBlock(reply, 0, 0);
    reply.getSpans()[0].setDelta(3);
  };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, UnknownSpanKindIsRefused) {
  script_.plan = [](auto, auto reply) {
    OneBlock(reply, 0, 0);
    reply.getSpans()[0].setKind(5);
  };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, SlabSmallerThanToldIsCorrupted) {
  script_.plan = [](auto, auto reply) { OneBlock(reply, 0, 0); };
  script_.slab_told_bytes = script_.slab_bytes + 1;
  EXPECT_EQ(PlanStatus().code(), Code::kCorrupted);
}

TEST_F(ClientTest, MissingDescriptorIsInternal) {
  script_.plan = [](auto, auto reply) { OneBlock(reply, 0, 0); };
  script_.passes_descriptors = false;
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, PieceOutsideThePromptIsRefused) {
  script_.plan = [](auto request, auto reply) {
    ComputeAll(request, reply);
    auto pieces = reply.initPieces(1);
    pieces[0].setBegin(16);
    pieces[0].setEnd(18);
  };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientTest, DroppedPlanReleasesItsLeaseAtOnce) {
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 17);
  ASSERT_TRUE(plan);
  EXPECT_TRUE((*plan)->StillHeld());
  EXPECT_EQ(daemon_->LivePlans(), 1);
  plan->reset();
  EXPECT_TRUE(daemon_->WaitForNoPlans());
}

TEST_F(ClientTest, HandlesMayOutliveTheirClient) {
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 17);
  client.reset();
  EXPECT_TRUE((*plan)->StillHeld());
  model.reset();
  plan->reset();
  EXPECT_TRUE(daemon_->WaitForNoPlans());
}

TEST_F(ClientTest, LeaseOfADeadDaemonIsNotHeld) {
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 17);
  daemon_.reset();
  EXPECT_FALSE((*plan)->StillHeld());
}

// Eleven pieces of 16 tokens (128 bytes, each on its own page).
void ElevenPieces(rpc::PlanRequest::Reader request, rpc::PlanReply::Builder reply) {
  ComputeAll(request, reply);
  auto pieces = reply.initPieces(11);
  for (unsigned i = 0; i < 11; ++i) {
    pieces[i].setBegin(16 * i);
    pieces[i].setEnd(16 * i + 16);
  }
}

Status FillWithIndex(Position begin, std::uint32_t count, std::byte* destination) {
  std::fill_n(destination, 8 * count, static_cast<std::byte>(begin / 16));
  return Status();
}

TEST_F(ClientTest, CommitStagesAsManyPiecesAsFitAndFinishesWithTheLastCall) {
  script_.plan = ElevenPieces;
  script_.staging_bytes = 4 * 4096;
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 200, "doc");
  ASSERT_TRUE(plan) << plan.error().ToString();
  const auto outcome = (*plan)->Commit(FillWithIndex, UploadAck::kDurable);
  ASSERT_TRUE(outcome) << outcome.error().ToString();
  EXPECT_EQ(outcome->stored, 11u);
  EXPECT_EQ(outcome->revision, 7u);
  EXPECT_DOUBLE_EQ(outcome->took_us, 30);
  const auto commits = daemon_->Commits();
  ASSERT_EQ(commits.size(), 3u);
  std::uint32_t begin = 0;
  for (const auto& commit : commits) {
    EXPECT_EQ(commit.ack, 1);
    EXPECT_EQ(commit.finish, &commit == &commits.back());
    std::uint64_t offset = 0;
    for (const auto& piece : commit.pieces) {
      EXPECT_EQ(piece.begin, begin);
      EXPECT_EQ(piece.offset, offset);
      EXPECT_EQ(piece.first_byte, static_cast<std::byte>(begin / 16));
      begin += 16;
      offset += 4096;
    }
  }
  EXPECT_EQ(commits[0].pieces.size(), 4u);
  EXPECT_EQ(commits[2].pieces.size(), 3u);
  EXPECT_EQ(daemon_->StagingRequests(), 1);
}

TEST_F(ClientTest, StagingOfExactlyOnePieceSufficesAndOneByteLessIsExhausted) {
  script_.plan = ElevenPieces;
  script_.staging_bytes = 128;
  Start();
  {
    auto client = Connect();
    auto model = OpenModel(*client);
    auto plan = PlanOf(*model, 200);
    EXPECT_TRUE((*plan)->Commit(FillWithIndex, UploadAck::kHeld));
    EXPECT_EQ(daemon_->Commits().size(), 11u);
  }
  daemon_.reset();
  script_.staging_bytes = 127;
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 200);
  EXPECT_EQ((*plan)->Commit(FillWithIndex, UploadAck::kHeld).error().code(), Code::kExhausted);
}

TEST_F(ClientTest, NothingToCommitStillFinishesADocument) {
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 17, "doc");
  const auto outcome = (*plan)->Commit(FillWithIndex, UploadAck::kHeld);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->revision, 7u);
  ASSERT_EQ(daemon_->Commits().size(), 1u);
  EXPECT_TRUE(daemon_->Commits()[0].finish);
  EXPECT_EQ(daemon_->StagingRequests(), 0);
  auto without = PlanOf(*model, 17);
  EXPECT_TRUE((*without)->Commit(FillWithIndex, UploadAck::kHeld));
  EXPECT_EQ(daemon_->Commits().size(), 1u);
}

TEST_F(ClientTest, FailingReaderStopsTheCommitBeforeItIsSent) {
  script_.plan = ElevenPieces;
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 200);
  const auto outcome = (*plan)->Commit(
      [](Position, std::uint32_t, std::byte*) { return Internal("no rows"); }, UploadAck::kHeld);
  EXPECT_EQ(outcome.error().message(), "no rows");
  EXPECT_TRUE(daemon_->Commits().empty());
}

TEST_F(ClientTest, RefusedCommitIsTheDaemonsOwnStatus) {
  script_.plan = ElevenPieces;
  script_.commit = Exhausted("quota");
  Start();
  auto client = Connect();
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 200);
  EXPECT_EQ((*plan)->Commit(FillWithIndex, UploadAck::kHeld).error().code(), Code::kExhausted);
}

TEST_F(ClientTest, StagingIsNotWrittenAgainAfterACommitOfUnknownEnd) {
  script_.plan = ElevenPieces;
  script_.hangs_on_commit = true;
  Start();
  auto client = Connect(50);
  auto model = OpenModel(*client);
  auto plan = PlanOf(*model, 200);
  EXPECT_EQ((*plan)->Commit(FillWithIndex, UploadAck::kHeld).error().code(), Code::kUnavailable);
  EXPECT_EQ((*plan)->Commit(FillWithIndex, UploadAck::kHeld).error().code(), Code::kUnavailable);
  EXPECT_EQ(daemon_->StagingRequests(), 2);
}

TEST_F(ClientTest, UpkeepCallsAnswerWhatTheDaemonSaid) {
  script_.stats_json = R"({"a":1})";
  script_.verify_bad = 2;
  Start();
  auto client = Connect();
  EXPECT_EQ(*client->StatsJson(), R"({"a":1})");
  const auto listing = client->List(10);
  ASSERT_TRUE(listing);
  ASSERT_EQ(listing->blocks.size(), 1u);
  EXPECT_EQ(listing->blocks[0].tokens, 64u);
  ASSERT_EQ(listing->documents.size(), 1u);
  EXPECT_EQ(listing->documents[0].name, "notes.txt");
  EXPECT_TRUE(*client->Remove("00112233445566778899aabbccddeeff"));
  EXPECT_FALSE(*client->Remove("00112233445566778899aabbccddee00"));
  EXPECT_TRUE(client->Flush().ok());
  EXPECT_EQ(client->Verify()->bad, 2u);
  auto model = OpenModel(*client);
  EXPECT_TRUE(*model->RemoveDocument("there"));
  EXPECT_FALSE(*model->RemoveDocument("elsewhere"));
  EXPECT_EQ(model->Lookup(tokens_, 1)->exact_tokens, 1024u);
}

TEST(DefaultSocketPathTest, EnvironmentThenRuntimeFolderThenTmp) {
  setenv("KVCOMMONS_SOCKET", "/a/b", 1);
  setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
  EXPECT_EQ(DefaultSocketPath(), "/a/b");
  unsetenv("KVCOMMONS_SOCKET");
  EXPECT_EQ(DefaultSocketPath(), "/run/user/7/kvcommons/kvcommons.sock");
  unsetenv("XDG_RUNTIME_DIR");
  EXPECT_EQ(DefaultSocketPath(), "/tmp/kvcommons-" + std::to_string(getuid()) + "/kvcommons.sock");
}

}  // namespace
}  // namespace kvcommons
