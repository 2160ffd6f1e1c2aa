// For the daemon's tests: a daemon in this process on a temporary socket, and clients that speak
// the schema with nothing between. One event loop a thread, so clients share the test's.

#pragma once

#include <capnp/rpc-twoparty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <kj/async-io.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/bytes.h"
#include "daemon/daemon.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons::testing {

using Tokens = std::vector<TokenId>;

// A model whose block of 16 tokens has 2 KiB.
struct ModelShape {
  std::uint32_t layers = 2, heads = 2, head_dim = 8, block_tokens = 16;
  std::uint32_t context_tokens = 32768, vocabulary = 1000;
  std::uint8_t pair_layout = 1;
  bool gate_passed = true;

  std::size_t token_bytes() const { return std::size_t{layers} * 2 * heads * head_dim * 2; }

  void Write(rpc::ModelProfile::Builder profile) const {
    const std::vector<std::uint8_t> digest(32, 7);
    const kj::ArrayPtr<const kj::byte> bytes(digest.data(), digest.size());
    profile.setName("test");
    profile.setWeightsSha256(bytes);
    profile.setTokenizerSha256(bytes);
    profile.setNumericClass("test/1");
    profile.setLayerCount(layers);
    profile.setKvHeadCount(heads);
    profile.setHeadDim(head_dim);
    profile.setRotaryDim(head_dim);
    profile.setPairLayout(pair_layout);
    profile.setElementType(0);
    profile.setBlockTokens(block_tokens);
    profile.setContextTokens(context_tokens);
    profile.setVocabularySize(vocabulary);
    auto omega = profile.initOmega(head_dim / 2);
    for (unsigned i = 0; i < omega.size(); ++i) omega.set(i, 1.0f / static_cast<float>(i + 1));
  }
};

inline Tokens Text(std::size_t count, TokenId first = 1) {
  Tokens tokens(count);
  std::uint32_t state = static_cast<std::uint32_t>(first) * 2654435761u;
  for (TokenId& token : tokens) {
    state = state * 1664525u + 1013904223u;
    token = static_cast<TokenId>((state >> 8) % 1000);
  }
  return tokens;
}

