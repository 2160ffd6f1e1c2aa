#include "client/connection.h"

#include <capnp/message.h>
#include <capnp/rpc-twoparty.capnp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>

namespace kvcommons {
namespace {

constexpr unsigned kMaxFdsPerMessage = 2;
// A listing of a million blocks, say: replies larger than this are refused by the message reader.
constexpr std::uint64_t kMaxReplyWords = 32ull << 20;
constexpr std::size_t kMaxNameBytes = 128;

Status ConnectFailure(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
      return Unavailable("no daemon socket at " + path +
                         ": start kvcommonsd, or name its socket (--socket PATH or "
                         "KVCOMMONS_SOCKET)");
    case ECONNREFUSED:
      return Unavailable("nobody listens at " + path +
                         ": the daemon that made this socket is gone; start kvcommonsd again");
    case EACCES:
    case EPERM:
      return PermissionDenied("this user may not use the socket " + path +
                              ": its owner decides by the modes of the socket and its folder");
    case EAGAIN:
    case EINPROGRESS:
      return Unavailable("the daemon at " + path +
                         " does not accept connections in time; retry with backoff");
    default:
      return Unavailable("cannot connect to " + path + ": " + std::strerror(error));
  }
}

// A connected socket, or the failure.
Result<int> ConnectTo(const std::string& path, std::int64_t timeout_ms) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Fail(InvalidArgument("socket path " + path + " has " + std::to_string(path.size()) +
                                " bytes; the limit is " +
                                std::to_string(sizeof address.sun_path - 1)));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Fail(Exhausted(std::string("no socket: ") + std::strerror(errno)));
  // A full backlog blocks connect() of a Unix socket; this bounds it.
  timeval limit = {};
  limit.tv_sec = static_cast<time_t>(timeout_ms / 1000);
  limit.tv_usec = static_cast<suseconds_t>(timeout_ms % 1000 * 1000);
  static_cast<void>(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit));
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    close(fd);
    return Fail(ConnectFailure(path, error));
  }
  return fd;
}

}  // namespace

Result<std::shared_ptr<Connection>> Connection::Open(const ClientOptions& options) {
  if (options.timeout_ms < 1) {
    return Fail(InvalidArgument("timeout_ms is " + std::to_string(options.timeout_ms) +
                                "; it must be at least 1"));
  }
  if (options.name.size() > kMaxNameBytes) {
    return Fail(InvalidArgument("name has " + std::to_string(options.name.size()) +
                                " bytes; the limit is " + std::to_string(kMaxNameBytes)));
  }
  std::shared_ptr<Connection> connection(new Connection(options));
  connection->socket_path_ =
      options.socket_path.empty() ? DefaultSocketPath() : options.socket_path;
  Result<int> fd = ConnectTo(connection->socket_path_, options.timeout_ms);
  if (!fd) return Fail(fd.error());
  Result<std::shared_ptr<EventLoop>> loop = EventLoop::OfThisThread();
  if (!loop) {
    close(*fd);
    return Fail(loop.error());
  }
  connection->loop_ = *loop;
  using Flags = kj::LowLevelAsyncIoProvider;
  connection->stream_ =
      (*loop)->io().wrapUnixSocketFd(*fd, Flags::TAKE_OWNERSHIP | Flags::ALREADY_CLOEXEC);
  KVC_FAIL_IF_ERROR(connection->Login());
  return connection;
}

Status Connection::Login() {
  const Result<void> outcome = Guarded("login", [this]() -> Result<void> {
    capnp::ReaderOptions reader_options;
    reader_options.traversalLimitInWords = kMaxReplyWords;
    network_ = kj::heap<capnp::TwoPartyVatNetwork>(
        *stream_, kMaxFdsPerMessage, capnp::rpc::twoparty::Side::CLIENT, reader_options);
    rpc_ = kj::heap<capnp::RpcSystem<capnp::rpc::twoparty::VatId>>(capnp::makeRpcClient(*network_));
    capnp::MallocMessageBuilder message(16);
    auto server = message.initRoot<capnp::rpc::twoparty::VatId>();
    server.setSide(capnp::rpc::twoparty::Side::SERVER);
    auto request = rpc_->bootstrap(server).castAs<rpc::Daemon>().loginRequest();
    request.setProtocolVersion(rpc::PROTOCOL_VERSION);
    request.setClient(options_.name);
    auto response = Await(request.send());
    if (response.hasError()) return Fail(StatusOf(response.getError()));
    if (!response.hasSession() || !response.hasInfo()) {
      return Fail(Internal("the daemon's login answered no session"));
    }
    info_ = InfoOf(response.getInfo());
    session_ = &session_holder_.emplace(response.getSession());
    return {};
  });
  return outcome ? Status() : outcome.error();
}

