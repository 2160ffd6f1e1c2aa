// One session with a daemon over its Unix socket: the capabilities, the mapped memory, and the only
// place where KJ's exceptions and time limits become a Status.
//
// A Client and every handle made from it share one Connection, so none of them dangles. When the
// daemon is gone every call fails with kUnavailable at once; a Connection never reconnects by
// itself, since whatever was only held is gone with the daemon and its user has to know. Thread
// safety: belongs to the thread that opened it; another thread's call is a bug (asserted).

#pragma once

#include <capnp/rpc-twoparty.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/assert.h"
#include "client/client.h"
#include "client/event_loop.h"
#include "client/mapping.h"
#include "client/wire.h"

namespace kvcommons {

class Connection {
 public:
  static Result<std::shared_ptr<Connection>> Open(const ClientOptions& options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const DaemonInfo& info() const { return info_; }
  rpc::Session::Client& session() { return *session_; }

  // Runs `body`, which returns a Result<...> and may send calls and Await() them, and turns what KJ
  // throws in it into a Status. `call` names it in messages.
  template <typename Body>
  auto Guarded(const char* call, Body&& body) -> decltype(body()) {
    KVC_ASSERT(loop_->is_this_thread());
    call_ = call;
    timed_out_ = false;
    try {
      return body();
    } catch (const kj::Exception& exception) {
      return Fail(StatusOfException(exception));
    }
  }

  // The answer of a call, or an exception after the session's time limit. Only inside Guarded().
  template <typename T>
  capnp::Response<T> Await(capnp::RemotePromise<T>&& promise) {
    kj::Promise<capnp::Response<T>> answer = kj::mv(promise);
    loop_->SpinFor(answer);
    return answer.exclusiveJoin(TimeLimit<capnp::Response<T>>()).wait(loop_->wait_scope());
  }
  template <typename T>
  T AwaitPromise(kj::Promise<T> promise) {
    return promise.exclusiveJoin(TimeLimit<T>()).wait(loop_->wait_scope());
  }

  // The slab mapped read-only, once; later calls answer from the cache. Ids of slabs are never
  // reused. Mappings that no plan uses are forgotten after a while: they would keep memory alive
  // that the daemon has long given up. Only inside Guarded().
  Result<std::shared_ptr<Mapping>> Slab(std::uint32_t slab_id);
  // The session's staging memory, made at first use. Only inside Guarded().
  Result<std::shared_ptr<Mapping>> Staging();
  // After a commit whose end is unknown: the daemon may still be reading the old memory, so it is
  // never written again.
  void AbandonStaging() { staging_.reset(); }

  // Sends what is waiting to be sent, above all releases of dropped capabilities: without it a
  // dropped plan would keep its lease until the next call.
  void Push() noexcept;

 private:
  explicit Connection(const ClientOptions& options) : options_(options) {}

  Status Login();
  Status StatusOfException(const kj::Exception& exception);

  template <typename T>
  kj::Promise<T> TimeLimit() {
    return loop_->timer().atTime(EventLoop::DeadlineOf(options_.timeout_ms)).then([this]() -> T {
      timed_out_ = true;
      kj::throwFatalException(KJ_EXCEPTION(OVERLOADED, "time limit"));
      KJ_UNREACHABLE;
    });
  }

  const ClientOptions options_;
  std::string socket_path_;
  DaemonInfo info_;
  const char* call_ = "";
  bool timed_out_ = false;

  // Destroyed from the bottom up: capabilities before the network, the network before the loop.
  std::shared_ptr<EventLoop> loop_;
  kj::Own<kj::AsyncCapabilityStream> stream_;
  kj::Own<capnp::TwoPartyVatNetwork> network_;
  kj::Own<capnp::RpcSystem<capnp::rpc::twoparty::VatId>> rpc_;
  kj::Maybe<rpc::Session::Client> session_holder_;
  rpc::Session::Client* session_ = nullptr;
  struct CachedSlab {
    std::shared_ptr<Mapping> mapping;
    std::uint64_t last_use;
  };
  void ForgetIdleSlabs();

  std::map<std::uint32_t, CachedSlab> slabs_;
  std::uint64_t slab_use_count_ = 0;
  std::shared_ptr<Mapping> staging_;
};

}  // namespace kvcommons
