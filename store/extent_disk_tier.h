// The disk tier on extent files and an index. The parts are given, so that a test can break each.

#pragma once

#include <memory>

#include "store/disk_file.h"
#include "store/disk_index.h"
#include "store/disk_tier.h"
#include "store/store_folder.h"

namespace kvcommons {

struct DiskTierParts {
  std::unique_ptr<StoreFolder> folder;  // may be null: nothing to lock
  std::unique_ptr<DiskFolder> extents;
  std::unique_ptr<DiskIndex> index;
};

// Reads options.capacity_bytes and options.extent_file_bytes.
Result<std::unique_ptr<DiskTier>> OpenExtentDiskTier(const DiskTierOptions& options,
                                                     DiskTierParts parts);

}  // namespace kvcommons
