// The bound of disk paths: the same bytes in the same sizes, to and from a plain file.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace kvcommons {

// A file that nobody else sees; gone with this object.
class PlainFile {
 public:
  static Result<PlainFile> Create(const std::string& folder);
  PlainFile(PlainFile&& other) noexcept;
  PlainFile& operator=(PlainFile&&) = delete;
  PlainFile(const PlainFile&) = delete;
  PlainFile& operator=(const PlainFile&) = delete;
  ~PlainFile();

  // Appends and syncs, as one acknowledged batch.
  Status AppendAndSync(const std::byte* bytes, std::size_t size);
  // Reads `size` bytes at `offset` past the page cache where the file system can, else after
  // emptying it. REQUIRES: all multiples of 4096, `destination` too.
  Status ReadDirect(std::uint64_t offset, std::byte* destination, std::size_t size);
  bool is_direct() const { return direct_fd_ >= 0; }

 private:
  PlainFile(int fd, int direct_fd) : fd_(fd), direct_fd_(direct_fd) {}

  int fd_;
  int direct_fd_;  // -1: this file system knows no direct I/O
};

}  // namespace kvcommons