inline Tokens Joined(std::initializer_list<Tokens> parts) {
  Tokens all;
  for (const Tokens& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

inline Tokens Slice(const Tokens& tokens, std::size_t begin, std::size_t end) {
  return Tokens(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                tokens.begin() + static_cast<std::ptrdiff_t>(end));
}

// The byte that a fake engine computes for a row: any function of the prompt up to it.
inline std::byte RowByte(const Tokens& tokens, std::size_t row, std::size_t plane) {
  return static_cast<std::byte>(tokens[row] * 31 + static_cast<int>(row * 7 + plane));
}

class TestDaemon {
 public:
  explicit TestDaemon(std::function<void(Daemon::Options&)> change = nullptr) {
    Daemon::Options options = DefaultOptions();
    if (change) change(options);
    Restart(std::move(options));
  }
  ~TestDaemon() {
    Stop();
    std::filesystem::remove_all(folder_);
  }

  Daemon::Options DefaultOptions() {
    Daemon::Options options;
    DaemonConfig& config = options.config;
    config.data_dir = folder_ + "/data";
    config.socket = folder_ + "/d.sock";
    config.memory_bytes = 192 * kMiB;
    config.http = "127.0.0.1:0";
    config.max_message_bytes = 64 * kKiB;
    config.max_connections = 16;
    config.max_leases = 8;
    config.max_staging_bytes = kMiB;
    config.worker_threads = 2;
    options.credentials = [this](int) -> Result<std::uint64_t> { return uid.load(); };
    return options;
  }

  void Restart(Daemon::Options options) {
    Stop();
    auto daemon = Daemon::Start(std::move(options));
    ASSERT_TRUE(daemon) << daemon.error().ToString();
    daemon_ = std::move(*daemon);
    thread_ = std::thread([this] { status_ = daemon_->Run(); });
  }
  void Stop() {
    if (!daemon_) return;
    daemon_->Stop();
    thread_.join();
    EXPECT_TRUE(status_.ok()) << status_.ToString();
    daemon_.reset();
  }

  Daemon& get() { return *daemon_; }
  const std::string& folder() const { return folder_; }
  std::string socket() const { return folder_ + "/d.sock"; }

  std::atomic<std::uint64_t> uid{1000};  // of the next client

 private:
  static std::string MakeFolder() {
    std::string name = ::testing::TempDir() + "/kvcommons_daemon_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }

  const std::string folder_ = MakeFolder();
  std::unique_ptr<Daemon> daemon_;
  std::thread thread_;
  Status status_;
};

inline int ConnectSocket(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

using PlanResponse = capnp::Response<rpc::Model::PlanResults>;
using CommitResponse = capnp::Response<rpc::Plan::CommitResults>;

struct PlanArguments {
  Tokens tokens;
  Policy policy = Policy::kExact;
  std::string document = "";
  std::uint32_t store_tokens = 0;
};

// The thread's event loop, as a member of a fixture: kj's destructors may throw, gtest's must not.
struct EventLoop {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  ~EventLoop() noexcept {}
};

class TestClient {
 public:
  TestClient(kj::AsyncIoContext& io, const std::string& socket)
      : io_(io),
        stream_(io.lowLevelProvider->wrapUnixSocketFd(ConnectSocket(socket),
                                                      kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP)),
        client_(*stream_, 4),
        daemon_(client_.bootstrap().castAs<rpc::Daemon>()) {}

  rpc::Daemon::Client& daemon() { return daemon_; }
  kj::WaitScope& wait() { return io_.waitScope; }

  rpc::Session::Client& Session() {
    KJ_IF_MAYBE (session, session_) {
      return *session;
    }
    auto request = daemon_.loginRequest();
    request.setProtocolVersion(rpc::PROTOCOL_VERSION);
    request.setClient("test");
    session_ = request.send().wait(wait()).getSession();
    return KJ_ASSERT_NONNULL(session_);
  }

  rpc::Model::Client OpenModel(const ModelShape& shape) {
    auto request = Session().openModelRequest();
    shape.Write(request.initProfile());
    auto gate = request.initGate();
    gate.setPassed(shape.gate_passed);
    if (!shape.gate_passed) gate.setReason("e_K is 0.5; the limit is 0.01");
    auto response = request.send().wait(wait());
    EXPECT_FALSE(response.hasError()) << response.getError().getMessage().cStr();
    return response.getModel();
  }

  PlanResponse Plan(rpc::Model::Client& model, const PlanArguments& arguments) {
    auto call = model.planRequest();
    auto request = call.initRequest();
    auto tokens = request.initTokens(static_cast<unsigned>(arguments.tokens.size()));
    for (unsigned i = 0; i < tokens.size(); ++i) tokens.set(i, arguments.tokens[i]);
    request.setPolicy(static_cast<std::uint8_t>(arguments.policy));
    request.setDocument(arguments.document.c_str());
    request.setStoreTokens(arguments.store_tokens);
    request.setAfterRows(4);
    request.setMinRun(4);
    return call.send().wait(wait());
  }

  // Maps the descriptor of `memory`; unmapped with the client.
  std::byte* Map(rpc::Memory::Client memory, std::size_t bytes, int protection) {
    const kj::Maybe<int> fd = memory.getFd().wait(wait());
    KJ_IF_MAYBE (number, fd) {
      void* const at = mmap(nullptr, bytes, protection, MAP_SHARED, *number, 0);
      return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
    }
    return nullptr;
  }

  std::byte* Staging(std::uint64_t bytes) {
    auto request = Session().stagingRequest();
    request.setBytes(bytes);
    auto response = request.send().wait(wait());
    EXPECT_FALSE(response.hasError()) << response.getError().getMessage().cStr();
    staging_bytes_ = response.getBytes();
    staging_ = Map(response.getMemory(), staging_bytes_, PROT_READ | PROT_WRITE);
    return staging_;
  }
  std::uint64_t staging_bytes() const { return staging_bytes_; }

  // Computes all pieces of `plan` as the fake engine does, and commits them.
  template <typename Response>
  CommitResponse Commit(Response& plan, const Tokens& tokens, const ModelShape& shape,
                        Ack ack = Ack::kHeld, bool finish = true) {
    if (staging_ == nullptr) Staging(kMiB);
    const auto pieces = plan.getReply().getPieces();
    auto request = plan.getPlan().commitRequest();
    auto staged = request.initPieces(pieces.size());
    std::size_t offset = 0;
    const std::size_t row_bytes = std::size_t{shape.heads} * shape.head_dim * 2;
    for (unsigned i = 0; i < pieces.size(); ++i) {
      staged[i].setBegin(pieces[i].getBegin());
      staged[i].setOffset(offset);
      for (std::size_t plane = 0; plane < 2 * std::size_t{shape.layers}; ++plane) {
        for (std::size_t row = pieces[i].getBegin(); row < pieces[i].getEnd(); ++row) {
          std::memset(staging_ + offset, static_cast<int>(RowByte(tokens, row, plane)), row_bytes);
          offset += row_bytes;
        }
      }
    }
    request.setAck(static_cast<std::uint8_t>(ack));
    request.setFinish(finish);
    return request.send().wait(wait());
  }

  // The first byte of row `row` of the prompt in `plane`, read through the slab's descriptor.
  template <typename Response>
  std::byte Read(Response& plan, std::uint32_t row, std::size_t plane, const ModelShape& shape) {
    for (const auto span : plan.getReply().getSpans()) {
      if (row < span.getBegin() || row >= span.getEnd()) continue;
      auto request = Session().slabRequest();
      request.setSlabId(span.getSlabId());
      auto response = request.send().wait(wait());
      EXPECT_FALSE(response.hasError()) << response.getError().getMessage().cStr();
      const std::byte* const slab = Map(response.getMemory(), response.getBytes(), PROT_READ);
      if (slab == nullptr) return std::byte{0};
      const std::size_t row_bytes = std::size_t{shape.heads} * shape.head_dim * 2;
      const std::size_t row_in_block = span.getFirstRow() + (row - span.getBegin());
      const std::byte value =
          slab[span.getOffset() + (plane * span.getBlockTokens() + row_in_block) * row_bytes];
      munmap(const_cast<std::byte*>(slab), response.getBytes());
      return value;
    }
    ADD_FAILURE() << "no span covers row " << row;
    return std::byte{0};
  }

 private:
  kj::AsyncIoContext& io_;
  kj::Own<kj::AsyncCapabilityStream> stream_;
  capnp::TwoPartyClient client_;
  rpc::Daemon::Client daemon_;
  kj::Maybe<rpc::Session::Client> session_;
  std::byte* staging_ = nullptr;
  std::uint64_t staging_bytes_ = 0;
};

// The failure of a response: nullopt when it has none.
template <typename Response>
std::optional<Code> CodeOf(const Response& response) {
  if (!response.hasError()) return std::nullopt;
  return static_cast<Code>(response.getError().getCode());
}
template <typename Response>
std::string MessageOf(const Response& response) {
  return response.hasError() ? response.getError().getMessage().cStr() : "";
}

}  // namespace kvcommons::testing
