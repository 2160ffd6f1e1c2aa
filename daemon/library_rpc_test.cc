// Texts, their preparation and composed prompts, as clients see them.

#include <sys/mman.h>

#include <algorithm>

#include "base/bytes.h"
#include "daemon/library_testing.h"
#include "daemon/rpc_session.h"

namespace kvcommons {
namespace {

using testing::CanonicalByte;
using testing::CodeOf;
using testing::Joined;
using testing::MessageOf;
using testing::ModelShape;
using testing::Slice;
using testing::TestClient;
using testing::TestDaemon;
using testing::TestLibrary;
using testing::TestPrefaces;
using testing::Text;
using testing::Tokens;

constexpr std::uint32_t kMeanBit = 1u << static_cast<unsigned>(RootKind::kMean);

class LibraryRpcTest : public ::testing::Test {
 protected:
  static void WithDisk(Daemon::Options& options) { options.config.disk_bytes = 64 * kMiB; }

  template <typename Condition>
  bool Eventually(Condition condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
      io_.provider->getTimer().afterDelay(5 * kj::MILLISECONDS).wait(io_.waitScope);
    }
    return false;
  }

  testing::EventLoop loop_;
  kj::AsyncIoContext& io_ = loop_.io;
  ModelShape shape_;
  const Tokens a_ = Text(40, 1), b_ = Text(35, 2), c_ = Text(20, 3), question_ = Text(9, 4);
};

TEST_F(LibraryRpcTest, ADocumentIsServedFromSystemUntilMeanIsReady) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  auto put = library.Put("a", a_);
  ASSERT_EQ(MessageOf(put), "");
  EXPECT_TRUE(put.getIsNew());
  EXPECT_EQ(put.getDocument().getTokenCount(), 40u);
  const Tokens prompt = Joined({question_, a_, question_});
  EXPECT_EQ(TestLibrary::Shape(library.Plan(prompt, {{9, 49}})), "not_in_library 58");
  for (const RootKind kind : {RootKind::kSystem, RootKind::kMean}) {
    auto work = library.NextWork();
    ASSERT_TRUE(work.hasWork());
    EXPECT_EQ(work.getDescription().getKind(), static_cast<std::uint8_t>(kind));
    ASSERT_EQ(MessageOf(library.Commit(work)), "");
    auto plan = library.Plan(prompt, {{9, 49}});
    EXPECT_EQ(
        TestLibrary::Shape(plan),
        "between_chunks 9, canonical_" + std::string(RootKindName(kind)) + " 40, between_chunks 9");
    EXPECT_EQ(plan.getReply().getCanonicalRows(), 40u);
    // The plan names what it used (I3).
    EXPECT_EQ(plan.getReply().getChunks()[0].getVariant(), static_cast<std::uint8_t>(kind));
    EXPECT_STREQ(plan.getReply().getChunks()[0].getDocument().cStr(), "a");
    for (std::uint32_t row = 0; row < 40; ++row) {
      EXPECT_EQ(client.Read(plan, 9 + row, 3, shape_), CanonicalByte(a_[row], row, kind, 3));
    }
  }
  EXPECT_FALSE(library.NextWork().hasWork());
  const auto response = library.GetStatus();
  const auto status = response.getStatus();
  EXPECT_EQ(status.getDocuments(), 1u);
  EXPECT_EQ(status.getReady()[static_cast<unsigned>(RootKind::kSystem)], 1u);
  EXPECT_EQ(status.getReady()[static_cast<unsigned>(RootKind::kMean)], 1u);
  EXPECT_EQ(status.getPending(), 0u);
  EXPECT_EQ(status.getPrepareUs(), 2000u);
}

TEST_F(LibraryRpcTest, WorkSaysWhatToRunBehindWhat) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  auto system = library.NextWork();
  ASSERT_EQ(system.getDescription().getPrefaces().size(), 1u);
  EXPECT_EQ(system.getDescription().getPrefaces()[0].size(), 12u);
  EXPECT_EQ(system.getDescription().getTokens().size(), 40u);
  auto mean = library.NextWork();
  ASSERT_EQ(mean.getDescription().getPrefaces().size(), 4u);
  for (const auto preface : mean.getDescription().getPrefaces()) {
    EXPECT_EQ(preface.size(), 12u + 2 * 20);
  }
  EXPECT_FALSE(library.NextWork().hasWork());  // All is claimed.
  EXPECT_EQ(library.GetStatus().getStatus().getClaimed(), 2u);
  EXPECT_EQ(library.GetStatus().getStatus().getPending(), 2u);
}

