// The few things the disk tier asks of a file system, as an interface, so that a test can cut the
// power.
//
// What is written is on the disk only after Sync(); a file's name only after SyncNames(). Failures
// are kUnavailable, naming file, operation and cause; a file that is not there is kNotFound. Thread
// safety: ReadAt() from any thread; everything else by one thread at a time.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace kvcommons {

// Offsets, sizes and addresses of direct I/O are multiples of this.
inline constexpr std::size_t kDiskPageBytes = 4096;

constexpr std::uint64_t RoundUpToPage(std::uint64_t bytes) {
  return (bytes + kDiskPageBytes - 1) / kDiskPageBytes * kDiskPageBytes;
}

// Memory of a direct read or write; address and size are multiples of kDiskPageBytes.
using ReadPiece = std::span<std::byte>;
using WritePiece = std::span<const std::byte>;

class DiskFile {
 public:
  virtual ~DiskFile() = default;
  // The pieces, one after another, at `offset`.
  virtual Status WriteAt(std::uint64_t offset, std::span<const WritePiece> pieces) = 0;
  // kCorrupted when the file ends first.
  virtual Status ReadAt(std::uint64_t offset, std::span<const ReadPiece> pieces) = 0;
  // The same, and tells of each piece, in order, when it is there: by then others may be on their
  // way.
  virtual Status ReadInOrder(std::uint64_t offset, std::span<const ReadPiece> pieces,
                             const std::function<void(std::size_t piece)>& arrived);
  virtual Status Sync() = 0;
};

class DiskFolder {
 public:
  struct FileInfo {
    std::string name;
    std::uint64_t size_bytes = 0;       // how far it can be read
    std::uint64_t allocated_bytes = 0;  // what it takes from the disk
  };

  virtual ~DiskFolder() = default;
  // A new file of `bytes`, allocated at once, so that a later write finds room and syncs no size.
  virtual Result<std::unique_ptr<DiskFile>> Create(const std::string& name,
                                                   std::uint64_t bytes) = 0;
  virtual Result<std::unique_ptr<DiskFile>> Open(const std::string& name) = 0;
  virtual Status Remove(const std::string& name) = 0;
  // Makes creations and removals durable.
  virtual Status SyncNames() = 0;
  virtual Result<std::vector<FileInfo>> List() = 0;
};

// A real folder, created if absent. Direct I/O where the file system has it; else buffered, synced,
// and dropped from the page cache, which would hold a second copy of what the arena holds.
Result<std::unique_ptr<DiskFolder>> OpenDiskFolder(const std::string& path);

// Page-aligned memory for direct I/O.
class DiskBuffer {
 public:
  explicit DiskBuffer(std::size_t bytes);  // rounded up to pages
  std::byte* data() { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  std::size_t size_;
  std::unique_ptr<std::byte, Free> data_;
};

inline bool IsPageAligned(const std::byte* address) {
  return reinterpret_cast<std::uintptr_t>(address) % kDiskPageBytes == 0;
}

}  // namespace kvcommons
