// What a client gets: plans, rows, documents.

#include "daemon/daemon_testing.h"
#include "daemon/rpc_session.h"
#include "daemon/wire.h"

namespace kvcommons {
namespace {

using testing::CodeOf;
using ::testing::HasSubstr;
using testing::Joined;
using testing::MessageOf;
using testing::ModelShape;
using testing::RowByte;
using testing::Slice;
using testing::TestClient;
using testing::TestDaemon;
using testing::Text;
using testing::Tokens;

class DaemonTest : public ::testing::Test {
 protected:
  testing::EventLoop loop_;
  kj::AsyncIoContext& io_ = loop_.io;
  ModelShape shape_;
};

TEST_F(DaemonTest, LoginSaysWhoTheCallerIsAndWhatTheDaemonIs) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto request = client.daemon().loginRequest();
  request.setProtocolVersion(rpc::PROTOCOL_VERSION);
  auto response = request.send().wait(io_.waitScope);
  ASSERT_FALSE(response.hasError());
  EXPECT_STREQ(response.getInfo().getTenant().cStr(), "uid:1000");
  EXPECT_NE(response.getInfo().getBootId().getLow(), 0u);
  EXPECT_FALSE(response.getInfo().getDurable());
}

TEST_F(DaemonTest, AnotherProtocolVersionIsRefusedWithBothVersions) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto request = client.daemon().loginRequest();
  request.setProtocolVersion(rpc::PROTOCOL_VERSION + 1);
  auto response = request.send().wait(io_.waitScope);
  EXPECT_EQ(CodeOf(response), Code::kUnsupported);
  EXPECT_EQ(MessageOf(response), "protocolVersion is 2; this daemon speaks 1");
  EXPECT_FALSE(response.hasSession());
}

TEST_F(DaemonTest, AProfileOutOfRangeIsRefused) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  const auto refusal = [&](auto change) {
    auto request = client.Session().openModelRequest();
    auto profile = request.initProfile();
    shape_.Write(profile);
    change(profile);
    auto response = request.send().wait(io_.waitScope);
    EXPECT_FALSE(response.hasModel());
    EXPECT_EQ(CodeOf(response), Code::kInvalidArgument);
    return MessageOf(response);
  };
  using Builder = rpc::ModelProfile::Builder;
  EXPECT_EQ(refusal([](Builder p) { p.setPairLayout(2); }), "pairLayout is 2; the limit is 0 to 1");
  EXPECT_EQ(refusal([](Builder p) { p.setElementType(3); }),
            "elementType is 3; the limit is 0 to 2");
  EXPECT_THAT(refusal([](Builder p) { p.initWeightsSha256(31); }), HasSubstr("weightsSha256"));
  EXPECT_THAT(refusal([](Builder p) { p.initOmega(kMaxOmegaCount + 1); }), HasSubstr("513"));
  EXPECT_THAT(refusal([](Builder p) { p.setBlockTokens(257); }), HasSubstr("257"));
  EXPECT_THAT(refusal([](Builder p) { p.setBlockTokens(15); }), HasSubstr("15"));
}

// I1, through every layer: staging, store, slab.
TEST_F(DaemonTest, ExactRowsComeBackBitForBit) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(100);
  auto first = client.Plan(model, {.tokens = tokens, .store_tokens = 90});
  ASSERT_EQ(MessageOf(first), "");
  EXPECT_EQ(first.getReply().getExactRows(), 0u);
  ASSERT_EQ(first.getReply().getPieces().size(), 6u) << "5 full blocks and one of 10 tokens";
  auto committed = client.Commit(first, tokens, shape_);
  ASSERT_EQ(MessageOf(committed), "");
  EXPECT_EQ(committed.getStored(), 6u);
  EXPECT_EQ(committed.getRevision(), 0u) << "no document was named";

  auto second = client.Plan(model, {.tokens = tokens, .store_tokens = 90});
  ASSERT_EQ(MessageOf(second), "");
  EXPECT_EQ(second.getReply().getExactRows(), 90u);
  EXPECT_EQ(second.getReply().getComputedRows(), 10u);
  EXPECT_EQ(second.getReply().getPieces().size(), 0u);
  std::uint32_t next = 0;
  for (const auto span : second.getReply().getSpans()) {
    EXPECT_EQ(span.getBegin(), next);
    next = span.getEnd();
  }
  EXPECT_EQ(next, 100u);
  for (const std::uint32_t row : {0u, 15u, 16u, 63u, 79u, 80u, 89u}) {
    for (std::size_t plane = 0; plane < 4; ++plane) {
      EXPECT_EQ(client.Read(second, row, plane, shape_), RowByte(tokens, row, plane))
          << "row " << row << " plane " << plane;
    }
  }
}

