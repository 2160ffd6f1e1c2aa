// The disk tier's small data, by key: where blocks are, their records, documents, metadata.
//
// Guarantee: a batch that Commit() returned ok for is there after a power loss, whole. One that
// failed is not seen by this process; after a power loss it may be there, whole. Thread safety:
// every method may be called from any thread.

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace kvcommons {

// Stored as the first byte of the key: append, never reassign.
enum class IndexSpace : char {
  kPlace = 'p',
  kRecord = 'r',
  kDocument = 'd',
  kLibrary = 'l',
  kMeta = 'm'
};

class IndexBatch {
 public:
  struct Change {
    std::string key;                   // with its space
    std::optional<std::string> value;  // empty: deleted
  };

  void Put(IndexSpace space, std::string_view key, std::string value) {
    Add(space, key, std::move(value));
  }
  void Delete(IndexSpace space, std::string_view key) { Add(space, key, std::nullopt); }
  const std::vector<Change>& changes() const { return changes_; }
  std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  void Add(IndexSpace space, std::string_view key, std::optional<std::string> value) {
    std::string full_key(1, static_cast<char>(space));
    full_key += key;
    size_bytes_ += full_key.size() + (value ? value->size() : 0) + 32;  // and what RocksDB adds
    changes_.push_back({std::move(full_key), std::move(value)});
  }

  std::vector<Change> changes_;
  std::uint64_t size_bytes_ = 0;
};

class DiskIndex {
 public:
  virtual ~DiskIndex() = default;
  virtual Status Commit(const IndexBatch& batch) = 0;
  // nullopt is a miss.
  virtual Result<std::optional<std::string>> Get(IndexSpace space, std::string_view key) = 0;
  // In key order, all keys that begin with `prefix`; keys are given without their space.
  virtual Status Scan(
      IndexSpace space, std::string_view prefix,
      const std::function<void(std::string_view key, std::string_view value)>& visit) = 0;
  // On the disk now.
  virtual std::uint64_t HeldBytes() = 0;
  // What it can reach on the disk before the next Commit() if one of `batch_bytes` comes now: log,
  // flush and compaction copies included.
  virtual std::uint64_t BoundBytes(std::uint64_t batch_bytes) = 0;
};

// RocksDB in `folder`, created if absent. Its memory follows `capacity_bytes`, that of the whole
// store.
Result<std::unique_ptr<DiskIndex>> OpenRocksDbIndex(const std::string& folder,
                                                    std::uint64_t capacity_bytes);

}  // namespace kvcommons
