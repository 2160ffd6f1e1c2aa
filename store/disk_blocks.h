// Where every block on disk is, in memory: about 90 bytes a block. Keeps what each extent file
// still holds, so that the file to give up can be chosen.
//
// Thread safety: every method may be called from any thread.

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "store/block_record.h"
#include "store/disk_tier.h"
#include "store/extent_files.h"

namespace kvcommons {

class DiskBlocks {
 public:
  // What the index keeps of a block's place, so that a start need not read its record.
  struct Entry {
    ExtentPlace place;
    DomainId domain;
    StorageClass storage_class = StorageClass::kExact;
  };
  struct FileUse {
    std::uint64_t live_bytes = 0;  // in whole pages
    std::uint64_t end_bytes = 0;   // behind the last block that ever lay there
  };

  bool Insert(const BlockKey& key, const Entry& entry);  // false: present
  void Erase(const BlockKey& key);
  // To another place, no longer touched. REQUIRES: present.
  void Move(const BlockKey& key, const ExtentPlace& place);
  void Touch(const BlockKey& key);

  bool Contains(const BlockKey& key) const;
  std::optional<ExtentPlace> Find(const BlockKey& key) const;
  std::optional<Entry> FindEntry(const BlockKey& key) const;
  std::uint64_t count() const;
  std::vector<DiskTier::Entry> List() const;

  FileUse UseOf(std::uint32_t file) const;
  struct Resident {
    BlockKey key;
    Entry entry;
    bool touched = false;
  };
  // In the order they were written.
  std::vector<Resident> ResidentsOf(std::uint32_t file) const;
  // The file was dropped. REQUIRES: it holds nothing.
  void ForgetFile(std::uint32_t file);

 private:
  struct Block {
    ExtentPlace place;
    std::uint32_t domain : 29 = 0;  // index into domains_
    std::uint32_t storage_class : 2 = 0;
    std::uint32_t touched : 1 = 0;
  };
  static_assert(static_cast<std::uint32_t>(kLastStorageClass) <= 3, "a class has two bits");
  struct File {
    FileUse use;
    std::vector<BlockKey> keys;  // also of blocks that left since
  };

  Entry EntryOf(const Block& block) const REQUIRES(mutex_);
  void Arrive(const BlockKey& key, const ExtentPlace& place) REQUIRES(mutex_);
  void Leave(const ExtentPlace& place) REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::unordered_map<BlockKey, Block> blocks_ GUARDED_BY(mutex_);
  std::map<std::uint32_t, File> files_ GUARDED_BY(mutex_);
  std::vector<DomainId> domains_ GUARDED_BY(mutex_);
  std::unordered_map<DomainId, std::uint32_t> domain_indices_ GUARDED_BY(mutex_);
};

}  // namespace kvcommons