TEST_F(DaemonTest, AnotherPromptReusesItsExactPrefixOnly) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(96);
  auto first = client.Plan(model, {.tokens = tokens, .store_tokens = 96});
  client.Commit(first, tokens, shape_);
  Tokens other = tokens;
  other[40] = (other[40] + 1) % 1000;
  auto second = client.Plan(model, {.tokens = other});
  EXPECT_EQ(second.getReply().getExactRows(), 32u);
  EXPECT_EQ(second.getReply().getMovedRows(), 0u);
}

TEST_F(DaemonTest, AClientOfAnotherLayoutSharesNothing) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(64);
  auto first = client.Plan(model, {.tokens = tokens, .store_tokens = 64});
  client.Commit(first, tokens, shape_);
  ModelShape other = shape_;
  other.pair_layout = 0;
  auto other_model = client.OpenModel(other);
  EXPECT_EQ(client.Plan(other_model, {.tokens = tokens}).getReply().getExactRows(), 0u);
  EXPECT_GT(client.Plan(model, {.tokens = tokens}).getReply().getExactRows(), 0u);
}

TEST_F(DaemonTest, AnEditReusesTheRowsOfTheDocument) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens before = Text(200);
  const Tokens question = Text(8, 77);
  auto prompt = Joined({before, question});
  auto first = client.Plan(model, {prompt, Policy::kEdit, "a.txt", 200});
  ASSERT_EQ(MessageOf(first), "");
  EXPECT_THAT(first.getReply().getExplanation().cStr(), HasSubstr("no stored revision"));
  auto committed = client.Commit(first, prompt, shape_);
  ASSERT_EQ(MessageOf(committed), "");
  EXPECT_EQ(committed.getRevision(), 1u);

  // Three tokens go in at 100.
  const Tokens after = Joined({Slice(before, 0, 100), Text(3, 5), Slice(before, 100, 200)});
  prompt = Joined({after, question});
  auto second = client.Plan(model, {prompt, Policy::kEdit, "a.txt", 203});
  ASSERT_EQ(MessageOf(second), "");
  EXPECT_EQ(second.getReply().getParentRevision(), 1u);
  EXPECT_EQ(second.getReply().getExactRows(), 100u);
  EXPECT_EQ(second.getReply().getMovedRows(), 96u) << "all but the 4 rows after the edit";
  for (const auto span : second.getReply().getSpans()) {
    if (span.getKind() != static_cast<std::uint8_t>(SpanKind::kMoved)) continue;
    EXPECT_EQ(span.getDelta(), 3);
    EXPECT_EQ(span.getGeneration(), 1u);
  }
  // What a moved row's bytes are: those of its old place, unrotated.
  EXPECT_EQ(client.Read(second, 150, 1, shape_), RowByte(before, 147, 1));
  committed = client.Commit(second, prompt, shape_);
  ASSERT_EQ(MessageOf(committed), "");
  EXPECT_EQ(committed.getRevision(), 2u);

  // The next edit starts from the second revision: one token goes out at 20.
  const Tokens third = Joined({Slice(after, 0, 20), Slice(after, 21, 203)});
  prompt = Joined({third, question});
  auto plan = client.Plan(model, {prompt, Policy::kEdit, "a.txt", 202});
  EXPECT_EQ(plan.getReply().getParentRevision(), 2u);
  EXPECT_GT(plan.getReply().getMovedRows(), 170u);
  std::uint32_t deltas = 0;
  for (const auto span : plan.getReply().getSpans()) {
    if (span.getDelta() == 2) deltas |= 1;   // moved by +3 and by -1
    if (span.getDelta() == -1) deltas |= 2;  // moved for the first time
  }
  EXPECT_EQ(deltas, 3u);
}

