#include "store/disk_tier.h"

namespace kvcommons {

Status DiskTier::CheckMeta(std::string_view name, std::string_view value) {
  if (name.empty() || name.size() > kMaxMetaNameBytes) {
    return InvalidArgument("metadata name is " + std::to_string(name.size()) +
                           " bytes; the limit is 1 to " + std::to_string(kMaxMetaNameBytes));
  }
  if (value.size() > kMaxMetaValueBytes) {
    return InvalidArgument("metadata '" + std::string(name) + "' is " +
                           std::to_string(value.size()) + " bytes; the limit is " +
                           std::to_string(kMaxMetaValueBytes));
  }
  return Status();
}

}  // namespace kvcommons
