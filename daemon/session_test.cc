// What sessions hold, and where it ends: limits, leases, tenants, broken peers.

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstdlib>

#include "daemon/daemon_testing.h"
#include "daemon/rpc_session.h"
#include "daemon/wire.h"

namespace kvcommons {
namespace {

using testing::CodeOf;
using ::testing::HasSubstr;
using testing::MessageOf;
using testing::ModelShape;
using testing::PlanResponse;
using testing::TestClient;
using testing::TestDaemon;
using testing::Text;
using testing::Tokens;

constexpr char kSocketVariable[] = "KVCOMMONS_DAEMON_TEST_SOCKET";

class SessionTest : public ::testing::Test {
 protected:
  // Waits until `condition` holds; the daemon needs a moment to notice that a client has gone.
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
};

TEST_F(SessionTest, AClientNameAndTheNumberOfLoginsHaveALimit) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  const auto login = [&](std::size_t name_bytes) {
    auto request = client.daemon().loginRequest();
    request.setProtocolVersion(rpc::PROTOCOL_VERSION);
    request.setClient(std::string(name_bytes, 'x').c_str());
    return CodeOf(request.send().wait(io_.waitScope));
  };
  EXPECT_EQ(login(129), Code::kInvalidArgument);
  for (std::uint64_t i = 0; i < kMaxSessionsPerConnection; ++i) EXPECT_EQ(login(128), std::nullopt);
  EXPECT_EQ(login(1), Code::kExhausted);
}

TEST_F(SessionTest, TheNumberOfModelsHasALimit) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  std::vector<rpc::Model::Client> models;
  for (std::uint64_t i = 0; i < kMaxModelsPerSession; ++i) {
    models.push_back(client.OpenModel(shape_));
  }
  auto request = client.Session().openModelRequest();
  shape_.Write(request.initProfile());
  EXPECT_EQ(CodeOf(request.send().wait(io_.waitScope)), Code::kExhausted);
}

TEST_F(SessionTest, StagingIsGrantedUpToItsLimit) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  client.Staging(kMiB);
  EXPECT_EQ(client.staging_bytes(), kMiB);
  client.Staging(kMiB + 1);
  EXPECT_EQ(client.staging_bytes(), kMiB);
  auto request = client.Session().stagingRequest();
  request.setBytes(0);
  EXPECT_EQ(CodeOf(request.send().wait(io_.waitScope)), Code::kInvalidArgument);
}

TEST_F(SessionTest, LeasesAreLimitedAndReleasedWhenDropped) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(64);
  auto first = client.Plan(model, {.tokens = tokens, .store_tokens = 64});
  client.Commit(first, tokens, shape_);
  {
    std::vector<PlanResponse> held;
    for (int i = 0; i < 7; ++i) held.push_back(client.Plan(model, {.tokens = tokens}));
    EXPECT_EQ(MessageOf(held.back()), "");
    auto check = held.back().getPlan().checkRequest().send().wait(io_.waitScope);
    EXPECT_TRUE(check.getHeld());
    auto past = client.Plan(model, {.tokens = tokens});
    EXPECT_EQ(CodeOf(past), Code::kExhausted);
    EXPECT_EQ(MessageOf(past), "the session holds 8 plans; the limit is 8");
    EXPECT_GT(daemon.get().store().GetStats().arena_pinned_bytes, 0u);
  }
  EXPECT_TRUE(Eventually([&] { return daemon.get().store().GetStats().arena_pinned_bytes == 0; }));
  EXPECT_EQ(MessageOf(client.Plan(model, {.tokens = tokens})), "");
}

TEST_F(SessionTest, ASlabIsShownOnlyWhileALeasePointsThere) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(64);
  auto first = client.Plan(model, {.tokens = tokens, .store_tokens = 64});
  client.Commit(first, tokens, shape_);
  std::uint32_t slab = 0;
  const auto show = [&] {
    auto request = client.Session().slabRequest();
    request.setSlabId(slab);
    return CodeOf(request.send().wait(io_.waitScope));
  };
  {
    auto plan = client.Plan(model, {.tokens = tokens});
    slab = plan.getReply().getSpans()[0].getSlabId();
    auto request = client.Session().slabRequest();
    request.setSlabId(slab);
    auto response = request.send().wait(io_.waitScope);
    ASSERT_EQ(MessageOf(response), "");
    EXPECT_EQ(client.Map(response.getMemory(), response.getBytes(), PROT_READ | PROT_WRITE),
              nullptr)
        << "a client must not be able to write to a slab";
    EXPECT_NE(client.Map(response.getMemory(), response.getBytes(), PROT_READ), nullptr);
  }
  EXPECT_TRUE(Eventually([&] { return show() == Code::kNotFound; }));
}

