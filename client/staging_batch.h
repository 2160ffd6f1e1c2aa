// Places in the session's staging memory for what one commit hands over.
//
// Thread safety: belongs to its connection's thread.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "client/connection.h"

namespace kvcommons {

class StagingBatch {
 public:
  struct Place {
    std::uint64_t offset_bytes;
    std::byte* data;
  };

  static Result<StagingBatch> Begin(Connection& connection) {
    const auto staging = connection.Guarded("staging", [&]() { return connection.Staging(); });
    if (!staging) return Fail(staging.error());
    return StagingBatch(*staging);
  }

  // Where the next `bytes` go; nullopt: into the next batch. kExhausted: into none. `what` names
  // them.
  Result<std::optional<Place>> Take(const std::string& what, std::uint64_t bytes) {
    const std::uint64_t offset = (used_bytes_ + kAlignment - 1) / kAlignment * kAlignment;
    if (offset <= staging_->bytes() && bytes <= staging_->bytes() - offset) {
      used_bytes_ = offset + bytes;
      return Place{offset, staging_->data() + offset};
    }
    if (used_bytes_ > 0) return std::nullopt;
    return Fail(Exhausted(
        what + " takes " + std::to_string(bytes) + " bytes; the daemon granted staging of " +
        std::to_string(staging_->bytes()) + " (ClientOptions::staging_bytes asks for more)"));
  }

 private:
  // The daemon copies whole pages.
  static constexpr std::uint64_t kAlignment = 4096;

  explicit StagingBatch(std::shared_ptr<Mapping> staging) : staging_(std::move(staging)) {}

  std::shared_ptr<Mapping> staging_;
  std::uint64_t used_bytes_ = 0;
};

}  // namespace kvcommons
