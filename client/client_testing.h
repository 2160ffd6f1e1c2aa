// What the client's tests share: a small model, plans of the fake daemon, and a client of it.

#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/fake_daemon.h"

namespace kvcommons {

// 2 planes of 4 bytes a row: a block of 16 tokens has 128 bytes.
inline ModelProfile SmallProfile() {
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

inline void ComputeAll(rpc::PlanRequest::Reader request, rpc::PlanReply::Builder reply) {
  auto spans = reply.initSpans(1);
  spans[0].setEnd(request.getTokens().size());
  spans[0].setKind(static_cast<std::uint8_t>(SpanKind::kCompute));
}

// One exact block of 16 rows at `offset` of `slab`, then one computed token.
inline void OneBlock(rpc::PlanReply::Builder reply, std::uint32_t slab, std::uint64_t offset) {
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

}  // namespace kvcommons
