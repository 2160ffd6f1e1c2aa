// Libraries, their work and their plans, as a client reads them from a daemon that may err.

#include "client/client_testing.h"
#include "client/library.h"

namespace kvcommons {
namespace {

using testing::HasSubstr;

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
