// What a team's earlier contents taught about its readers, in this process: offsets, kept as a
// running mean for every reader and slot and as anchors, and the rows of a new content that they
// correct.
//
// Nothing here is ever stored as exact or canonical: what comes out belongs to one request (I3).
// Layer 0 is never corrected: there rows depend on their token alone (D5).
// Source: specs: KVCOMM §11. Thread safety: none.

#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agents/team/team_mode.h"
#include "agents/team/team_template.h"
#include "align/anchors/anchor_ledger.h"
#include "align/anchors/mean_offsets.h"
#include "align/model_profile.h"

namespace kvcommons {

// Rows as one block in the store's layout, keys rotated for origin, origin + 1, ...
struct TeamRows {
  std::uint32_t rows = 0;
  Position origin = 0;
  std::vector<std::byte> block;
};

struct TeamContent {
  ContentKey key;
  std::vector<TokenId> tokens;
  TeamRows base;
};
using SharedContent = std::shared_ptr<const TeamContent>;

struct TeamMemoryOptions {
  AnchorLedger::Limits anchors;
  ShareGateOptions gate;
  std::uint32_t least_deposits = 2;  // that a row's mean is of, for it to be used
};

// Of one content for one reader.
struct SlotState {
  std::uint32_t mean_rows = 0;      // of the content's, from the first on, that the mean covers
  std::size_t eligible = 0;         // anchors
  std::optional<ShareReason> gate;  // nothing: it was not asked
  double entropy_bits = 0;
  double gate_ms = 0;
};

class TeamMemory {
 public:
  explicit TeamMemory(const ModelProfile& profile, TeamMemoryOptions options = {});

  // The text's rows as they were computed with nothing in the slots: one for each slot, of the text
  // behind it. What mode C corrects.
  void PutText(const TeamTemplate& shape, std::vector<TeamRows> text);

  SlotState StateOf(const TeamTemplate& shape, std::size_t slot, const TeamContent& content,
                    bool ask_gate) const;
  // The content's rows for a reader who has it at `begin`: turned, and corrected as far as there is
  // something to correct by. A block of its tokens at that position.
  std::vector<std::byte> SlotRows(const TeamTemplate& shape, std::size_t slot,
                                  const TeamContent& content, Position begin,
                                  SlotCorrection correction) const;
  // Likewise the text behind it. REQUIRES: PutText().
  std::vector<std::byte> TextRows(const TeamTemplate& shape, std::size_t slot,
                                  const TeamContent& content, Position begin,
                                  SlotCorrection correction) const;

  // What a full prefill gave: `dense` at its own positions, of the content and of the text behind.
  // kExhausted: the anchor does not fit; the mean has learned it all the same.
  Status Deposit(const TeamTemplate& shape, std::size_t slot, const SharedContent& content,
                 const TeamRows& dense, const TeamRows* dense_text);

  std::uint64_t mean_bytes() const;
  std::uint64_t anchor_bytes() const { return ledger_.bytes(); }

 private:
  struct AnchorRows {
    SharedContent content;
    // By reader: [plane][row][element], local.
    std::map<ReaderKey, std::vector<float>> offsets, text_offsets;
  };

  SlotKey KeyOf(const std::string& slot) const;
  const MeanOffsets* MeanOf(const TeamTemplate& shape, std::size_t slot) const;
  // Those eligible for the content and this reader, oldest first.
  std::vector<const AnchorRows*> AnchorsFor(const TeamTemplate& shape, std::size_t slot,
                                            std::uint32_t tokens) const;
  std::vector<float> Offsets(const TeamRows& dense, const TeamRows& base) const;
  // out = turned base + Σ weight · offset, plane by plane.
  struct Weighted {
    std::vector<std::vector<const float*>> offsets;  // [plane][anchor]: [row][element]
    std::vector<float> key_weights, value_weights;   // [anchor][row]
    std::vector<std::vector<float>> plane_weights;   // or [plane][anchor][element]
  };
  std::vector<std::byte> Corrected(const TeamRows& base, Position begin, std::uint32_t corrected,
                                   const Weighted& weighted) const;
  Weighted WeighRows(const TeamContent& content, const TeamTemplate& shape,
                     const std::vector<const AnchorRows*>& anchors) const;
  Weighted WeighText(const TeamContent& content, const TeamTemplate& shape, std::size_t slot,
                     const std::vector<const AnchorRows*>& anchors) const;
  std::vector<std::byte> LocalKeys(const TeamContent& content, std::size_t plane,
                                   std::uint32_t first, std::uint32_t rows) const;

  const ModelProfile profile_;
  const PlaneLayout planes_;
  const KeyRowFormat format_;
  const TeamMemoryOptions options_;
  AnchorLedger ledger_;
  std::map<std::pair<ReaderKey, std::string>, MeanOffsets> means_;
  std::map<std::pair<SlotKey, ContentKey>, AnchorRows> anchors_;
  std::map<ReaderKey, std::vector<TeamRows>> text_;
};

}  // namespace kvcommons