// I3: rows that were computed behind moved ones never come back as exact.
TEST_F(DaemonTest, ApproximateRowsNeverBecomeExact) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens before = Text(160);
  auto first = client.Plan(model, {before, Policy::kEdit, "a", 160});
  client.Commit(first, before, shape_);
  Tokens after = before;
  after[30] = (after[30] + 1) % 1000;    // moved rows follow
  after[100] = (after[100] + 1) % 1000;  // computed behind moved ones
  auto second = client.Plan(model, {after, Policy::kEdit, "a", 160});
  ASSERT_GT(second.getReply().getMovedRows(), 0u);
  client.Commit(second, after, shape_);
  // The same text in exact mode: only what was computed from exact rows is there.
  auto exact = client.Plan(model, {.tokens = after});
  EXPECT_LE(exact.getReply().getExactRows(), 48u);
  // And as an edit: everything is reused, nothing behind the first moved row claims to be exact.
  auto again = client.Plan(model, {after, Policy::kEdit, "a", 160});
  EXPECT_EQ(again.getReply().getComputedRows(), 1u);
  for (const auto span : again.getReply().getSpans()) {
    if (span.getBegin() < 48) continue;
    EXPECT_NE(span.getKind(), static_cast<std::uint8_t>(SpanKind::kExact)) << span.getBegin();
  }
}

// I12: a model whose rotation did not prove itself gets exact mode and the reason.
TEST_F(DaemonTest, AFailedGateMeansExactModeWithTheReason) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  shape_.gate_passed = false;
  auto model = client.OpenModel(shape_);
  const Tokens before = Text(160);
  auto first = client.Plan(model, {before, Policy::kEdit, "a", 160});
  client.Commit(first, before, shape_);
  const Tokens after = Joined({Text(1, 9), before});
  auto second = client.Plan(model, {after, Policy::kEdit, "a", 161});
  EXPECT_EQ(second.getReply().getMovedRows(), 0u);
  EXPECT_THAT(second.getReply().getExplanation().cStr(), HasSubstr("e_K is 0.5"));
}

TEST_F(DaemonTest, APlanRequestIsCheckedAtItsLimits) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  shape_.context_tokens = 100;
  auto model = client.OpenModel(shape_);
  const auto message = [&](testing::PlanArguments arguments) {
    auto response = client.Plan(model, arguments);
    EXPECT_EQ(response.hasPlan(), !response.hasError());
    return MessageOf(response);
  };
  EXPECT_EQ(message({.tokens = Text(100)}), "");
  EXPECT_EQ(message({.tokens = Text(101)}), "tokens' length is 101; the limit is 1 to 100");
  EXPECT_EQ(message({.tokens = {}}), "tokens' length is 0; the limit is 1 to 100");
  EXPECT_EQ(message({.tokens = {999}}), "");
  EXPECT_EQ(message({.tokens = {0, 1000}}), "tokens[1] is 1000; the limit is 0 to 999");
  EXPECT_EQ(message({.tokens = {-1}}), "tokens[0] is -1; the limit is 0 to 999");
  EXPECT_EQ(message({.tokens = {1}, .store_tokens = 1}), "");
  EXPECT_EQ(message({.tokens = {1}, .store_tokens = 2}), "storeTokens is 2; the limit is 0 to 1");
  EXPECT_EQ(message({.tokens = {1}, .policy = static_cast<Policy>(4)}),
            "policy is 4; the limit is 0 to 3");
  EXPECT_EQ(message({.tokens = {1}, .policy = Policy::kCompose}),
            "policy is 3; composed plans are a library's");
  EXPECT_EQ(message({.tokens = {1}, .document = std::string(1024, 'd')}), "");
  EXPECT_EQ(message({.tokens = {1}, .document = std::string(1025, 'd')}),
            "document's name has 1025 bytes; the limit is 1024");
  auto call = model.planRequest();
  call.initRequest().initTokens(1);
  call.getRequest().setMaxStaleShare(1.5);
  EXPECT_THAT(MessageOf(call.send().wait(io_.waitScope)), HasSubstr("maxStaleShare is 1.5"));
  auto share = model.planRequest();
  share.initRequest().initTokens(1);
  share.getRequest().setRecomputeShare(1.01);
  EXPECT_THAT(MessageOf(share.send().wait(io_.waitScope)), HasSubstr("recomputeShare is 1.01"));
  auto costs = model.planRequest();
  costs.initRequest().initTokens(1);
  costs.getRequest().initCosts().setRunUs(-1);
  EXPECT_THAT(MessageOf(costs.send().wait(io_.waitScope)), HasSubstr("runUs is -1"));
}

