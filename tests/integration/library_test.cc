// Libraries over the life of a real daemon: texts that were prepared are there after SIGKILL, rows
// and loadings bit for bit; a worker that is killed gives back what it claimed.

#include "client/library.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/integration/daemon_process.h"
#include "tests/integration/synthetic_model.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kRank = 4;

struct Session {
  std::unique_ptr<Client> client;
  std::unique_ptr<ModelHandle> model;
  std::unique_ptr<LibraryHandle> library;
};

class LibraryIntegrationTest : public testing::Test {
 protected:
  LibraryIntegrationTest() : seed_(std::random_device{}()), random_(seed_) {
    prefaces_.system_tokens = RandomTokens(random_, 30);
    prefaces_.prefaces = 2;
    prefaces_.passages_per_preface = 1;
    prefaces_.neutral = {RandomTokens(random_, 40), RandomTokens(random_, 40)};
  }
  void SetUp() override {
    const Status started = daemon_.Start();
    ASSERT_TRUE(started.ok()) << started.ToString();
  }

  Session Open() {
    Session session;
    session.client = daemon_.Connect().value();
    session.model = session.client->OpenModel(SyntheticProfile(), PassedGate()).value();
    session.library = session.model->OpenLibrary(prefaces_).value();
    return session;
  }

  static float Loading(Position row, std::size_t i) {
    return static_cast<float>(row) + 0.25f * static_cast<float>(i);
  }

  // Rows as WriteRows() makes them for the text alone, loadings as Loading() does.
  static Status WriteBlock(std::span<const TokenId> tokens, Position begin, std::uint32_t count,
                           std::byte* destination) {
    WriteRows(tokens, begin, count, destination);
    const ModelProfile profile = SyntheticProfile();
    auto* next = reinterpret_cast<float*>(
        destination + LoadingsLayout::OffsetBytes(profile.planes().BlockBytes(count)));
    for (std::size_t plane = 0; plane < profile.planes().plane_count(); ++plane) {
      for (std::uint32_t i = 0; i < count * kRank; ++i) {
        *next++ = Loading(begin + static_cast<Position>(i / kRank), i % kRank);
      }
      *next++ = 0.5f;
    }
    return Status();
  }

  // Prepares everything; how many variants that were.
  static int PrepareAll(Session& session) {
    int count = 0;
    for (;; ++count) {
      auto work = session.library->NextWork();
      if (!work || *work == nullptr) return count;
      const auto stored = (*work)->Commit(
          [&](Position begin, std::uint32_t rows, std::byte* destination) {
            return WriteBlock((*work)->tokens, begin, rows, destination);
          },
          kRank, 1000, UploadAck::kDurable);
      EXPECT_TRUE(stored) << stored.error().ToString();
      if (!stored) return count;
    }
  }

  // Rows of the plan's canonical spans that are not what was handed in for `text`.
  static int CountWrong(const PlanHandle& plan, std::span<const TokenId> text) {
    const ModelProfile profile = SyntheticProfile();
    const PlaneLayout planes = profile.planes();
    int wrong = 0;
    for (const PlannedSpan& span : plan.spans) {
      if (span.kind != SpanKind::kCanonical) continue;
      const Position block_begin = span.chunk_row - static_cast<Position>(span.first_row);
      std::vector<std::byte> wanted(planes.BlockBytes(span.block_tokens));
      WriteRows(text, block_begin, span.block_tokens, wanted.data());
      wrong += std::memcmp(span.block, wanted.data(), wanted.size()) == 0 ? 0 : 1;
      for (std::size_t i = 0; i < span.PlaneLoadings(1).size(); ++i) {
        const auto row = span.chunk_row + static_cast<Position>(i / kRank);
        wrong += span.PlaneLoadings(1)[i] == Loading(row, i % kRank) ? 0 : 1;
      }
      wrong += span.PlaneResidue(1) == 0.5f ? 0 : 1;
    }
    return wrong;
  }

  std::uint64_t seed_;
  std::mt19937_64 random_;
  DaemonProcess daemon_;
  LibraryPrefaces prefaces_;
};

TEST_F(LibraryIntegrationTest, PreparedTextsSurviveSigkillBitForBit) {
  const auto text = RandomTokens(random_, 200);
  {
    Session session = Open();
    const auto put = session.library->Put("text", text);
    ASSERT_TRUE(put) << put.error().ToString();
    EXPECT_EQ(PrepareAll(session), 2);  // system and mean
  }
  daemon_.Kill();
  ASSERT_TRUE(daemon_.Start().ok());
  Session session = Open();
  auto prompt = RandomTokens(random_, 50);
  prompt.insert(prompt.end(), text.begin(), text.end());
  prompt.push_back(1);
  PlanRequest request;
  request.tokens = prompt;
  request.chunks = {{50, 250}};
  const auto plan = session.library->Plan(request);
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ((*plan)->canonical_rows, 200u) << (*plan)->explanation;
  EXPECT_EQ((*plan)->chunks[0].variant, RootKind::kMean);
  EXPECT_EQ((*plan)->chunks[0].document, "text");
  EXPECT_EQ(CountWrong(**plan, text), 0) << "seed=" << seed_;
  EXPECT_TRUE((*plan)->StillHeld());
}

TEST_F(LibraryIntegrationTest, ADroppedWorkIsOfferedAgain) {
  Session session = Open();
  ASSERT_TRUE(session.library->Put("text", RandomTokens(random_, 20)));
  auto work = session.library->NextWork(1u << static_cast<unsigned>(RootKind::kSystem));
  ASSERT_TRUE(work && *work);
  work->reset();
  EXPECT_EQ(PrepareAll(session), 2);
  const auto status = session.library->GetStatus();
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_EQ(status->pending, 0u);
  EXPECT_EQ(status->prepare_us, 2000u);
}

TEST_F(LibraryIntegrationTest, TheCommandsListAndRemoveByKey) {
  Session session = Open();
  ASSERT_TRUE(session.library->Put("text", RandomTokens(random_, 20)));
  const auto list = session.client->ListLibrary(10);
  ASSERT_TRUE(list) << list.error().ToString();
  ASSERT_EQ(list->size(), 1u);
  EXPECT_EQ(list->front().fingerprint, session.model->fingerprint().ToHex());
  EXPECT_EQ(session.client->Remove(list->front().key).value_or(false), true);
  EXPECT_FALSE(session.library->Get("text").value().has_value());
  EXPECT_EQ(session.client->Remove(list->front().key).value_or(true), false);
}

}  // namespace
}  // namespace kvcommons
