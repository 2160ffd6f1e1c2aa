// The daemon's life: restarts on a real disk tier, a second daemon, health, HTTP.

#include <arpa/inet.h>
#include <netinet/in.h>

#include "daemon/daemon_testing.h"

namespace kvcommons {
namespace {

using ::testing::HasSubstr;
using testing::MessageOf;
using testing::ModelShape;
using testing::RowByte;
using testing::TestClient;
using testing::TestDaemon;
using testing::Text;
using testing::Tokens;

std::string HttpGet(std::uint16_t port, const std::string& target) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const std::string request = "GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string reply;
  char part[4096];
  for (ssize_t count; (count = read(fd, part, sizeof part)) > 0;) {
    reply.append(part, static_cast<std::size_t>(count));
  }
  close(fd);
  return reply;
}

// A disk that can be told to fail.
class FailingDisk final : public DiskTier {
 public:
  explicit FailingDisk(std::shared_ptr<std::atomic<bool>> fails) : fails_(std::move(fails)) {}

  void SetGoneListener(GoneListener listener) override {
    inner_->SetGoneListener(std::move(listener));
  }
  Status Write(std::span<const WriteItem> items) override {
    if (*fails_) return Unavailable("disk: no space left");
    return inner_->Write(items);
  }
  void ForEach(const std::function<void(const Entry&)>& visit) const override {
    inner_->ForEach(visit);
  }
  bool Contains(const BlockKey& key) const override { return inner_->Contains(key); }
  std::optional<BlockRecord> ReadRecord(const BlockKey& key) const override {
    return inner_->ReadRecord(key);
  }
  std::optional<BlockRecord> Read(
      const BlockKey& key, const std::function<std::byte*(const BlockRecord&)>& allocate) override {
    return inner_->Read(key, allocate);
  }
  Status Remove(std::span<const BlockKey> keys) override { return inner_->Remove(keys); }
  void Touch(const BlockKey& key) override { inner_->Touch(key); }
  Status PutDocument(const DocumentRevision& revision) override {
    if (*fails_) return Unavailable("disk: no space left");
    return inner_->PutDocument(revision);
  }
  std::optional<DocumentRevision> GetDocument(const DomainId& domain,
                                              const DocumentKey& document) const override {
    return inner_->GetDocument(domain, document);
  }
  Status RemoveDocument(const DomainId& domain, const DocumentKey& document) override {
    return inner_->RemoveDocument(domain, document);
  }
  std::vector<DocumentSummary> ListDocuments(const DomainId& domain) const override {
    return inner_->ListDocuments(domain);
  }
  Status PutLibraryDocument(const LibraryDocument& document) override {
    if (*fails_) return Unavailable("the test's disk fails");
    return inner_->PutLibraryDocument(document);
  }
  std::optional<LibraryDocument> GetLibraryDocument(const DomainId& domain,
                                                    const DocumentKey& document) const override {
    return inner_->GetLibraryDocument(domain, document);
  }
  Status RemoveLibraryDocument(const DomainId& domain, const DocumentKey& document) override {
    return inner_->RemoveLibraryDocument(domain, document);
  }
  std::vector<LibraryDocument> ListLibraryDocuments(const DomainId& domain) const override {
    return inner_->ListLibraryDocuments(domain);
  }
  Status PutMeta(std::string_view name, std::string_view value) override {
    return inner_->PutMeta(name, value);
  }
  std::optional<std::string> GetMeta(std::string_view name) const override {
    return inner_->GetMeta(name);
  }
  Status RemoveMeta(std::string_view name) override { return inner_->RemoveMeta(name); }
  std::vector<Meta> ListMeta(std::string_view prefix) const override {
    return inner_->ListMeta(prefix);
  }
  Stats GetStats() const override {
    Stats stats = inner_->GetStats();
    stats.writable = !*fails_;
    return stats;
  }

