// What a team's earlier contents taught about its readers, in this process: offsets, kept as a
// running mean for every reader and slot and as anchors, and the rows of a new content that they
// correct.
//
// Nothing here is ever stored as exact or canonical: what comes out belongs to one request (I3).
// Layer 0 is never corrected: there rows depend on their token alone (D5). Where there is too
// little to correct by, rows are turned to their place and said not to be corrected. Anchors are
// bounded in bytes; means are as long as the longest content, one for each reader and slot.
//
// Source: specs: KVCOMM §11. Thread safety: none.

#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "agents/team/team_mode.h"
#include "agents/team/team_template.h"
#include "align/anchors/anchor_ledger.h"
#include "align/anchors/mean_offsets.h"
#include "align/anchors/prompt_template.h"
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
  std::size_t anchors = 0;          // that correct it
  std::optional<ShareReason> gate;  // nothing: it was not asked
  double entropy_bits = 0;
  double gate_ms = 0;
  std::vector<ContentKey> counted;  // anchors whose use counts
};

// Rows at the position that was asked for, in one block.
struct CorrectedRows {
  std::vector<std::byte> block;
  std::uint32_t corrected = 0;  // from the first on; the others are turned only
};

class TeamMemory {
 public:
  explicit TeamMemory(const ModelProfile& profile, TeamMemoryOptions options = {});

  // The text's rows as they were computed with nothing in the slots: one for each slot, of the text
  // behind it. What modes that do not compute the text correct.
  void PutText(const TeamTemplate& shape, std::vector<TeamRows> text);

  SlotState StateOf(const TeamTemplate& shape, std::size_t slot, const TeamContent& content,
                    bool ask_gate) const;
  // The content's rows for a reader who has it there. A content that comes again is corrected by
  // its own anchor alone, but as published by all; others by kMinAnchors or more.
  CorrectedRows SlotRows(const TeamTemplate& shape, std::size_t slot, const TeamContent& content,
                         const SlotPlacement& placed, SlotCorrection correction) const;
  // Likewise the text behind it. REQUIRES: PutText().
  CorrectedRows TextRows(const TeamTemplate& shape, std::size_t slot, const TeamContent& content,
                         const SlotPlacement& placed, SlotCorrection correction) const;

  // What a full prefill gave: rows at their own positions, of the content and of the text behind.
  // The first deposit of a content for a reader is learned from. kInvalidArgument: rows that are no
  // numbers, nothing is learned; kExhausted: the anchor does not fit, the mean has learned all the
  // same.
  Status Deposit(const TeamTemplate& shape, std::size_t slot, const SharedContent& content,
                 const TeamRows& dense, const TeamRows& dense_text);
  // The gate let a content in by these anchors.
  void CountUses(const TeamTemplate& shape, std::size_t slot, const SlotState& state);

  std::uint64_t mean_bytes() const;       // of contents
  std::uint64_t text_mean_bytes() const;  // of the text behind them, which few modes need
  std::uint64_t anchor_bytes() const { return ledger_.bytes(); }

 private:
  struct AnchorRows {
    SharedContent content;
    TeamRows local;  // the content's, at position 0: so that no anchor is turned when it is used
    // By reader: [plane][row][element], local.
    std::map<ReaderKey, std::vector<float>> offsets, text_offsets;
    // What profile R goes by: where the content stood for who deposited last, and where both stood
    // for each reader.
    Position stood_last = 0;
    std::map<ReaderKey, Position> stood, text_stood;
  };
  // What is added to a plane's rows: anchors' offsets, [row][element] each, and their weights.
  struct Weighted {
    std::vector<std::vector<const float*>> offsets;  // [plane][anchor]
    std::vector<float> key_weights, value_weights;   // [anchor][row]
    std::vector<std::vector<float>> row_weights;     // or [plane][row], of one mean
    std::vector<std::vector<float>> plane_weights;   // or [plane][anchor][element]
    std::vector<std::vector<float>> turned;  // what `offsets` point into where they were made here
  };
  using Anchors = std::vector<const AnchorRows*>;

  SlotKey KeyOf(const std::string& slot) const;
  std::size_t row_elements() const { return std::size_t{format_.head_count} * format_.head_dim; }
  // Null: nothing was learned. `of_text`: of the text behind the slot.
  const MeanOffsets* MeanOf(const TeamTemplate& shape, std::size_t slot,
                            bool of_text = false) const;
  // `published`: profile R blends all, also where the content itself is one.
  Anchors AnchorsFor(const TeamTemplate& shape, std::size_t slot, const TeamContent& content,
                     bool published = false) const;
  std::vector<float> Offsets(const TeamRows& dense, const TeamRows& base) const;
  TeamRows RowsAt(const TeamRows& base, Position origin) const;
  CorrectedRows Corrected(const TeamRows& base, Position begin, Position shift,
                          std::uint32_t corrected, const Weighted& weighted) const;
  // Every plane's offsets of these anchors for that reader, `rows` a plane. `published`: as they
  // were measured, turned by the place that they were measured at.
  void PointAt(const Anchors& anchors, const ReaderKey& reader, bool of_text, std::size_t rows,
               bool published, Weighted* weighted) const;
  // `published_at`: profile R compares where the content stands now with where the anchors stood.
  Weighted WeighRows(const TeamContent& content, const TeamTemplate& shape, const Anchors& anchors,
                     std::optional<Position> published_at) const;
  Weighted WeighText(const TeamContent& content, const TeamTemplate& shape, std::size_t slot,
                     const Anchors& anchors, std::optional<Position> published_at) const;
  // The first `rows` of a mean, each as it is or as far as it is trusted.
  Weighted WeighMean(const MeanOffsets& mean, std::uint32_t rows, bool trusted) const;

  const ModelProfile profile_;
  const PlaneLayout planes_;
  const KeyRowFormat format_;
  const TeamMemoryOptions options_;
  AnchorLedger ledger_;
  std::map<std::pair<ReaderKey, std::string>, MeanOffsets> means_, text_means_;
  std::set<std::tuple<ReaderKey, std::string, ContentKey>> learned_;  // by means
  std::map<std::pair<SlotKey, ContentKey>, AnchorRows> anchors_;
  std::map<ReaderKey, std::vector<TeamRows>> text_;
};

}  // namespace kvcommons