// Not a test of its own: what the next test starts as another process.
TEST(SessionTestChild, DISABLED_HoldsAPlanUntilKilled) {
  const char* const path = std::getenv(kSocketVariable);
  ASSERT_NE(path, nullptr);
  kj::AsyncIoContext io = kj::setupAsyncIo();
  const ModelShape shape;
  TestClient client(io, path);
  auto model = client.OpenModel(shape);
  const Tokens tokens = Text(64);
  auto plan = client.Plan(model, {.tokens = tokens});
  auto unfinished = client.Plan(model, {Text(64, 3), Policy::kEdit, "never", 60});
  client.Commit(unfinished, Text(64, 3), shape, Ack::kHeld, false);
  kj::Promise<void>(kj::NEVER_DONE).wait(io.waitScope);
}

// I10.
TEST_F(SessionTest, AClientKilledReleasesAllItHeld) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(64);
  {
    auto plan = client.Plan(model, {.tokens = tokens, .store_tokens = 64});
    client.Commit(plan, tokens, shape_);
  }
  ASSERT_TRUE(Eventually([&] { return daemon.get().metrics().lease_count() == 0; }));

  setenv(kSocketVariable, daemon.socket().c_str(), 1);
  char program[] = "/proc/self/exe";
  char filter[] = "--gtest_filter=SessionTestChild.*";
  char disabled[] = "--gtest_also_run_disabled_tests";
  char* const arguments[] = {program, filter, disabled, nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, program, nullptr, nullptr, arguments, environ), 0);
  EXPECT_TRUE(Eventually([&] {
    return daemon.get().metrics().lease_count() == 2 &&
           daemon.get().store().GetStats().block_count == 8;
  }));
  EXPECT_GT(daemon.get().store().GetStats().arena_pinned_bytes, 0u);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(Eventually([&] {
    return daemon.get().metrics().lease_count() == 0 &&
           daemon.get().store().GetStats().arena_pinned_bytes == 0;
  }));
}

TEST_F(SessionTest, AMessageOverTheLimitCostsItsConnectionOnly) {
  TestDaemon daemon;  // 64 KiB: 16,384 tokens less the rest of the message
  TestClient good(io_, daemon.socket());
  auto good_model = good.OpenModel(shape_);
  EXPECT_EQ(MessageOf(good.Plan(good_model, {.tokens = Text(16000)})), "");
  TestClient bad(io_, daemon.socket());
  auto bad_model = bad.OpenModel(shape_);
  EXPECT_THROW(bad.Plan(bad_model, {.tokens = Text(16385)}), kj::Exception);
  EXPECT_EQ(MessageOf(good.Plan(good_model, {.tokens = Text(16000)})), "");
}

TEST_F(SessionTest, GarbageCostsItsConnectionOnly) {
  TestDaemon daemon;
  TestClient good(io_, daemon.socket());
  good.Session().pingRequest().send().wait(io_.waitScope);
  const int fd = testing::ConnectSocket(daemon.socket());
  ASSERT_GE(fd, 0);
  const std::string garbage(4096, '\xee');
  ASSERT_EQ(write(fd, garbage.data(), garbage.size()), static_cast<ssize_t>(garbage.size()));
  char byte = 0;
  ssize_t count = 1;
  while (count > 0) count = read(fd, &byte, 1);  // Last words may come before the end.
  EXPECT_LE(count, 0);
  close(fd);
  good.Session().pingRequest().send().wait(io_.waitScope);
}

TEST_F(SessionTest, ClientsOverTheLimitAreTurnedAway) {
  TestDaemon daemon([](Daemon::Options& options) { options.config.max_connections = 2; });
  TestClient first(io_, daemon.socket());
  first.Session();
  auto second = std::make_unique<TestClient>(io_, daemon.socket());
  second->Session();
  {
    TestClient third(io_, daemon.socket());
    EXPECT_THROW(third.Session(), kj::Exception);
  }
  second.reset();
  EXPECT_TRUE(Eventually([&] {
    try {
      TestClient(io_, daemon.socket()).Session();
      return true;
    } catch (const kj::Exception&) {
      return false;
    }
  }));
}

TEST_F(SessionTest, ATenantOverItsQuotaIsRefusedAtOnce) {
  TestDaemon daemon([](Daemon::Options& options) { options.config.quota_bytes = kMiB; });
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens small = Text(1024);
  auto plan = client.Plan(model, {.tokens = small, .store_tokens = 1024});
  EXPECT_EQ(MessageOf(client.Commit(plan, small, shape_)), "") << "128 KiB";
  // Leased blocks cannot make room for others: nine times 128 KiB do not fit 1 MiB.
  std::vector<PlanResponse> held;
  std::optional<Code> refused;
  for (TokenId i = 2; i < 12 && !refused; ++i) {
    const Tokens tokens = Text(1024, i * 13);
    auto other = client.Plan(model, {.tokens = tokens, .store_tokens = 1024});
    refused = CodeOf(client.Commit(other, tokens, shape_));
    if (held.size() < 6) held.push_back(client.Plan(model, {.tokens = tokens}));
  }
  for (const auto& domain : daemon.get().store().GetStats().domains) {
    EXPECT_LE(domain.arena_bytes, kMiB);
    EXPECT_EQ(domain.quota_bytes, kMiB);
  }
  // One upload larger than the whole quota.
  const Tokens large = Text(8193, 99);
  client.Staging(kMiB);
  auto plan_large = client.Plan(model, {.tokens = large, .store_tokens = 8193});
  auto request = plan_large.getPlan().commitRequest();
  const auto pieces = plan_large.getReply().getPieces();
  auto staged = request.initPieces(pieces.size());
  for (unsigned i = 0; i < pieces.size(); ++i) staged[i].setBegin(pieces[i].getBegin());
  EXPECT_EQ(CodeOf(request.send().wait(io_.waitScope)), Code::kExhausted);
}

