#include "daemon/tenant.h"

#include <openssl/evp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/assert.h"

namespace kvcommons {

Tenant TenantOfUid(std::uint64_t uid) {
  Tenant tenant;
  tenant.uid = uid;
  tenant.name = "uid:" + std::to_string(uid);
  const std::string text = "tenant " + tenant.name;
  std::array<unsigned char, 32> digest{};
  unsigned int size = 0;
  KVC_ASSERT(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) ==
             1);
  std::memcpy(tenant.domain.bytes.data(), digest.data(), tenant.domain.bytes.size());
  return tenant;
}

Result<std::uint64_t> PeerUid(int socket_fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return Fail(PermissionDenied(std::string("peer credentials: ") + std::strerror(errno)));
  }
  return credentials.uid;
}

}  // namespace kvcommons