TEST_F(LibraryRpcTest, LoadingsLieBehindThePlanesWhereThePlanSays) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll(0, 4);
  const auto plan = library.Plan(Joined({c_, a_, question_}), {{20, 60}});
  unsigned seen = 0;
  for (const auto span : plan.getReply().getSpans()) {
    if (span.getKind() != static_cast<std::uint8_t>(SpanKind::kCanonical)) continue;
    ASSERT_EQ(span.getLoadingsRank(), 4u);
    ASSERT_EQ(span.getLoadingsVersion(), kLoadingsVersion);
    auto request = client.Session().slabRequest();
    request.setSlabId(span.getSlabId());
    auto slab = request.send().wait(io_.waitScope);
    const std::byte* const bytes = client.Map(slab.getMemory(), slab.getBytes(), PROT_READ);
    const auto* loadings = reinterpret_cast<const float*>(bytes + span.getLoadingsOffset());
    const LoadingsLayout layout{2 * std::size_t{shape_.layers}, span.getBlockTokens(), 4};
    for (std::size_t plane = 0; plane < layout.planes; ++plane) {
      for (std::uint32_t row = span.getFirstRow();
           row < span.getFirstRow() + span.getEnd() - span.getBegin(); ++row) {
        const std::uint32_t chunk_row = span.getChunkRow() + row - span.getFirstRow();
        EXPECT_EQ(layout.Plane(loadings, plane)[row * 4 + 3],
                  testing::CanonicalLoading(plane, chunk_row, 3));
        ++seen;
      }
      EXPECT_EQ(layout.Residue(loadings, plane), static_cast<float>(plane) + 0.5f);
    }
  }
  EXPECT_EQ(seen, 2 * 2 * 40u);
}

TEST_F(LibraryRpcTest, VariantsCanBeRestrictedForComparison) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  EXPECT_EQ(library.PrepareAll(2 + 4 + 8 + 16), "system a, sink a, warm a, mean a");
  const Tokens prompt = Joined({a_, question_});
  const auto shape = [&](std::uint32_t variants) {
    return TestLibrary::Shape(library.Plan(prompt, {{0, 40}}, 0, variants));
  };
  EXPECT_EQ(shape(0), "canonical_mean 40, between_chunks 9");
  EXPECT_EQ(shape(2), "canonical_sink 40, between_chunks 9");
  EXPECT_EQ(shape(4 + 8), "canonical_warm 40, between_chunks 9");
  EXPECT_EQ(shape(32), "not_in_library 49");
}

TEST_F(LibraryRpcTest, TheSameTextsInAnyOrderAndTwiceComeFromTheLibrary) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.Put("b", b_);
  library.PrepareAll();
  auto plan = library.Plan(Joined({b_, a_, b_, question_}), {{0, 35}, {35, 75}, {75, 110}});
  EXPECT_EQ(plan.getReply().getCanonicalRows(), 110u);
  for (std::uint32_t row = 0; row < 35; ++row) {
    const std::byte wanted = CanonicalByte(b_[row], row, RootKind::kMean, 0);
    EXPECT_EQ(client.Read(plan, row, 0, shape_), wanted);
    EXPECT_EQ(client.Read(plan, 75 + row, 0, shape_), wanted);
  }
}

TEST_F(LibraryRpcTest, AChunkGoesOnBehindExactRowsInTheMiddleOfABlock) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  const Tokens prompt = Joined({question_, a_, question_});
  auto exact = client.Plan(library.model(), {.tokens = prompt, .store_tokens = 32});
  ASSERT_EQ(MessageOf(client.Commit(exact, prompt, shape_)), "");
  auto plan = library.Plan(prompt, {{9, 49}});
  EXPECT_EQ(TestLibrary::Shape(plan), "exact_chain 32, canonical_mean 17, between_chunks 9");
  EXPECT_EQ(client.Read(plan, 31, 0, shape_), testing::RowByte(prompt, 31, 0));
  for (std::uint32_t row = 32; row < 49; ++row) {
    EXPECT_EQ(client.Read(plan, row, 0, shape_),
              CanonicalByte(a_[row - 9], row - 9, RootKind::kMean, 0));
  }
}

