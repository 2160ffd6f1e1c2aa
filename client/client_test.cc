#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <kj/async-io.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <thread>

#include "client/fake_daemon.h"
#include "client/library.h"

namespace kvcommons {
namespace {

using testing::HasSubstr;

// 2 planes of 4 bytes a row: a block of 16 tokens has 128 bytes.
ModelProfile SmallProfile() {
  ModelProfile profile;
  profile.name = "small";
  profile.layer_count = 1;
  profile.kv_head_count = 1;
  profile.head_dim = 2;
  profile.rotary_dim = 2;
  profile.block_tokens = 16;
  profile.context_tokens = 1024;
  profile.vocabulary_size = 1000;
  profile.numeric_class = "test";
  profile.omega = {1.0f};
  return profile;
}

void ComputeAll(rpc::PlanRequest::Reader request, rpc::PlanReply::Builder reply) {
  auto spans = reply.initSpans(1);
  spans[0].setEnd(request.getTokens().size());
  spans[0].setKind(static_cast<std::uint8_t>(SpanKind::kCompute));
}

// One exact block of 16 rows at `offset` of `slab`, then one computed token.
void OneBlock(rpc::PlanReply::Builder reply, std::uint32_t slab, std::uint64_t offset) {
  auto spans = reply.initSpans(2);
  spans[0].setEnd(16);
  spans[0].setKind(static_cast<std::uint8_t>(SpanKind::kExact));
  spans[0].setReason("exact_chain");
  spans[0].setSlabId(slab);
  spans[0].setOffset(offset);
  spans[0].setBlockTokens(16);
  spans[1].setBegin(16);
  spans[1].setEnd(17);
  spans[1].setKind(static_cast<std::uint8_t>(SpanKind::kCompute));
  spans[1].setReason("last_token");
}

class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    char name[] = "/tmp/kvc-client-XXXXXX";
    dir_ = mkdtemp(name);
    script_.fingerprint = FingerprintOf(SmallProfile());
    script_.plan = ComputeAll;
    std::iota(tokens_.begin(), tokens_.end(), 1);
  }
  ~ClientTest() override {
    daemon_.reset();
    std::filesystem::remove_all(dir_);
  }

  std::string Path() const { return dir_ + "/s"; }
  ClientOptions Options() const {
    ClientOptions options;
    options.socket_path = Path();
    return options;
  }
  void Start() { daemon_ = std::make_unique<FakeDaemon>(Path(), script_); }
  std::unique_ptr<Client> Connect(std::int64_t timeout_ms = 60'000) {
    ClientOptions options = Options();
    options.timeout_ms = timeout_ms;
    auto client = Client::Connect(options);
    EXPECT_TRUE(client) << client.error().ToString();
    return std::move(*client);
  }
  // The plan of the first `count` tokens.
  Result<std::unique_ptr<PlanHandle>> PlanOf(ModelHandle& model, std::size_t count,
                                             const std::string& document = "") {
    PlanRequest request;
    request.tokens = std::span(tokens_).first(count);
    request.document = document;
    return model.Plan(request);
  }
  std::unique_ptr<ModelHandle> OpenModel(Client& client) {
    auto model = client.OpenModel(SmallProfile(), GateReport{});
    EXPECT_TRUE(model) << model.error().ToString();
    return std::move(*model);
  }
  // Plans 17 tokens with the scripted reply; the failure, or ok.
  Status PlanStatus() {
    Start();
    auto client = Connect();
    auto model = OpenModel(*client);
    auto plan = PlanOf(*model, 17);
    return plan ? Status() : plan.error();
  }

  std::string dir_;
  FakeDaemon::Script script_;
  std::unique_ptr<FakeDaemon> daemon_;
  std::vector<TokenId> tokens_ = std::vector<TokenId>(1024);
};

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

// --- Libraries

