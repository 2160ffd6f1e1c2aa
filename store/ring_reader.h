// Reads of one file that are all on their way at once, handed over in order: what has arrived can
// be verified while the rest is read. io_uring where the kernel allows it.
//
// Thread safety: each thread has a ring of its own.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace kvcommons {

// 0: all arrived. Else an errno: ENOSYS where there is no ring to be had (nothing was read,
// `arrived` was not called), ENODATA where the file ends first.
int RingRead(int fd, std::uint64_t offset, std::span<const std::span<std::byte>> pieces,
             const std::function<void(std::size_t piece)>& arrived);

}  // namespace kvcommons