// I3.
TEST_F(LibraryRpcTest, ACommitOfAComposedPlanOffersOnlyWhatIsExact) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  const Tokens intro = Text(40, 77);
  const Tokens prompt = Joined({intro, a_, question_});
  const auto count = static_cast<std::uint32_t>(prompt.size());
  auto plan = library.Plan(prompt, {{40, 80}}, count);
  // Two full blocks of the introduction; the third has canonical rows, and nothing after it is
  // exact.
  const auto pieces = plan.getReply().getPieces();
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[1].getEnd(), 32u);
  for (const auto piece : pieces) {
    EXPECT_EQ(piece.getStorageClass(), static_cast<std::uint8_t>(StorageClass::kExact));
  }
  ASSERT_EQ(MessageOf(client.Commit(plan, prompt, shape_, Ack::kHeld, false)), "");
  const auto again = client.Plan(library.model(), {.tokens = prompt});
  EXPECT_EQ(again.getReply().getExactRows(), 32u);
  // Behind them the chunk is canonical as before.
  EXPECT_EQ(TestLibrary::Shape(library.Plan(prompt, {{40, 80}}, count)),
            "exact_chain 32, between_chunks 8, canonical_mean 40, between_chunks 9");
}

TEST_F(LibraryRpcTest, ADocumentRemovedWhileAPlanHoldsItStaysReadable) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  const Tokens prompt = Joined({a_, question_});
  auto plan = library.Plan(prompt, {{0, 40}});
  EXPECT_TRUE(library.Remove("a"));
  EXPECT_FALSE(library.Remove("a"));
  EXPECT_EQ(client.Read(plan, 21, 1, shape_), CanonicalByte(a_[21], 21, RootKind::kMean, 1));
  EXPECT_TRUE(plan.getPlan().checkRequest().send().wait(io_.waitScope).getHeld());
  EXPECT_EQ(TestLibrary::Shape(library.Plan(prompt, {{0, 40}})), "not_in_library 49");
  EXPECT_EQ(library.GetStatus().getStatus().getDocuments(), 0u);
  EXPECT_FALSE(library.NextWork().hasWork());
}

TEST_F(LibraryRpcTest, WorkOnADocumentThatIsGoneOrReplacedStoresNothing) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  {
    auto work = library.NextWork();
    library.Remove("a");
    const auto refused = library.Commit(work);
    EXPECT_EQ(CodeOf(refused), Code::kNotFound);
    EXPECT_EQ(MessageOf(refused),
              "document 'a' was removed or replaced meanwhile; nothing of this work is stored");
  }
  library.Put("a", a_);
  {
    auto work = library.NextWork();
    ASSERT_TRUE(work.hasWork());
    ASSERT_EQ(MessageOf(library.Commit(work, 0, 0, 1, false)), "");
    library.Put("a", b_);
    EXPECT_EQ(CodeOf(library.Commit(work, 0, 1, 3)), Code::kNotFound);
  }
  EXPECT_TRUE(Eventually([&] { return daemon.get().store().GetStats().index_entries == 0; }));
}

TEST_F(LibraryRpcTest, UnfinishedWorkLeavesNothingAndGivesItsClaimBack) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  {
    auto work = library.NextWork(4);
    ASSERT_EQ(MessageOf(library.Commit(work, 0, 0, 2, false)), "");
    EXPECT_EQ(daemon.get().store().GetStats().index_entries, 2u);
    EXPECT_FALSE(library.NextWork(4).hasWork());
    EXPECT_EQ(TestLibrary::Shape(library.Plan(Joined({a_, question_}), {{0, 40}})),
              "not_in_library 49");
  }
  EXPECT_TRUE(Eventually([&] { return daemon.get().store().GetStats().index_entries == 0; }));
  EXPECT_TRUE(Eventually([&] { return library.NextWork(4).hasWork(); }));
}

