// Blocks of a text that a client hands in through staging, as many at a time as fit: of a library's
// work and of a team's contents, which differ in the capability and in what its commit says
// besides.
//
// Thread safety: belongs to its connection's thread.

#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "align/model_profile.h"
#include "client/connection.h"
#include "client/staging_batch.h"
#include "client/wire.h"
#include "kernels/loadings_layout.h"

namespace kvcommons {

class BlockUpload {
 public:
  using Writer = std::function<Status(Position begin, std::uint32_t count, std::byte* destination)>;

  // `tokens`: of the text. `loadings_rank`: of what lies behind each block's planes; 0: nothing.
  BlockUpload(Connection& connection, const ModelProfile& profile, std::size_t tokens,
              std::uint32_t loadings_rank, UploadAck ack)
      : connection_(connection),
        profile_(profile),
        tokens_(tokens),
        loadings_rank_(loadings_rank),
        ack_(ack) {}

  // How many blocks were stored. `say` adds to every commit's request. All or none is the daemon's.
  template <typename Capability, typename Say>
  Result<std::uint32_t> Commit(Capability& capability, const Writer& write, Say say) {
    const std::size_t block_tokens = profile_.block_tokens;
    const auto count = static_cast<std::uint32_t>((tokens_ + block_tokens - 1) / block_tokens);
    std::uint32_t next = 0, stored = 0;
    while (next < count) {
      const auto batch = Stage(write, next, count);
      if (!batch) return Fail(batch.error());
      next += static_cast<std::uint32_t>(batch->size());
      auto sent = Send(capability, *batch, next == count, say);
      if (!sent) return sent;
      stored += *sent;
    }
    return stored;
  }

 private:
  struct Staged {
    std::uint32_t index;
    std::uint64_t offset;
  };

  // Blocks from `first` on, as many as fit.
  Result<std::vector<Staged>> Stage(const Writer& write, std::uint32_t first, std::uint32_t count) {
    auto places = StagingBatch::Begin(connection_);
    if (!places) return Fail(places.error());
    const PlaneLayout planes = profile_.planes();
    std::vector<Staged> batch;
    for (std::uint32_t i = first; i < count; ++i) {
      const std::size_t begin = std::size_t{i} * profile_.block_tokens;
      const std::size_t rows = std::min<std::size_t>(profile_.block_tokens, tokens_ - begin);
      const LoadingsLayout loadings{planes.plane_count(), rows, loadings_rank_};
      const std::size_t bytes =
          LoadingsLayout::BlockBytes(planes.BlockBytes(rows), loadings.Bytes());
      auto place = places->Take("a block of " + std::to_string(rows) + " tokens", bytes);
      if (!place) return Fail(place.error());
      if (!*place) break;
      KVC_FAIL_IF_ERROR(
          write(static_cast<Position>(begin), static_cast<std::uint32_t>(rows), (*place)->data));
      batch.push_back({i, (*place)->offset_bytes});
    }
    return batch;
  }

  template <typename Capability, typename Say>
  Result<std::uint32_t> Send(Capability& capability, const std::vector<Staged>& batch, bool finish,
                             Say& say) {
    bool answered = false;
    const auto stored = connection_.Guarded("commit", [&]() -> Result<std::uint32_t> {
      auto request = capability.commitRequest();
      auto blocks = request.initBlocks(static_cast<unsigned>(batch.size()));
      for (unsigned i = 0; i < blocks.size(); ++i) {
        blocks[i].setIndex(batch[i].index);
        blocks[i].setOffset(batch[i].offset);
      }
      request.setAck(static_cast<std::uint8_t>(ack_));
      request.setFinish(finish);
      say(request);
      auto response = connection_.Await(request.send());
      answered = true;
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return response.getStored();
    });
    if (!answered) connection_.AbandonStaging();
    return stored;
  }

  Connection& connection_;
  const ModelProfile& profile_;
  const std::size_t tokens_;
  const std::uint32_t loadings_rank_;
  const UploadAck ack_;
};

}  // namespace kvcommons
