#include "daemon/rpc_server.h"

#include <capnp/rpc-twoparty.h>
#include <capnp/serialize-async.h>
#include <kj/async-io.h>
#include <kj/async-unix.h>
#include <kj/debug.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/log.h"
#include "daemon/rpc_session.h"
#include "daemon/tenant.h"

namespace kvcommons {
namespace {

constexpr Logger kLog("rpc");

// Answers that a peer may leave unread, before it is taken for one that never will.
constexpr std::size_t kMaxUnreadBytes = 256 << 20;
// How long a broken connection may take to send its last words.
constexpr auto kLastWords = 1 * kj::SECONDS;
constexpr auto kRetryAccept = 100 * kj::MILLISECONDS;

// Passes messages on, and says in the log why a connection ended.
class WatchedStream final : public capnp::MessageStream {
 public:
  WatchedStream(kj::AsyncCapabilityStream& stream, Metrics& metrics, std::string peer)
      : inner_(stream), metrics_(metrics), peer_(std::move(peer)) {
    auto pair = kj::newPromiseAndFulfiller<void>();
    broken_ = kj::mv(pair.promise);
    set_broken_ = kj::mv(pair.fulfiller);
  }

  void set_unread_bytes(std::function<std::size_t()> unread_bytes) {
    unread_bytes_ = std::move(unread_bytes);
  }
  kj::Promise<void> OnBroken() { return kj::mv(broken_); }

  // Descriptors are sent, never received: `fds` is not passed on, so the kernel drops them.
  kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> tryReadMessage(
      kj::ArrayPtr<kj::AutoCloseFd>, capnp::ReaderOptions options,
      kj::ArrayPtr<capnp::word> scratch) override {
    if (unread_bytes_() > kMaxUnreadBytes) {
      Break("it does not read its answers");
      return KJ_EXCEPTION(DISCONNECTED, "too many unread answers");
    }
    return inner_.tryReadMessage(nullptr, options, scratch)
        .catch_([this](kj::Exception&& failure) -> kj::Maybe<capnp::MessageReaderAndFds> {
          if (failure.getType() != kj::Exception::Type::DISCONNECTED) {
            Break(failure.getDescription().cStr());
          }
          kj::throwFatalException(kj::mv(failure));
        });
  }
  kj::Promise<void> writeMessage(
      kj::ArrayPtr<const int> fds,
      kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) override {
    return inner_.writeMessage(fds, segments);
  }
  kj::Promise<void> writeMessages(
      kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) override {
    return inner_.writeMessages(messages);
  }
  kj::Maybe<int> getSendBufferSize() override { return inner_.getSendBufferSize(); }
  kj::Promise<void> end() override { return inner_.end(); }

 private:
  void Break(const char* reason) {
    metrics_.CountConnectionBroken();
    kLog.WarningLimited("broken " + peer_, "connection of " + peer_ + " closed: " + reason);
    set_broken_->fulfill();
  }

  capnp::AsyncCapabilityMessageStream inner_;
  Metrics& metrics_;
  const std::string peer_;
  std::function<std::size_t()> unread_bytes_;
  kj::Promise<void> broken_ = nullptr;
  kj::Own<kj::PromiseFulfiller<void>> set_broken_;
};

capnp::ReaderOptions LimitsOf(const DaemonConfig& config) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = config.max_message_bytes / sizeof(capnp::word);
  options.nestingLimit = 32;
  return options;
}

class Connection {
 public:
  Connection(Services& services, kj::Own<kj::AsyncCapabilityStream> stream, const Tenant& tenant)
      : metrics_(services.metrics),
        stream_(kj::mv(stream)),
        messages_(*stream_, services.metrics, tenant.name),
        network_(messages_, /*maxFdsPerMessage=*/1, capnp::rpc::twoparty::Side::SERVER,
                 LimitsOf(services.config)),
        rpc_(capnp::makeRpcServer(network_, MakeDaemonCapability(services, tenant))) {
    messages_.set_unread_bytes([this] { return network_.getCurrentQueueSize(); });
    // One call of the longest kind, and another that is on its way.
    rpc_.setFlowLimit(2 * services.config.max_message_bytes / sizeof(capnp::word));
    metrics_.CountConnection(1);
  }
  ~Connection() { metrics_.CountConnection(-1); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  kj::Promise<void> Run(kj::Timer& timer) {
    return network_.onDisconnect().exclusiveJoin(
        messages_.OnBroken().then([&timer] { return timer.afterDelay(kLastWords); }));
  }

 private:
  Metrics& metrics_;
  kj::Own<kj::AsyncCapabilityStream> stream_;
  WatchedStream messages_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
};

class Acceptor final : private kj::TaskSet::ErrorHandler {
 public:
  Acceptor(Services& services, kj::AsyncIoContext& io, int listen_fd,
           const CredentialLookup& credentials)
      : services_(services),
        io_(io),
        listen_fd_(listen_fd),
        credentials_(credentials),
        observer_(io.unixEventPort, listen_fd, kj::UnixEventPort::FdObserver::OBSERVE_READ),
        connections_(*this) {}

  kj::Promise<void> Run() {
    while (true) {
      const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        Accept(fd);
        continue;
      }
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return observer_.whenBecomesReadable().then([this] { return Run(); });
      }
      kLog.ErrorLimited("accept", std::string("accept: ") + std::strerror(errno));
      return io_.provider->getTimer().afterDelay(kRetryAccept).then([this] { return Run(); });
    }
  }

 private:
  void Accept(int fd) {
    auto stream = io_.lowLevelProvider->wrapUnixSocketFd(
        fd, kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP |
                kj::LowLevelAsyncIoProvider::ALREADY_CLOEXEC |
                kj::LowLevelAsyncIoProvider::ALREADY_NONBLOCK);
    if (connection_count_ >= services_.config.max_connections) {
      services_.metrics.CountConnectionRefused();
      kLog.WarningLimited("connections", "a client was turned away: max_connections is " +
                                             std::to_string(services_.config.max_connections));
      return;
    }
    const auto uid = credentials_(fd);
    if (!uid) {
      kLog.ErrorLimited("credentials", uid.error().ToString());
      return;
    }
    auto connection = kj::heap<Connection>(services_, kj::mv(stream), TenantOfUid(*uid));
    ++connection_count_;
    auto run = connection->Run(io_.provider->getTimer());
    connections_.add(run.attach(kj::mv(connection), kj::defer([this] { --connection_count_; })));
  }

  void taskFailed(kj::Exception&& failure) override {
    kLog.WarningLimited("connection",
                        std::string("a connection failed: ") + failure.getDescription().cStr());
  }

  Services& services_;
  kj::AsyncIoContext& io_;
  const int listen_fd_;
  const CredentialLookup& credentials_;
  kj::UnixEventPort::FdObserver observer_;
  std::uint64_t connection_count_ = 0;
  kj::TaskSet connections_;
};

}  // namespace

void ServeRpc(Services& services, int listen_fd, int stop_fd, const CredentialLookup& credentials,
              const std::function<void()>& drain) {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  kj::UnixEventPort::FdObserver stop(io.unixEventPort, stop_fd,
                                     kj::UnixEventPort::FdObserver::OBSERVE_READ);
  {
    Acceptor acceptor(services, io, listen_fd, credentials);
    stop.whenBecomesReadable().exclusiveJoin(acceptor.Run()).wait(io.waitScope);
  }
  drain();
}

}  // namespace kvcommons