// I10.
TEST_F(LibraryRpcTest, AClaimEndsWithTheClientThatHadIt) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  {
    TestClient other(io_, daemon.socket());
    TestLibrary others(other, shape_);
    const auto work = others.NextWork(4);
    ASSERT_TRUE(work.hasWork());
    EXPECT_FALSE(library.NextWork(4).hasWork());
  }
  EXPECT_TRUE(Eventually([&] { return library.NextWork(4).hasWork(); }));
}

// I7.
TEST_F(LibraryRpcTest, AnotherTenantSeesNothing) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  daemon.uid = 1001;
  TestClient other(io_, daemon.socket());
  TestLibrary others(other, shape_);
  EXPECT_EQ(others.library().listRequest().send().wait(io_.waitScope).getDocuments().size(), 0u);
  auto get = others.library().getRequest();
  get.setName("a");
  EXPECT_FALSE(get.send().wait(io_.waitScope).getFound());
  EXPECT_FALSE(others.Remove("a"));
  EXPECT_FALSE(others.NextWork().hasWork());
  EXPECT_EQ(TestLibrary::Shape(others.Plan(Joined({a_, question_}), {{0, 40}})),
            "not_in_library 49");
  EXPECT_TRUE(others.Put("a", a_).getIsNew());
  EXPECT_EQ(TestLibrary::Shape(others.Plan(Joined({a_, question_}), {{0, 40}})),
            "not_in_library 49");
}

bool Holds(const capnp::List<std::int32_t>::Reader& list, const Tokens& tokens) {
  for (unsigned i = 0; i + tokens.size() <= list.size(); ++i) {
    bool same = true;
    for (unsigned j = 0; same && j < tokens.size(); ++j) same = list[i + j] == tokens[j];
    if (same) return true;
  }
  return false;
}

TEST_F(LibraryRpcTest, DocumentsThatAreUsedTogetherBecomeEachOthersPrefaces) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.Put("b", b_);
  library.Put("c", c_);
  library.PrepareAll();
  const Tokens prompt = Joined({a_, b_, c_, question_});
  for (int i = 0; i < 2; ++i) library.Plan(prompt, {{0, 40}, {40, 75}, {75, 95}});
  EXPECT_FALSE(library.NextWork().hasWork());  // Twice may be chance.
  library.Plan(prompt, {{0, 40}, {40, 75}, {75, 95}});
  auto work = library.NextWork();
  ASSERT_TRUE(work.hasWork());
  const auto description = work.getDescription();
  EXPECT_EQ(description.getKind(), static_cast<std::uint8_t>(RootKind::kNear));
  ASSERT_STREQ(description.getName().cStr(), "a");
  const auto prefaces = description.getPrefaces();
  ASSERT_EQ(prefaces.size(), 4u);
  for (unsigned i = 0; i < prefaces.size(); ++i) {
    // Every second one has both neighbours, each cut to a passage's length.
    EXPECT_EQ(Holds(prefaces[i], Slice(b_, 0, 24)), i % 2 == 0);
    EXPECT_EQ(Holds(prefaces[i], c_), i % 2 == 0);
    EXPECT_FALSE(Holds(prefaces[i], Slice(b_, 0, 25)));
    EXPECT_FALSE(Holds(prefaces[i], question_));
  }
  ASSERT_EQ(MessageOf(library.Commit(work)), "");
  EXPECT_EQ(library.PrepareAll(), "near b, near c");
  EXPECT_EQ(TestLibrary::Shape(library.Plan(prompt, {{0, 40}, {40, 75}, {75, 95}})),
            "canonical_near 95, between_chunks 9");
  EXPECT_FALSE(library.NextWork().hasWork());  // The neighbourhood is as before.
  // What was made behind a text that is gone is gone, too.
  library.Remove("c");
  EXPECT_EQ(TestLibrary::Shape(library.Plan(prompt, {{0, 40}, {40, 75}, {75, 95}})),
            "canonical_mean 75, not_in_library 29");
}

TEST_F(LibraryRpcTest, NamedNeighboursAreEnough) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_, {"b", "not there"});
  library.Put("b", b_);
  EXPECT_EQ(library.PrepareAll(), "system a, system b, mean a, mean b, near a");
  EXPECT_FALSE(library.Put("a", a_, {}).getIsNew());  // Only the neighbours change.
  EXPECT_EQ(library.PrepareAll(), "");
}