// 16 canonical rows with loadings of rank 2, then one computed token.
void OneChunk(rpc::PlanReply::Builder reply, std::uint64_t loadings_offset = 128,
              std::uint32_t rank = 2, std::uint32_t version = kLoadingsVersion) {
  OneBlock(reply, 7, 0);
  auto span = reply.getSpans()[0];
  span.setKind(static_cast<std::uint8_t>(SpanKind::kCanonical));
  span.setReason("canonical_mean");
  span.setLoadingsRank(rank);
  span.setLoadingsVersion(version);
  span.setLoadingsOffset(loadings_offset);
  auto chunks = reply.initChunks(1);
  chunks[0].setVariant(static_cast<std::uint8_t>(RootKind::kMean));
  chunks[0].initRoot().setLow(1);
  chunks[0].setDocument("paper.txt");
}

class ClientLibraryTest : public ClientTest {
 protected:
  std::unique_ptr<LibraryHandle> OpenLibrary() {
    Start();
    client_ = Connect();
    model_ = OpenModel(*client_);
    auto library = model_->OpenLibrary(LibraryPrefaces());
    EXPECT_TRUE(library) << library.error().ToString();
    return std::move(*library);
  }
  Result<std::unique_ptr<PlanHandle>> PlanOfChunk(LibraryHandle& library) {
    PlanRequest request;
    request.tokens = std::span(tokens_).first(17);
    request.chunks = {{0, 16}};
    return library.Plan(request);
  }
  Status PlanStatus() {
    const auto library = OpenLibrary();
    const auto plan = PlanOfChunk(*library);
    return plan ? Status() : plan.error();
  }

  std::unique_ptr<Client> client_;
  std::unique_ptr<ModelHandle> model_;
};

TEST_F(ClientLibraryTest, CanonicalSpansSayTheirVariantAndPointAtTheirLoadings) {
  std::uint8_t policy = 0;
  std::uint32_t chunk_end = 0;
  script_.plan = [&](rpc::PlanRequest::Reader request, rpc::PlanReply::Builder reply) {
    policy = request.getPolicy();
    chunk_end = request.getChunks()[0].getEnd();
    OneChunk(reply);
  };
  const auto library = OpenLibrary();
  const auto plan = PlanOfChunk(*library);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ(policy, static_cast<std::uint8_t>(Policy::kCompose));
  EXPECT_EQ(chunk_end, 16u);
  const PlannedSpan& span = (*plan)->spans[0];
  EXPECT_EQ(span.variant, RootKind::kMean);
  EXPECT_EQ(span.root, "01000000000000000000000000000000");
  EXPECT_EQ((*plan)->chunks[0].document, "paper.txt");
  EXPECT_EQ(span.loadings_layout.rank, 2u);
  ASSERT_EQ(span.PlaneLoadings(0).size(), 32u);
  const auto* bytes = reinterpret_cast<const std::byte*>(span.PlaneLoadings(0).data());
  EXPECT_EQ(bytes[0], FakeDaemon::PatternAt(7, 128));
  EXPECT_EQ(bytes[127], FakeDaemon::PatternAt(7, 255));
}

TEST_F(ClientLibraryTest, LoadingsOfAnotherVersionAreLeftAlone) {
  script_.plan = [](auto, auto reply) { OneChunk(reply, 128, 2, kLoadingsVersion + 1); };
  const auto library = OpenLibrary();
  const auto plan = PlanOfChunk(*library);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ((*plan)->spans[0].loadings, nullptr);
  EXPECT_EQ((*plan)->spans[0].loadings_layout.rank, 0u);
}

TEST_F(ClientLibraryTest, LoadingsThatLieOutsideTheSlabAreRefused) {
  script_.plan = [](auto, auto reply) { OneChunk(reply, (1 << 20) - 128); };
  EXPECT_THAT(PlanStatus().message(), HasSubstr("has loadings of rank 2 at offset 1048448"));
}

TEST_F(ClientLibraryTest, LoadingsAtACrookedOffsetAreRefused) {
  script_.plan = [](auto, auto reply) { OneChunk(reply, 130); };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientLibraryTest, LoadingsOfTooHighARankAreRefused) {
  script_.plan = [](auto, auto reply) { OneChunk(reply, 128, kMaxLoadingsRank + 1); };
  EXPECT_EQ(PlanStatus().code(), Code::kInternal);
}

