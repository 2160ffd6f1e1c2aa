// The event loop that serves Cap'n Proto over a listening Unix socket.
//
// Each connection is authenticated by its socket's peer credentials and has an RPC system of its
// own; its end, however it comes, drops what it held (I10). A peer that sends what is malformed or
// longer than the limit, or does not read its answers, loses its connection, with the reason in the
// log. Thread safety: ServeRpc() occupies its thread.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/status.h"
#include "daemon/services.h"

namespace kvcommons {

// The user id of the peer of an accepted socket; tests put another one in.
using CredentialLookup = std::function<Result<std::uint64_t>(int socket_fd)>;

// Serves until `stop_fd` (an eventfd or a pipe) becomes readable; then drops all connections and
// calls `drain`, which ends the worker pools, while answers can still be delivered.
void ServeRpc(Services& services, int listen_fd, int stop_fd, const CredentialLookup& credentials,
              const std::function<void()>& drain);

}  // namespace kvcommons