 private:
  const std::shared_ptr<std::atomic<bool>> fails_;
  const std::unique_ptr<DiskTier> inner_ = MakeMemoryDiskTier(64 * kMiB);
};

class RestartTest : public ::testing::Test {
 protected:
  static void WithDisk(Daemon::Options& options) { options.config.disk_bytes = 64 * kMiB; }

  testing::EventLoop loop_;
  kj::AsyncIoContext& io_ = loop_.io;
  ModelShape shape_;
};

TEST_F(RestartTest, WhatWasDurableIsThereAfterARestart) {
  TestDaemon daemon(WithDisk);
  const Tokens before = Text(100);
  std::uint64_t boot = 0;
  {
    TestClient client(io_, daemon.socket());
    auto model = client.OpenModel(shape_);
    auto plan = client.Plan(model, {before, Policy::kEdit, "a.txt", 90});
    auto committed = client.Commit(plan, before, shape_, Ack::kDurable);
    ASSERT_EQ(MessageOf(committed), "");
    EXPECT_EQ(committed.getDurable(), 6u);
    auto login = client.daemon().loginRequest();
    login.setProtocolVersion(rpc::PROTOCOL_VERSION);
    auto reply = login.send().wait(io_.waitScope);
    EXPECT_TRUE(reply.getInfo().getDurable());
    boot = reply.getInfo().getBootId().getLow();
  }
  auto options = daemon.DefaultOptions();
  WithDisk(options);
  daemon.Restart(std::move(options));

  TestClient client(io_, daemon.socket());
  auto login = client.daemon().loginRequest();
  login.setProtocolVersion(rpc::PROTOCOL_VERSION);
  EXPECT_NE(login.send().wait(io_.waitScope).getInfo().getBootId().getLow(), boot);
  auto model = client.OpenModel(shape_);
  auto exact = client.Plan(model, {.tokens = before, .store_tokens = 90});
  ASSERT_EQ(MessageOf(exact), "");
  EXPECT_EQ(exact.getReply().getExactRows(), 90u);
  EXPECT_EQ(exact.getReply().getLoadedBlocks(), 6u);
  EXPECT_EQ(exact.getReply().getLoadedBytes(), 90 * shape_.token_bytes());
  EXPECT_GT(exact.getReply().getLoadedUs(), 0);
  EXPECT_LE(exact.getReply().getLoadedUs(), exact.getReply().getTookUs());
  for (const std::uint32_t row : {0u, 50u, 89u}) {
    EXPECT_EQ(client.Read(exact, row, 2, shape_), RowByte(before, row, 2)) << row;
  }
  auto again = client.Plan(model, {.tokens = before, .store_tokens = 90});
  EXPECT_EQ(again.getReply().getLoadedBlocks(), 0u) << "in memory by now";
  EXPECT_EQ(again.getReply().getLoadedBytes(), 0u);
  EXPECT_EQ(again.getReply().getLoadedUs(), 0);
  // The document and its lineage, too.
  const Tokens after = testing::Joined({Text(2, 5), before});
  auto edit = client.Plan(model, {after, Policy::kEdit, "a.txt", 92});
  EXPECT_EQ(edit.getReply().getParentRevision(), 1u);
  EXPECT_GT(edit.getReply().getMovedRows(), 60u);
}

TEST_F(RestartTest, AStopMakesWhatWasHeldDurable) {
  TestDaemon daemon(WithDisk);
  const Tokens tokens = Text(64);
  {
    TestClient client(io_, daemon.socket());
    auto model = client.OpenModel(shape_);
    auto plan = client.Plan(model, {.tokens = tokens, .store_tokens = 64});
    client.Commit(plan, tokens, shape_, Ack::kHeld);
  }
  auto options = daemon.DefaultOptions();
  WithDisk(options);
  daemon.Restart(std::move(options));
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  EXPECT_EQ(client.Plan(model, {.tokens = tokens}).getReply().getExactRows(), 63u);
}

TEST_F(RestartTest, ASecondDaemonOnTheSameStoreIsRefused) {
  TestDaemon daemon(WithDisk);
  auto options = daemon.DefaultOptions();
  WithDisk(options);
  options.config.socket = daemon.folder() + "/other.sock";
  const auto second = Daemon::Start(std::move(options));
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().ToString(), HasSubstr("data"));
  EXPECT_FALSE(std::filesystem::exists(daemon.folder() + "/other.sock")) << "nothing is left";
}

