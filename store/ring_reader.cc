#include "store/ring_reader.h"

#include <liburing.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/assert.h"

namespace kvcommons {
namespace {

constexpr std::size_t kDepth = 8;

class Ring {
 public:
  Ring() : usable_(io_uring_queue_init(kDepth, &ring_, 0) == 0) {}
  ~Ring() {
    if (usable_) io_uring_queue_exit(&ring_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  bool usable() const { return usable_; }
  io_uring* get() { return &ring_; }

  // REQUIRES: the kernel has nothing of it.
  void Retire() {
    io_uring_queue_exit(&ring_);
    usable_ = false;
  }

 private:
  io_uring ring_ = {};
  bool usable_;
};

// A short read is rare (a signal, an odd file system), so its rest is read plainly.
int ReadRest(int fd, std::uint64_t offset, std::span<std::byte> rest) {
  while (!rest.empty()) {
    const ssize_t done = pread(fd, rest.data(), rest.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno;
    if (done == 0) return ENODATA;
    rest = rest.subspan(static_cast<std::size_t>(done));
    offset += static_cast<std::uint64_t>(done);
  }
  return 0;
}

}  // namespace

int RingRead(int fd, std::uint64_t offset, std::span<const std::span<std::byte>> pieces,
             const std::function<void(std::size_t piece)>& arrived) {
  thread_local Ring ring;
  if (!ring.usable()) return ENOSYS;

  // Piece p is in slot p % kDepth while it is on its way.
  constexpr int kOnItsWay = -1 << 20;
  std::array<int, kDepth> results;
  results.fill(kOnItsWay);
  std::array<std::uint64_t, kDepth> offsets = {};
  std::size_t prepared = 0;
  std::size_t in_kernel = 0;  // taken by the kernel, not completed
  std::size_t unsubmitted = 0;
  std::size_t handed_over = 0;
  int error = 0;
  for (;;) {
    while (error == 0 && prepared < pieces.size() && prepared < handed_over + kDepth) {
      io_uring_sqe* const entry = io_uring_get_sqe(ring.get());
      if (entry == nullptr) break;
      const std::span<std::byte> piece = pieces[prepared];
      io_uring_prep_read(entry, fd, piece.data(), static_cast<unsigned>(piece.size()), offset);
      io_uring_sqe_set_data64(entry, prepared);
      offsets[prepared % kDepth] = offset;
      results[prepared % kDepth] = kOnItsWay;
      offset += piece.size();
      ++prepared;
      ++unsubmitted;
    }
    if (unsubmitted > 0) {
      const int taken = io_uring_submit(ring.get());
      if (taken > 0) {
        in_kernel += static_cast<std::size_t>(taken);
        unsubmitted -= static_cast<std::size_t>(taken);
      } else if (in_kernel == 0 && taken != -EINTR) {
        ring.Retire();  // What was prepared would be read later, into memory that is not ours then.
        return taken < 0 ? -taken : EIO;
      }
    }
    // Nothing stays behind in the ring, whatever failed: the kernel writes to the caller's memory.
    if (in_kernel > 0) {
      io_uring_cqe* done = nullptr;
      const int waited = io_uring_wait_cqe(ring.get(), &done);
      if (waited == -EINTR) continue;
      KVC_ASSERT(waited == 0);
      results[io_uring_cqe_get_data64(done) % kDepth] = done->res;
      io_uring_cqe_seen(ring.get(), done);
      --in_kernel;
    } else if (unsubmitted == 0 && (error != 0 || handed_over == pieces.size())) {
      return error;
    }
    while (error == 0 && handed_over < prepared && results[handed_over % kDepth] != kOnItsWay) {
      const std::span<std::byte> piece = pieces[handed_over];
      const int result = results[handed_over % kDepth];
      if (result < 0) {
        error = -result;
      } else if (static_cast<std::size_t>(result) < piece.size()) {
        const auto read = static_cast<std::size_t>(result);
        error = ReadRest(fd, offsets[handed_over % kDepth] + read, piece.subspan(read));
      }
      if (error == 0) arrived(handed_over++);
    }
  }
}

}  // namespace kvcommons