TEST_F(ClientLibraryTest, ASpanOfAChunkThatThePlanDoesNotHaveIsRefused) {
  script_.plan = [](auto, auto reply) {
    OneChunk(reply);
    reply.getSpans()[0].setChunk(1);
  };
  EXPECT_THAT(PlanStatus().message(), HasSubstr("is of chunk 1; the plan has 1"));
}

TEST_F(ClientLibraryTest, AVariantThatThisClientDoesNotKnowIsRefused) {
  script_.plan = [](auto, auto reply) {
    OneChunk(reply);
    reply.getChunks()[0].setVariant(kMaxRootKind + 1);
  };
  EXPECT_THAT(PlanStatus().message(), HasSubstr("is of variant 6"));
}

TEST_F(ClientLibraryTest, WorkIsHandedInBlockByBlockWithItsLoadings) {
  // A full block takes 128 bytes of planes and 132 of loadings; staging holds only one of them.
  script_.staging_bytes = 4096 + 64;
  const auto library = OpenLibrary();
  const auto work = library->NextWork();
  ASSERT_TRUE(work && *work) << work.error().ToString();
  EXPECT_EQ((*work)->name, "paper.txt");
  EXPECT_EQ((*work)->kind, RootKind::kMean);
  ASSERT_EQ((*work)->prefaces.size(), 2u);
  EXPECT_EQ((*work)->prefaces[1].size(), 3u);
  std::vector<std::pair<Position, std::uint32_t>> asked;
  const auto stored = (*work)->Commit(
      [&](Position begin, std::uint32_t count, std::byte* destination) {
        asked.emplace_back(begin, count);
        *destination = static_cast<std::byte>(begin + 1);
        return Status();
      },
      2, 1234, UploadAck::kDurable);
  ASSERT_TRUE(stored) << stored.error().ToString();
  EXPECT_EQ(*stored, 2u);
  EXPECT_EQ(asked, (std::vector<std::pair<Position, std::uint32_t>>{{0, 16}, {16, 4}}));
  const auto commits = daemon_->Commits();
  ASSERT_EQ(commits.size(), 2u);
  EXPECT_FALSE(commits[0].finish);
  EXPECT_TRUE(commits[1].finish);
  EXPECT_EQ(commits[1].pieces[0].begin, 1u);
  EXPECT_EQ(commits[1].pieces[0].first_byte, std::byte{17});
  EXPECT_EQ(commits[1].ack, 1);
}

TEST_F(ClientLibraryTest, AFailureOfTheWriterEndsTheWork) {
  const auto library = OpenLibrary();
  const auto work = library->NextWork();
  const auto stored = (*work)->Commit(
      [](Position, std::uint32_t, std::byte*) { return Internal("the engine broke"); }, 0, 0,
      UploadAck::kHeld);
  EXPECT_EQ(stored.error().message(), "the engine broke");
  EXPECT_TRUE(daemon_->Commits().empty());
}

TEST_F(ClientLibraryTest, ListingsNameDocumentModelAndVariants) {
  Start();
  const auto client = Connect();
  const auto list = client->ListLibrary(10);
  ASSERT_TRUE(list) << list.error().ToString();
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().name, "paper.txt");
  EXPECT_EQ(list->front().key, "0123456789abcdef0123456789abcdef");
  ASSERT_EQ(list->front().variants.size(), 1u);
  EXPECT_EQ(list->front().variants[0].prepare_us, 1'500'000u);
}

TEST_F(ClientLibraryTest, QualityIsAnsweredWithItsReason) {
  Start();
  const auto client = Connect();
  const auto quality = OpenModel(*client)->ReportQuality("design", 0.5, 0.75);
  ASSERT_TRUE(quality) << quality.error().ToString();
  EXPECT_EQ(quality->mean_kl, 0.5);
  EXPECT_EQ(quality->mean_top1, 0.75);
  EXPECT_FALSE(quality->enabled);
  EXPECT_EQ(quality->reason, "told so");
}

}  // namespace
}  // namespace kvcommons