// §1.7, gate 5.
TEST_F(LibraryRpcTest, PlansDoNotDependOnTheOrderOfEarlierRequests) {
  const std::vector<std::pair<std::uint32_t, std::uint32_t>> chunks{{0, 40}, {40, 75}};
  const Tokens first = Joined({a_, b_, question_}), second = Joined({a_, b_, c_});
  std::vector<std::string> outcomes;
  for (const bool swapped : {false, true}) {
    TestDaemon daemon(WithDisk);
    for (const bool restarted : {false, true}) {
      if (restarted) {
        auto options = daemon.DefaultOptions();
        WithDisk(options);
        daemon.Restart(std::move(options));
      }
      TestClient client(io_, daemon.socket());
      TestLibrary library(client, shape_);
      if (!restarted) {
        library.Put(swapped ? "b" : "a", swapped ? b_ : a_);
        library.Put(swapped ? "a" : "b", swapped ? a_ : b_);
        library.PrepareAll();
      }
      for (int i = 0; i < 3; ++i) {
        const bool one = (i % 2 == 0) != swapped;
        const auto& prompt = one ? first : second;
        auto plan = library.Plan(prompt, chunks, static_cast<std::uint32_t>(prompt.size()));
        client.Commit(plan, prompt, shape_, Ack::kHeld, false);
      }
      for (const Tokens& prompt : {first, second}) {
        auto plan = library.Plan(prompt, chunks);
        std::string outcome = TestLibrary::Shape(plan);
        for (std::uint32_t row = 0; row < 75; ++row) {
          outcome += " " + std::to_string(static_cast<int>(client.Read(plan, row, 2, shape_)));
        }
        outcomes.push_back(std::move(outcome));
      }
    }
  }
  ASSERT_EQ(outcomes.size(), 8u);
  for (std::size_t i = 2; i < outcomes.size(); ++i) EXPECT_EQ(outcomes[i], outcomes[i % 2]);
}

TEST_F(LibraryRpcTest, DocumentsRowsAndCountsSurviveARestart) {
  TestDaemon daemon(WithDisk);
  {
    TestClient client(io_, daemon.socket());
    TestLibrary library(client, shape_);
    library.Put("a", a_);
    library.Put("b", b_);
    library.Put("c", c_);
    library.PrepareAll(0, 2);
    for (int i = 0; i < 3; ++i) {
      library.Plan(Joined({a_, b_, c_, question_}), {{0, 40}, {40, 75}, {75, 95}});
    }
  }
  auto options = daemon.DefaultOptions();
  WithDisk(options);
  daemon.Restart(std::move(options));
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  EXPECT_EQ(library.GetStatus().getStatus().getDocuments(), 3u);
  auto plan = library.Plan(Joined({b_, a_, question_}), {{0, 35}, {35, 75}});
  EXPECT_EQ(TestLibrary::Shape(plan), "canonical_mean 75, between_chunks 9");
  EXPECT_EQ(plan.getReply().getSpans()[0].getLoadingsRank(), 2u);
  EXPECT_EQ(client.Read(plan, 40, 1, shape_), CanonicalByte(a_[5], 5, RootKind::kMean, 1));
  EXPECT_TRUE(library.NextWork().hasWork());  // `near`, by counts from before.
}

TEST_F(LibraryRpcTest, DocumentsAreNamedListedAndRead) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  const std::string name = library.Put("", a_).getDocument().getName().cStr();
  EXPECT_EQ(name.size(), 32u);
  EXPECT_FALSE(library.Put("", a_).getIsNew());
  library.Put("b", b_, {"x"});
  const auto list = library.library().listRequest().send().wait(io_.waitScope);
  ASSERT_EQ(list.getDocuments().size(), 2u);
  EXPECT_EQ(list.getDocuments()[0].getName().cStr(), name);
  EXPECT_STREQ(list.getDocuments()[1].getName().cStr(), "b");
  auto get = library.library().getRequest();
  get.setName(name.c_str());
  const auto found = get.send().wait(io_.waitScope);
  ASSERT_TRUE(found.getFound());
  ASSERT_EQ(found.getTokens().size(), 40u);
  EXPECT_EQ(found.getTokens()[39], a_[39]);
  get = library.library().getRequest();
  get.setName("b");
  EXPECT_STREQ(get.send().wait(io_.waitScope).getDocument().getRelated()[0].cStr(), "x");
  EXPECT_TRUE(library.Remove(name));
}

