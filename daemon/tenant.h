// Tenant: whom the daemon serves. Made from the socket's peer credentials, never from a message
// (I7).

#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

struct Tenant {
  std::uint64_t uid = 0;
  std::string name;  // "uid:1000"
  DomainId domain;   // private to this tenant
};

Tenant TenantOfUid(std::uint64_t uid);

// The user id of the process at the other end of a Unix socket, as it was when that connected.
Result<std::uint64_t> PeerUid(int socket_fd);

}  // namespace kvcommons
