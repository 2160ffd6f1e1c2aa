// What one reader's slot learned: the running mean of offsets, position by position, and its
// record.
//
// Position t is the mean over the contents that had more than t tokens. The offsets lie in private
// blocks of the store, cut as blocks are, in the local frame; what is here says which. A snapshot
// never changes: a deposit makes the next one, under new keys.
//
// Encoded with magic and format version; decoding refuses what is torn or out of its limits. Thread
// safety: plain data.

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "align/model_profile.h"
#include "base/ids.h"
#include "base/status.h"
#include "kernels/element_type.h"
#include "kernels/plane_layout.h"
#include "store/chain_key.h"

namespace kvcommons {

// Of one team, reader (an agent with one version of its template), slot and kind of content: rows
// of texts and of answers were made differently and have means of their own (specs: KVCOMM §10,
// D11).
using MeanKey = Id128<struct MeanKeyTag>;

// What a mean's contents are. Values are stored.
enum class MeanOf : std::uint8_t {
  kTexts = 0,
  kAnswers = 1,
  kPrompt = 2,  // the template's own text behind the slot
};

struct MeanSnapshot {
  static constexpr std::size_t kMaxRows = 8192;
  static constexpr std::size_t kMaxLearned = 256;
  static constexpr std::size_t kMaxNameBytes = 256;

  MeanKey key;
  Fingerprint fingerprint;
  std::string team, agent, slot;
  MeanOf of = MeanOf::kTexts;
  std::uint32_t deposits = 0;
  std::uint32_t of_corrected = 0;  // of those: the content's own rows inherit a correction's error
  std::uint32_t block_tokens = 0;
  std::uint64_t bytes = 0;            // of the blocks
  std::vector<std::uint32_t> counts;  // contents by position; never more than at the one before
  std::vector<BlockKey> blocks;
  // The newest contents that it is of, newest last: one that comes again teaches nothing.
  std::vector<ContentKey> learned;

  std::uint32_t rows() const { return static_cast<std::uint32_t>(counts.size()); }
  // How many positions from the first on are the mean of `least` contents or more.
  std::uint32_t CoveredRows(std::uint32_t least) const;
  bool HasLearned(const ContentKey& content) const;
};
using MeanPtr = std::shared_ptr<const MeanSnapshot>;

// Offsets are differences of values that nearly cancel: what bf16 leaves of them is nothing. As
// wide as the model's own, so that their blocks have its planes.
constexpr ElementType OffsetTypeOf(ElementType type) {
  return type == ElementType::kFp32 ? ElementType::kFp32 : ElementType::kFp16;
}

// A key that nobody had: a snapshot's blocks are never those of another, whatever was learned.
BlockKey FreshTeamKey(const ChainHasher& hasher);

// Layer 0 is never corrected, so its two planes of a mean's block hold what belongs to the others:
// in element p of a row's, plane p's mean square of offsets (keys' plane) and its TrustInMean()
// (values' plane). False: a row has fewer elements than there are planes, and means are trusted as
// they are.
bool KeepsTrust(const PlaneLayout& planes, ElementType type);

std::string EncodeMean(const MeanSnapshot& mean);
// kCorrupted on anything but what EncodeMean wrote; kUnsupported on another version.
Result<MeanSnapshot> DecodeMean(std::string_view bytes);

}  // namespace kvcommons
