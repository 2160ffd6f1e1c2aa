// The folder of one store: who holds it, and which format it has.
//
//   lock       flock()ed by the process that has the store open
//   format     "kvcommons store <version>\n"
//   index/     RocksDB: where blocks are, their records, documents, metadata
//   extents/   block planes
//
// The format is a text file beside the index, so that a store that this release cannot read is
// refused by name before anything in it is touched.

#pragma once

#include <memory>
#include <string>

#include "base/status.h"

namespace kvcommons {

class StoreFolder {
 public:
  static constexpr int kFormatVersion = 1;

  // Creates the folder if absent (its parent must exist). kUnavailable: another process holds it;
  // kUnsupported: unknown format version, or a folder that holds something else.
  static Result<std::unique_ptr<StoreFolder>> Open(const std::string& path);
  ~StoreFolder();
  StoreFolder(const StoreFolder&) = delete;
  StoreFolder& operator=(const StoreFolder&) = delete;

  std::string index_path() const { return path_ + "/index"; }
  std::string extents_path() const { return path_ + "/extents"; }

 private:
  StoreFolder(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}

  const std::string path_;
  const int lock_fd_;
};

}  // namespace kvcommons
