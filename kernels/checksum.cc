#include "kernels/checksum.h"

#include <algorithm>
#include <memory>

#include "base/assert.h"
#include "kernels/stream_copy.h"
#if defined(__x86_64__)
// Debian's library is compiled for SSE2; its *_dispatch functions choose AVX2 or AVX-512 at run
// time.
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

namespace kvcommons {
namespace {

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

}  // namespace

Checksum128 ChecksumOf(const std::byte* bytes, std::size_t size) {
  const XXH128_hash_t hash = XXH3_128bits(bytes, size);
  return {hash.low64, hash.high64};
}

Checksum128 CopyWithChecksum(const std::byte* source, std::byte* destination, std::size_t size) {
  // A piece goes to a buffer that nobody else can write and that stays in the first-level cache;
  // the hash and the destination both come from there, so they agree whatever the source does
  // meanwhile.
  constexpr std::size_t kPieceBytes = 4096;
  struct Scratch {
    alignas(64) std::byte piece[kPieceBytes];
    std::unique_ptr<XXH3_state_t, FreeState> state{XXH3_createState()};
  };
  thread_local Scratch scratch;
  KVC_ASSERT(scratch.state != nullptr);

  XXH3_128bits_reset(scratch.state.get());
  for (std::size_t done = 0; done < size;) {
    const std::size_t piece = std::min(size - done, kPieceBytes);
    ReadPiece(source + done, scratch.piece, piece);
    XXH3_128bits_update(scratch.state.get(), scratch.piece, piece);
    const std::size_t rest = size - done - piece;
    StreamPiece(scratch.piece, destination + done, piece, source + done + piece,
                std::min(rest, kPieceBytes));
    done += piece;
  }
  FenceStream();
  const XXH128_hash_t hash = XXH3_128bits_digest(scratch.state.get());
  return {hash.low64, hash.high64};
}

}  // namespace kvcommons