TEST_F(LibraryRpcTest, EqualTextsArePreparedOnce) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.Put("twin", a_);
  EXPECT_EQ(library.PrepareAll(), "system a, mean a");
  EXPECT_EQ(library.GetStatus().getStatus().getReady()[4], 2u);
  library.Remove("a");
  EXPECT_EQ(TestLibrary::Shape(library.Plan(Joined({a_, question_}), {{0, 40}})),
            "canonical_mean 40, between_chunks 9");
}

TEST_F(LibraryRpcTest, SessionsOfDifferentContextsEachHaveTheirOwnLimitAndWork) {
  TestDaemon daemon;
  ModelShape short_shape = shape_;
  short_shape.context_tokens = 100;
  TestClient first(io_, daemon.socket()), second(io_, daemon.socket());
  TestLibrary small(first, short_shape), large(second, shape_);  // The small one opens it.
  const Tokens text = Text(60, 5);
  EXPECT_EQ(MessageOf(small.Put("a", text)), "tokens' length is 60; the limit is 1 to 40");
  EXPECT_EQ(MessageOf(large.Put("a", text)), "");
  EXPECT_EQ(small.GetStatus().getStatus().getPending(), 0u);
  EXPECT_FALSE(small.NextWork().hasWork());
  EXPECT_EQ(large.GetStatus().getStatus().getPending(), 2u);
  EXPECT_EQ(large.PrepareAll(), "system a, mean a");
}

TEST_F(LibraryRpcTest, OtherPrefacesAreOtherRowsOfTheSameDocuments) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  TestPrefaces prefaces;
  prefaces.system.push_back(1);
  TestLibrary another(client, shape_, prefaces);
  EXPECT_EQ(another.GetStatus().getStatus().getDocuments(), 1u);
  EXPECT_EQ(TestLibrary::Shape(another.Plan(Joined({a_, question_}), {{0, 40}})),
            "not_in_library 49");
  EXPECT_EQ(another.PrepareAll(), "system a, mean a");
  EXPECT_EQ(TestLibrary::Shape(library.Plan(Joined({a_, question_}), {{0, 40}})),
            "canonical_mean 40, between_chunks 9");
}

TEST_F(LibraryRpcTest, AModelWhoseKeysCannotMoveGetsExactPlansAndTheReason) {
  shape_.gate_passed = false;
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  const auto plan = library.Plan(Joined({question_, a_, question_}), {{9, 49}});
  EXPECT_EQ(plan.getReply().getCanonicalRows(), 0u);
  EXPECT_EQ(plan.getReply().getChunks()[0].getVariant(), 0u);
  EXPECT_THAT(plan.getReply().getExplanation().cStr(), ::testing::HasSubstr("exact mode"));
}

TEST_F(LibraryRpcTest, WorkIsRefusedPieceByPiece) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  auto work = library.NextWork();
  EXPECT_EQ(MessageOf(library.Commit(work, 65)), "loadingsRank is 65; the limit is 0 to 64");
  EXPECT_EQ(CodeOf(library.Commit(work, 4, 0, 0, true, kLoadingsVersion + 1)), Code::kUnsupported);
  EXPECT_EQ(MessageOf(library.Commit(work, 0, 0, 2, true)),
            "finish with 2 blocks; the document has 3");
  EXPECT_EQ(MessageOf(library.Commit(work, 4, 0, 1, false)), "");
  EXPECT_EQ(MessageOf(library.Commit(work, 4, 0, 1, false)), "block 0 was committed before");
  EXPECT_EQ(MessageOf(library.Commit(work, 5, 1, 2, false)),
            "loadingsRank is 5; the blocks before have 4");
  EXPECT_EQ(MessageOf(library.Commit(work, 4, 1, 3, true)), "");
  EXPECT_EQ(MessageOf(library.Commit(work, 4, 1, 2, true)),
            "the work is finished; ask for the next");
}

