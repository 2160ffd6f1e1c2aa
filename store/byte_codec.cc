#include "store/byte_codec.h"

#include "kernels/checksum.h"

namespace kvcommons {
namespace {

constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kGuardBytes = 16;

Checksum128 GuardOf(std::string_view bytes) {
  return ChecksumOf(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
}

Status Bad(const FrameKind& kind, const std::string& what) {
  return Corrupted(std::string(kind.name) + ": " + what);
}

}  // namespace

std::string SealFrame(const FrameKind& kind, std::string_view payload) {
  ByteWriter writer;
  writer.Put(kind.magic);
  writer.Put(kind.version);
  writer.PutText(payload);
  std::string bytes = writer.Take();
  const Checksum128 guard = GuardOf(bytes);
  ByteWriter tail;
  tail.Put(guard.low);
  tail.Put(guard.high);
  return bytes += tail.Take();
}

Result<std::string_view> OpenFrame(const FrameKind& kind, std::string_view bytes) {
  if (bytes.size() < kHeaderBytes + kGuardBytes) {
    return Fail(Bad(kind, "is " + std::to_string(bytes.size()) + " bytes; at least " +
                              std::to_string(kHeaderBytes + kGuardBytes) + " are needed"));
  }
  ByteReader header(bytes);
  std::uint32_t magic = 0;
  std::uint32_t version = 0;
  std::uint64_t payload_bytes = 0;
  if (!header.Get(&magic) || !header.Get(&version) || !header.Get(&payload_bytes) ||
      magic != kind.magic) {
    return Fail(Bad(kind, "does not begin with its magic number"));
  }
  if (version != kind.version) {
    return Fail(Unsupported(std::string(kind.name) + ": format version is " +
                            std::to_string(version) + "; this release reads " +
                            std::to_string(kind.version)));
  }
  if (payload_bytes != bytes.size() - kHeaderBytes - kGuardBytes) {
    return Fail(Bad(kind, "says " + std::to_string(payload_bytes) + " bytes of payload; " +
                              std::to_string(bytes.size() - kHeaderBytes - kGuardBytes) +
                              " are there"));
  }
  ByteReader tail(bytes.substr(kHeaderBytes + payload_bytes));
  Checksum128 guard;
  if (!tail.Get(&guard.low) || !tail.Get(&guard.high) ||
      guard != GuardOf(bytes.substr(0, kHeaderBytes + payload_bytes))) {
    return Fail(Bad(kind, "has a wrong checksum"));
  }
  return bytes.substr(kHeaderBytes, payload_bytes);
}

}  // namespace kvcommons
