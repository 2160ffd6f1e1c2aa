// Rows of one content, corrected for one reader and turned to where it reads them.
//
// A content's own rows get the mean offset of earlier contents, or those of single ones weighted by
// how near they are. Distances are between keys in the local frame (D3) and offsets are added there
// before the turn (D4), in fp32 with one rounding; layer 0 depends on the token alone and is never
// corrected (D5). Source: specs: KVCOMM §5, §7, §11 (profile C, variant mean).
// Thread safety: making one blocks on the disk; const calls from any thread.

#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "align/anchors/share_gate.h"
#include "daemon/team.h"
#include "kernels/rotate.h"
#include "store/store.h"

namespace kvcommons {

// A content's own rows, pinned, block by block; empty: a block is gone, or there was no room.
struct BaseRows {
  std::vector<PinnedBlock> blocks;
  Position origin = 0;  // that the first row's key is rotated for

  std::uint32_t rows() const;
};

// Rows of anchors, pinned. [anchor][block].
using AnchorPins = std::vector<std::vector<PinnedBlock>>;

// The first blocks of each, as many as `rows` take. kNotFound: one is gone; its anchor is
// forgotten.
Result<AnchorPins> PinAnchors(Store& store, TeamPool& pool, const OpenedModel& model,
                              const std::vector<AnchorPtr>& anchors, std::uint32_t rows,
                              const ReaderKey* reader);  // null: their own rows, not offsets

// Distances of values over all layers, of each anchor to the content: what the gate turns on.
std::vector<double> GateDistances(const OpenedModel& model, const BaseRows& base,
                                  const AnchorPins& anchors);

// [anchor][row] each, from distances of the content's rows to the anchors'.
struct AnchorWeights {
  std::vector<float> keys, values;
};
AnchorWeights WeighAnchors(const OpenedModel& model, const BaseRows& base,
                           const AnchorPins& anchors);

// What corrects one content's rows. Everything that it points to outlives its use.
struct SlotCorrections {
  std::vector<std::vector<const PinnedBlock*>> offsets;  // [block][mean or anchor]; empty: none
  AnchorWeights weights;                                 // empty: of ones, for a mean
  bool trusts = false;  // of a mean: each row as far as its block says (team_mean.h)
};

// Writes block `index` of the content as it stands at `begin`, its first row's place in the prompt.
class SlotWriter {
 public:
  SlotWriter(const OpenedModel& model, const BaseRows& base, const SlotCorrections& corrections,
             Position begin);
  void WriteBlock(std::size_t index, std::byte* to) const;

 private:
  const OpenedModel& model_;
  const BaseRows& base_;
  const SlotCorrections& corrections_;
  const RotationTable move_;   // from where the base was computed
  const RotationTable start_;  // of the local frame
};

}  // namespace kvcommons
