#include "daemon/team_mean.h"

#include <sodium.h>

#include <algorithm>

#include "store/byte_codec.h"

namespace kvcommons {
namespace {

constexpr FrameKind kFrame{"team mean", 0x4D54564B, 1};  // "KVTM"

template <typename Tag>
void PutIds(ByteWriter& writer, const std::vector<Id128<Tag>>& ids) {
  writer.Put(static_cast<std::uint32_t>(ids.size()));
  for (const auto& id : ids) writer.Put(id);
}

template <typename Tag>
bool GetIds(ByteReader& reader, std::vector<Id128<Tag>>* ids, std::size_t max_count) {
  std::uint32_t count = 0;
  if (!reader.Get(&count) || count > max_count) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!reader.Get(&ids->emplace_back())) return false;
  }
  return true;
}

bool AreSound(const MeanSnapshot& mean) {
  const auto blocks =
      mean.block_tokens == 0 ? 0 : (mean.counts.size() + mean.block_tokens - 1) / mean.block_tokens;
  return mean.of_corrected <= mean.deposits && !mean.counts.empty() &&
         mean.blocks.size() == blocks && mean.deposits > 0 && mean.counts.back() > 0 &&
         mean.counts.front() <= mean.deposits &&
         std::is_sorted(mean.counts.rbegin(), mean.counts.rend());
}

}  // namespace

std::uint32_t MeanSnapshot::CoveredRows(std::uint32_t least) const {
  const auto end = std::partition_point(counts.begin(), counts.end(),
                                        [least](std::uint32_t count) { return count >= least; });
  return static_cast<std::uint32_t>(end - counts.begin());
}

bool MeanSnapshot::HasLearned(const ContentKey& content) const {
  return std::find(learned.begin(), learned.end(), content) != learned.end();
}

bool KeepsTrust(const PlaneLayout& planes, ElementType type) {
  return planes.plane_count() >= 2 &&
         planes.plane_count() * ElementBytes(type) <= planes.row_bytes[0];
}

BlockKey FreshTeamKey(const ChainHasher& hasher) {
  std::string message(16, '\0');
  randombytes_buf(message.data(), message.size());
  return hasher.IdOf<BlockKey>("teamrows", message);
}

std::string EncodeMean(const MeanSnapshot& mean) {
  ByteWriter writer;
  writer.Put(mean.key);
  writer.Put(mean.fingerprint);
  writer.PutText(mean.team);
  writer.PutText(mean.agent);
  writer.PutText(mean.slot);
  writer.Put(static_cast<std::uint8_t>(mean.of));
  writer.Put(mean.deposits);
  writer.Put(mean.of_corrected);
  writer.Put(mean.block_tokens);
  writer.Put(mean.bytes);
  writer.PutArray(mean.counts);
  PutIds(writer, mean.blocks);
  PutIds(writer, mean.learned);
  return SealFrame(kFrame, writer.Take());
}

Result<MeanSnapshot> DecodeMean(std::string_view bytes) {
  const auto payload = OpenFrame(kFrame, bytes);
  if (!payload) return Fail(payload.error());
  ByteReader reader(*payload);
  MeanSnapshot mean;
  std::uint8_t of = 0;
  constexpr std::size_t kName = MeanSnapshot::kMaxNameBytes;
  const bool whole =
      reader.Get(&mean.key) && reader.Get(&mean.fingerprint) && reader.GetText(&mean.team, kName) &&
      reader.GetText(&mean.agent, kName) && reader.GetText(&mean.slot, kName) && reader.Get(&of) &&
      reader.Get(&mean.deposits) && reader.Get(&mean.of_corrected) &&
      reader.Get(&mean.block_tokens) && reader.Get(&mean.bytes) &&
      reader.GetArray(&mean.counts, MeanSnapshot::kMaxRows) &&
      GetIds(reader, &mean.blocks, MeanSnapshot::kMaxRows) &&
      GetIds(reader, &mean.learned, MeanSnapshot::kMaxLearned) && reader.remaining_bytes() == 0;
  mean.of = static_cast<MeanOf>(of);
  if (whole && mean.of <= MeanOf::kPrompt && AreSound(mean)) return mean;
  return Fail(Corrupted("team mean: the record is torn or out of its limits"));
}

}  // namespace kvcommons
