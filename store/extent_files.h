// Block planes in append-only files (extents/NNNNNNNN.ext), and nothing about what they mean.
//
//   page 0: a sealed frame with the file's number | block | block | ...    each from a new 4 KiB
//   page
//
// Each file is allocated whole when it is made. Blocks are appended to the newest; Sync() makes
// them durable with one fdatasync a file. Space comes back only by Drop() of a whole file. A block
// names its bytes by Place; numbers of files are never used twice within a run, so a stale Place is
// a miss. Thread safety: Read() and the counters from any thread; everything else by one thread at
// a time.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "kernels/checksum.h"
#include "store/disk_file.h"

namespace kvcommons {

struct ExtentPlace {
  std::uint32_t file = 0;
  std::uint32_t page = 0;
  std::uint32_t bytes = 0;

  std::uint64_t end_bytes() const {
    return std::uint64_t{page} * kDiskPageBytes + RoundUpToPage(bytes);
  }
  friend bool operator==(const ExtentPlace& a, const ExtentPlace& b) {
    return a.file == b.file && a.page == b.page && a.bytes == b.bytes;
  }
};

class ExtentFiles {
 public:
  static constexpr std::uint32_t kFormatVersion = 1;
  static constexpr std::uint64_t kHeaderBytes = kDiskPageBytes;

  // Opens what is there. kUnsupported: a file of another format version.
  static Result<std::unique_ptr<ExtentFiles>> Open(std::unique_ptr<DiskFolder> folder);

  // All files, oldest first.
  std::vector<std::uint32_t> Numbers() const;
  bool Holds(const ExtentPlace& place) const;              // the file is there and long enough
  std::uint64_t AllocatedBytes(std::uint32_t file) const;  // 0: no such file
  std::uint64_t TotalAllocatedBytes() const;

  // The file that is appended to, 0 if none.
  std::uint32_t current() const { return current_; }
  std::uint64_t CurrentRoomBytes() const;
  // Goes on appending to the newest file behind `used_bytes`, after a restart.
  void ResumeCurrent(std::uint64_t used_bytes);
  // A new current file with `file_bytes` allocated, header included.
  Status StartFile(std::uint64_t file_bytes);
  // The next block will not go to the current file.
  void SealCurrent() { current_ = 0; }

  struct Source {
    const std::byte* bytes = nullptr;
    std::uint64_t size = 0;
  };
  // All of `blocks` one after another, with few large writes. REQUIRES: room for them.
  // On failure nothing of them is kept, and the file takes no more blocks.
  Status Append(std::span<const Source> blocks, std::vector<ExtentPlace>* places);
  // Returns when all that was appended is durable, names of new files included. After a failure the
  // written files take no more blocks: what the disk holds of them is unknown.
  Status Sync();

  // kNotFound: the file was dropped. kCorrupted, kUnavailable: it cannot be read. Fills `checksum`.
  Status Read(const ExtentPlace& place, std::byte* destination, Checksum128* checksum);

  // Waits for its readers, then gives the space back.
  Status Drop(std::uint32_t file);

  std::uint64_t written_bytes() const;
  std::uint64_t read_bytes() const;

 private:
  struct File {
    std::unique_ptr<DiskFile> file;
    std::uint64_t size_bytes = 0;
    std::uint64_t allocated_bytes = 0;
    std::uint32_t readers = 0;
    bool unsynced = false;
  };

  explicit ExtentFiles(std::unique_ptr<DiskFolder> folder);
  Status OpenOne(const DiskFolder::FileInfo& info);
  Status WritePieces(std::uint64_t* offset, std::vector<WritePiece>* pieces);
  DiskFile* FileOf(std::uint32_t number) const EXCLUDES(mutex_);

  const std::unique_ptr<DiskFolder> folder_;
  // Of the appending thread alone.
  std::uint32_t current_ = 0;
  std::uint64_t current_used_bytes_ = 0;
  std::uint32_t next_number_ = 1;
  bool names_unsynced_ = false;
  DiskBuffer bounce_;

  mutable Mutex mutex_;
  CondVar reader_left_;
  std::map<std::uint32_t, File> files_ GUARDED_BY(mutex_);
  std::uint64_t written_bytes_ GUARDED_BY(mutex_) = 0;
  std::uint64_t read_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace kvcommons