TEST_F(DaemonTest, ACommitIsCheckedAgainstThePlanAndStaging) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  auto plan = client.Plan(model, {.tokens = Text(64), .store_tokens = 32});
  const auto commit = [&](std::uint32_t begin, std::uint64_t offset, std::uint8_t ack = 0) {
    auto request = plan.getPlan().commitRequest();
    auto pieces = request.initPieces(1);
    pieces[0].setBegin(begin);
    pieces[0].setOffset(offset);
    request.setAck(ack);
    return MessageOf(request.send().wait(io_.waitScope));
  };
  EXPECT_THAT(commit(0, 0), HasSubstr("staging has 0"));
  client.Staging(1);
  ASSERT_EQ(client.staging_bytes(), 4096u) << "rounded up to a page";
  EXPECT_THAT(commit(1, 0), HasSubstr("piece at 1 is none"));
  EXPECT_THAT(commit(32, 0), HasSubstr("piece at 32 is none"));
  EXPECT_THAT(commit(0, 4096 - 2048 + 1), HasSubstr("offset 2049 and 2048 bytes"));
  EXPECT_THAT(commit(0, ~0ull), HasSubstr("offset 18446744073709551615"));
  EXPECT_EQ(commit(0, 0, 2), "ack is 2; the limit is 0 to 1");
  EXPECT_THAT(commit(0, 0, 1), HasSubstr("disk")) << "durable, but there is no disk";
  EXPECT_EQ(commit(0, 4096 - 2048), "");
  EXPECT_THAT(commit(0, 0), HasSubstr("committed before"));
  auto twice = plan.getPlan().commitRequest();
  auto pieces = twice.initPieces(2);
  pieces[0].setBegin(16);
  pieces[1].setBegin(16);
  EXPECT_THAT(MessageOf(twice.send().wait(io_.waitScope)), HasSubstr("committed before"));
  auto finish = plan.getPlan().commitRequest();
  finish.setFinish(true);
  EXPECT_EQ(MessageOf(finish.send().wait(io_.waitScope)), "");
  EXPECT_THAT(commit(16, 0), HasSubstr("finished"));
}

TEST_F(DaemonTest, LookupCountsTheExactPrefix) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(64);
  auto plan = client.Plan(model, {.tokens = tokens, .store_tokens = 48});
  client.Commit(plan, tokens, shape_);
  const auto lookup = [&](std::uint32_t repeat) {
    auto request = model.lookupRequest();
    auto list = request.initTokens(64);
    for (unsigned i = 0; i < 64; ++i) list.set(i, tokens[i]);
    request.setRepeat(repeat);
    return request.send().wait(io_.waitScope);
  };
  auto found = lookup(kMaxLookupRepeats);
  EXPECT_EQ(found.getExactTokens(), 48u);
  EXPECT_GT(found.getTookUs(), 0);
  EXPECT_EQ(CodeOf(lookup(kMaxLookupRepeats + 1)), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(lookup(0)), Code::kInvalidArgument);
}

// Two writers of one document: the last one wins, nobody's rows are mixed up.
TEST_F(DaemonTest, TheLastWriterOfADocumentWins) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens base = Text(90);
  auto first = client.Plan(model, {base, Policy::kEdit, "a", 90});
  client.Commit(first, base, shape_);
  const Tokens left = Joined({Text(5, 21), base});
  const Tokens right = Joined({Text(5, 22), base});
  auto left_plan = client.Plan(model, {left, Policy::kEdit, "a", 95});
  auto right_plan = client.Plan(model, {right, Policy::kEdit, "a", 95});
  EXPECT_EQ(left_plan.getReply().getParentRevision(), 1u);
  EXPECT_EQ(right_plan.getReply().getParentRevision(), 1u);
  auto left_done = client.Commit(left_plan, left, shape_);
  auto right_done = client.Commit(right_plan, right, shape_);
  EXPECT_EQ(left_done.getRevision(), 2u);
  EXPECT_EQ(right_done.getRevision(), 3u);
  auto plan = client.Plan(model, {right, Policy::kEdit, "a", 95});
  EXPECT_EQ(plan.getReply().getComputedRows(), 1u);
  for (const std::uint32_t row : {0u, 4u, 8u}) {
    EXPECT_EQ(client.Read(plan, row, 0, shape_), RowByte(right, row, 0)) << row;
  }
}

TEST_F(DaemonTest, AStoppedDaemonLeavesNoSocketAndItsClientsNotice) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  client.Session();
  daemon.Stop();
  EXPECT_FALSE(std::filesystem::exists(daemon.socket()));
  EXPECT_THROW(client.Session().pingRequest().send().wait(io_.waitScope), kj::Exception);
}

}  // namespace
}  // namespace kvcommons