TEST_F(LibraryRpcTest, RequestsOutOfTheirLimitsAreRefused) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  EXPECT_EQ(MessageOf(library.Put("a", {})), "tokens' length is 0; the limit is 1 to 32708");
  EXPECT_EQ(MessageOf(library.Put(std::string(1025, 'x'), a_)),
            "name's length is 1025; the limit is 0 to 1024");
  EXPECT_EQ(MessageOf(library.Put(std::string(1024, 'x'), a_)), "");
  EXPECT_EQ(MessageOf(library.Put("a", a_, std::vector<std::string>(32, "r"))), "");
  EXPECT_EQ(MessageOf(library.Put("a", a_, std::vector<std::string>(33, "r"))),
            "related's length is 33; the limit is 0 to 32");
  EXPECT_EQ(MessageOf(library.Put("a", a_, {""})),
            "length of a related name is 0; the limit is 1 to 1024");
  EXPECT_EQ(CodeOf(library.NextWork(64)), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(library.NextWork(1)), Code::kInvalidArgument);
  const Tokens prompt = Text(3000, 6);
  EXPECT_EQ(MessageOf(library.Plan(prompt, {{5, 5}})),
            "chunks[0] is [5, 5); it must lie in [0, 3000) and not be empty");
  EXPECT_EQ(MessageOf(library.Plan(prompt, {{0, 10}, {9, 12}})),
            "chunks[1] is [9, 12); it must lie in [10, 3000) and not be empty");
  EXPECT_EQ(MessageOf(library.Plan(prompt, {{0, 3001}})),
            "chunks[0] is [0, 3001); it must lie in [0, 3000) and not be empty");
  std::vector<std::pair<std::uint32_t, std::uint32_t>> chunks;
  for (std::uint32_t i = 0; i < 1024; ++i) chunks.emplace_back(2 * i, 2 * i + 1);
  EXPECT_EQ(MessageOf(library.Plan(prompt, chunks)), "");
  chunks.emplace_back(2999, 3000);
  EXPECT_EQ(MessageOf(library.Plan(prompt, chunks)),
            "chunks' length is 1025; the limit is 0 to 1024");
  EXPECT_EQ(CodeOf(library.Plan(prompt, {}, 0, 64)), Code::kInvalidArgument);
}

TEST_F(LibraryRpcTest, AnEvictedVariantIsPreparedAgain) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  const Tokens prompt = Joined({a_, question_});
  // Removed one by one, as an operator may.
  const auto list = [&] {
    auto request = client.Session().listRequest();
    request.setLimit(100);
    return request.send().wait(io_.waitScope);
  }();
  for (const auto block : list.getBlocks()) {
    auto request = client.Session().removeRequest();
    request.setKey(block.getKey());
    request.send().wait(io_.waitScope);
  }
  EXPECT_EQ(TestLibrary::Shape(library.Plan(prompt, {{0, 40}})), "not_in_library 49");
  EXPECT_EQ(library.PrepareAll(kMeanBit), "mean a");
  EXPECT_EQ(TestLibrary::Shape(library.Plan(prompt, {{0, 40}})),
            "canonical_mean 40, between_chunks 9");
}

TEST_F(LibraryRpcTest, PreparationAndCanonicalRowsAreCounted) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  library.Plan(Joined({a_, question_}), {{0, 40}});
  const std::string metrics =
      daemon.get().metrics().Text(daemon.get().store().GetStats(), daemon.get().quality());
  EXPECT_THAT(metrics,
              ::testing::HasSubstr("kvcommons_planned_rows_total{kind=\"canonical\"} 40\n"));
  EXPECT_THAT(metrics,
              ::testing::HasSubstr("kvcommons_library_prepared_total{variant=\"mean\"} 1\n"));
  EXPECT_THAT(metrics, ::testing::HasSubstr(
                           "kvcommons_library_prepare_seconds_total{variant=\"mean\"} 0.001\n"));
}