TEST_F(RestartTest, ASecondDaemonOnTheSameSocketIsRefused) {
  TestDaemon daemon;
  const auto second = Daemon::Start(daemon.DefaultOptions());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::kAlreadyExists);
  TestClient client(io_, daemon.socket());
  client.Session();
}

TEST_F(RestartTest, VerifyReadsEverything) {
  TestDaemon daemon(WithDisk);
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  const Tokens tokens = Text(64);
  auto plan = client.Plan(model, {.tokens = tokens, .store_tokens = 64});
  client.Commit(plan, tokens, shape_);
  EXPECT_EQ(MessageOf(client.Session().flushRequest().send().wait(io_.waitScope)), "");
  auto report = client.Session().verifyRequest().send().wait(io_.waitScope);
  EXPECT_GE(report.getChecked(), 4u);
  EXPECT_EQ(report.getBad(), 0u);
}

TEST_F(RestartTest, HttpSaysHowTheDaemonIs) {
  TestDaemon daemon;
  const std::uint16_t port = daemon.get().http_port();
  ASSERT_NE(port, 0);
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  client.Plan(model, {.tokens = Text(10)});
  EXPECT_THAT(HttpGet(port, "/healthz"), HasSubstr("200 OK"));
  EXPECT_THAT(HttpGet(port, "/readyz"), HasSubstr("ready"));
  EXPECT_THAT(HttpGet(port, "/none"), HasSubstr("404"));
  const std::string metrics = HttpGet(port, "/metrics");
  EXPECT_THAT(metrics, HasSubstr("kvcommons_plans_total 1\n"));
  EXPECT_THAT(metrics, HasSubstr("kvcommons_planned_rows_total{kind=\"compute\"} 10\n"));
  EXPECT_THAT(metrics, HasSubstr("kvcommons_arena_capacity_bytes 201326592\n"));
  EXPECT_THAT(metrics, ::testing::Not(HasSubstr("uid"))) << "no figure names a tenant (I7)";
}

TEST_F(RestartTest, ADiskThatFailsIsAHealthFlagAndNotAnOutage) {
  auto fails = std::make_shared<std::atomic<bool>>(false);
  TestDaemon daemon(
      [&](Daemon::Options& options) { options.disk = std::make_unique<FailingDisk>(fails); });
  TestClient client(io_, daemon.socket());
  auto model = client.OpenModel(shape_);
  *fails = true;
  const Tokens tokens = Text(64);
  auto plan = client.Plan(model, {.tokens = tokens, .store_tokens = 64});
  auto durable = client.Commit(plan, tokens, shape_, Ack::kDurable);
  EXPECT_EQ(testing::CodeOf(durable), Code::kUnavailable);
  auto again = client.Plan(model, {.tokens = tokens, .store_tokens = 64});
  EXPECT_EQ(MessageOf(client.Commit(again, tokens, shape_, Ack::kHeld)), "");
  EXPECT_EQ(client.Plan(model, {.tokens = tokens}).getReply().getExactRows(), 63u);
  const std::string health = HttpGet(daemon.get().http_port(), "/healthz");
  EXPECT_THAT(health, HasSubstr("503"));
  EXPECT_THAT(health, HasSubstr("the disk refuses writes"));
  *fails = false;
  EXPECT_THAT(HttpGet(daemon.get().http_port(), "/healthz"), HasSubstr("200 OK"));
}

}  // namespace
}  // namespace kvcommons