Connection::~Connection() {
  KVC_ASSERT(loop_ == nullptr || loop_->is_this_thread());
  session_holder_ = nullptr;
  if (loop_ != nullptr) Push();
}

Result<std::shared_ptr<Mapping>> Connection::Slab(std::uint32_t slab_id) {
  ++slab_use_count_;
  if (const auto found = slabs_.find(slab_id); found != slabs_.end()) {
    found->second.last_use = slab_use_count_;
    return found->second.mapping;
  }
  ForgetIdleSlabs();
  auto request = session_->slabRequest();
  request.setSlabId(slab_id);
  auto response = Await(request.send());
  if (response.hasError()) return Fail(StatusOf(response.getError()));
  KJ_IF_MAYBE (fd, AwaitPromise(response.getMemory().getFd())) {
    auto mapping = Mapping::Open(*fd, response.getBytes(), Mapping::Access::kRead);
    if (mapping) slabs_[slab_id] = CachedSlab{*mapping, slab_use_count_};
    return mapping;
  }
  return Fail(Internal("the daemon passed no descriptor for slab " + std::to_string(slab_id)));
}

void Connection::ForgetIdleSlabs() {
  constexpr std::uint64_t kIdleUses = 4096;
  for (auto slab = slabs_.begin(); slab != slabs_.end();) {
    const bool idle = slab->second.mapping.use_count() == 1 &&
                      slab_use_count_ - slab->second.last_use > kIdleUses;
    slab = idle ? slabs_.erase(slab) : std::next(slab);
  }
}

Result<std::shared_ptr<Mapping>> Connection::Staging() {
  if (staging_ != nullptr) return staging_;
  auto request = session_->stagingRequest();
  request.setBytes(options_.staging_bytes);
  auto response = Await(request.send());
  if (response.hasError()) return Fail(StatusOf(response.getError()));
  KJ_IF_MAYBE (fd, AwaitPromise(response.getMemory().getFd())) {
    auto mapping = Mapping::Open(*fd, response.getBytes(), Mapping::Access::kReadWrite);
    if (mapping) staging_ = *mapping;
    return mapping;
  }
  return Fail(Internal("the daemon passed no descriptor for the staging memory"));
}

void Connection::Push() noexcept {
  try {
    loop_->wait_scope().poll();
  } catch (...) {
    // A connection that broke has nothing left to send; the next call says so.
  }
}

Status Connection::StatusOfException(const kj::Exception& exception) {
  const std::string call = call_;
  if (timed_out_) {
    return Unavailable(call +
                       " took longer than timeout_ms = " + std::to_string(options_.timeout_ms) +
                       "; the daemon may still carry it out: connect again with backoff");
  }
  const std::string description(exception.getDescription().cStr());
  switch (exception.getType()) {
    case kj::Exception::Type::DISCONNECTED:
      return Unavailable(call + ": the daemon at " + socket_path_ +
                         " closed the connection; connect again with backoff (" + description +
                         ")");
    case kj::Exception::Type::OVERLOADED:
      return Exhausted(call + ": the daemon is overloaded; retry with backoff (" + description +
                       ")");
    case kj::Exception::Type::UNIMPLEMENTED:
      return Unsupported(call + ": the daemon does not know this call; it is another version (" +
                         description + ")");
    case kj::Exception::Type::FAILED:
      break;
  }
  return Internal(call + ": " + description);
}

}  // namespace kvcommons