// I7: two users, one daemon, one text.
TEST_F(SessionTest, TenantsSeeNothingOfEachOther) {
  TestDaemon daemon;
  TestClient alice(io_, daemon.socket());
  auto alices = alice.OpenModel(shape_);
  const Tokens tokens = Text(64);
  auto first = alice.Plan(alices, {tokens, Policy::kEdit, "secret.txt", 64});
  alice.Commit(first, tokens, shape_);
  auto again = alice.Plan(alices, {.tokens = tokens});
  ASSERT_GT(again.getReply().getExactRows(), 0u);
  const std::uint32_t slab = again.getReply().getSpans()[0].getSlabId();
  auto list_request = alice.Session().listRequest();
  list_request.setLimit(100);
  auto listed = list_request.send().wait(io_.waitScope);
  ASSERT_EQ(listed.getBlocks().size(), 4u);
  ASSERT_EQ(listed.getDocuments().size(), 1u);

  daemon.uid = 2000;
  TestClient bob(io_, daemon.socket());
  auto bobs = bob.OpenModel(shape_);
  auto plan = bob.Plan(bobs, {tokens, Policy::kEdit, "secret.txt", 64});
  EXPECT_EQ(plan.getReply().getExactRows(), 0u);
  EXPECT_EQ(plan.getReply().getParentRevision(), 0u);
  auto bobs_list = bob.Session().listRequest();
  bobs_list.setLimit(100);
  auto bobs_listed = bobs_list.send().wait(io_.waitScope);
  EXPECT_EQ(bobs_listed.getBlocks().size(), 0u);
  EXPECT_EQ(bobs_listed.getDocuments().size(), 0u);
  for (const auto key : {listed.getBlocks()[0].getKey(), listed.getDocuments()[0].getKey()}) {
    auto remove = bob.Session().removeRequest();
    remove.setKey(key);
    auto removed = remove.send().wait(io_.waitScope);
    EXPECT_EQ(MessageOf(removed), "");
    EXPECT_FALSE(removed.getRemoved());
  }
  auto show = bob.Session().slabRequest();
  show.setSlabId(slab);
  EXPECT_EQ(CodeOf(show.send().wait(io_.waitScope)), Code::kNotFound);
  auto stats = bob.Session().statsRequest().send().wait(io_.waitScope);
  EXPECT_THAT(stats.getJson().cStr(), HasSubstr("\"name\":\"uid:2000\""));
  EXPECT_THAT(stats.getJson().cStr(), ::testing::Not(HasSubstr("held_bytes")));
  // Alice's own view is whole.
  EXPECT_GT(alice.Plan(alices, {.tokens = tokens}).getReply().getExactRows(), 0u);
}

TEST_F(SessionTest, WhatIsRemovedIsGone) {
  TestDaemon daemon;
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(64);
  {
    auto plan = client.Plan(model, {tokens, Policy::kEdit, "a", 64});
    client.Commit(plan, tokens, shape_);
  }
  const auto list = [&](std::uint32_t limit) {
    auto request = client.Session().listRequest();
    request.setLimit(limit);
    return request.send().wait(io_.waitScope);
  };
  EXPECT_EQ(CodeOf(list(0)), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(list(kMaxListed + 1)), Code::kInvalidArgument);
  EXPECT_EQ(list(2).getBlocks().size(), 2u);
  auto listed = list(kMaxListed);
  ASSERT_EQ(listed.getBlocks().size(), 4u);
  EXPECT_EQ(listed.getBlocks()[0].getBytes(), 2048u);
  EXPECT_TRUE(listed.getBlocks()[0].getInMemory());
  const auto remove = [&](kj::StringPtr key) {
    auto request = client.Session().removeRequest();
    request.setKey(key);
    return request.send().wait(io_.waitScope);
  };
  EXPECT_TRUE(remove(listed.getBlocks()[0].getKey()).getRemoved());
  EXPECT_FALSE(remove(listed.getBlocks()[0].getKey()).getRemoved());
  EXPECT_TRUE(remove(listed.getDocuments()[0].getKey()).getRemoved());
  EXPECT_EQ(CodeOf(remove("0123")), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(remove("g123456789abcdef0123456789abcdef")), Code::kInvalidArgument);
  EXPECT_EQ(list(10).getBlocks().size(), 3u);
  EXPECT_EQ(list(10).getDocuments().size(), 0u);
  auto name = model.removeDocumentRequest();
  name.setName("a");
  EXPECT_FALSE(name.send().wait(io_.waitScope).getRemoved());
}

}  // namespace
}  // namespace kvcommons