TEST_F(LibraryRpcTest, ATextIsListedAndRemovedByItsKeyWithoutItsModel) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  library.Put("a", a_);
  library.PrepareAll();
  const auto list = [&](TestClient& who) {
    auto request = who.Session().listLibraryRequest();
    request.setLimit(10);
    return request.send().wait(io_.waitScope);
  };
  const auto listed = list(client);
  ASSERT_EQ(listed.getDocuments().size(), 1u);
  EXPECT_STREQ(listed.getDocuments()[0].getDocument().getName().cStr(), "a");
  EXPECT_EQ(listed.getDocuments()[0].getDocument().getVariants().size(), 2u);
  const auto remove = [&](TestClient& who) {
    auto request = who.Session().removeRequest();
    request.setKey(listed.getDocuments()[0].getKey());
    return request.send().wait(io_.waitScope).getRemoved();
  };
  daemon.uid = 1001;
  TestClient other(io_, daemon.socket());
  EXPECT_EQ(list(other).getDocuments().size(), 0u);
  EXPECT_FALSE(remove(other));
  EXPECT_TRUE(remove(client));
  EXPECT_EQ(library.GetStatus().getStatus().getDocuments(), 0u);
}

TEST_F(LibraryRpcTest, CallsSentAtOnceDoNotPassTheLimits) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  for (std::uint64_t i = 0; i <= kMaxWorksPerSession / 2; ++i) {
    library.Put("", Text(5, static_cast<TokenId>(i)));
  }
  // How many of `count` calls are not refused; what they got is dropped at the end.
  const auto granted = [&](std::uint64_t count, auto send, const std::string& refusal) {
    using Promise = decltype(send());
    std::vector<Promise> calls;
    for (std::uint64_t i = 0; i < count; ++i) calls.push_back(send());
    std::vector<decltype(calls[0].wait(io_.waitScope))> answers;
    std::uint64_t held = 0;
    for (Promise& call : calls) {
      answers.push_back(call.wait(io_.waitScope));
      if (!answers.back().hasError())
        ++held;
      else
        EXPECT_EQ(MessageOf(answers.back()), refusal);
    }
    return held;
  };
  const auto works = [&] { return library.library().nextWorkRequest().send(); };
  const std::string too_many_works = "the session holds 64 works; the limit is 64";
  EXPECT_EQ(granted(kMaxWorksPerSession + 2, works, too_many_works), kMaxWorksPerSession);
  EXPECT_TRUE(Eventually([&] { return CodeOf(library.NextWork()) != Code::kExhausted; }));
  const auto libraries = [&] {
    auto request = library.model().openLibraryRequest();
    TestPrefaces().Write(request.initPrefaces());
    return request.send();
  };
  // One is open.
  EXPECT_EQ(granted(kMaxLibrariesPerSession + 2, libraries,
                    "the session holds 64 libraries; the limit is 64"),
            kMaxLibrariesPerSession - 1);
  const auto models = [&] {
    auto request = client.Session().openModelRequest();
    shape_.Write(request.initProfile());
    request.initGate().setPassed(true);
    return request.send();
  };
  EXPECT_EQ(
      granted(kMaxModelsPerSession + 2, models, "the session holds 64 models; the limit is 64"),
      kMaxModelsPerSession - 1);
}

TEST_F(LibraryRpcTest, TheNumberOfLibrariesAndWorksOfASessionHasALimit) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  TestLibrary library(client, shape_);
  for (std::uint64_t i = 0; i <= kMaxWorksPerSession / 2; ++i) {
    library.Put("", Text(5, static_cast<TokenId>(i)));
  }
  std::vector<testing::NextWorkResponse> works;
  for (std::uint64_t i = 0; i < kMaxWorksPerSession; ++i) {
    works.push_back(library.NextWork());
    ASSERT_TRUE(works.back().hasWork()) << i;
  }
  EXPECT_EQ(MessageOf(library.NextWork()), "the session holds 64 works; the limit is 64");
  std::vector<rpc::Library::Client> libraries;
  for (std::uint64_t i = 1;; ++i) {
    auto request = library.model().openLibraryRequest();
    TestPrefaces().Write(request.initPrefaces());
    auto response = request.send().wait(io_.waitScope);
    if (i == kMaxLibrariesPerSession) {
      EXPECT_EQ(MessageOf(response), "the session holds 64 libraries; the limit is 64");
      break;
    }
    ASSERT_EQ(MessageOf(response), "");
    libraries.push_back(response.getLibrary());
  }
}

}  // namespace
}  // namespace kvcommons
