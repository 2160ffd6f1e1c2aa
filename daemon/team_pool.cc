#include "daemon/team_pool.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <utility>

#include "align/anchors/mean_offsets.h"
#include "base/log.h"
#include "kernels/anchor_rows.h"

namespace kvcommons {
namespace {

constexpr Logger kLog("team");
constexpr std::string_view kNotePrefix = "team-mean/";
constexpr std::string_view kIntentNote = "team-intent";
constexpr float kLargestFp16 = 65504;

std::string NoteOf(const MeanKey& key) { return std::string(kNotePrefix) + key.ToHex(); }

// A block of a mean, and what is learned.
struct BlockMix {
  const PlaneLayout& planes;
  ElementType type;
  const PinnedBlock* old;                 // null: none
  std::span<const std::uint32_t> counts;  // of the rows, the new content's counted
  const std::vector<float>& values;       // [plane][taught row][element]
  std::size_t taught, rows;
};

void MixBlock(const BlockMix& mix, std::byte* to) {
  const PlaneLayout& planes = mix.planes;
  const PinnedBlock* const old = mix.old;
  const ElementType type = mix.type;
  const std::size_t taught = mix.taught, rows = mix.rows;
  const std::size_t old_rows = old == nullptr ? 0 : old->record().tokens.size();
  const bool keeps_trust = KeepsTrust(planes, type);
  const std::size_t element_bytes = ElementBytes(type);
  const auto row_of = [&](std::size_t plane, std::size_t row) {
    return to + planes.PlaneOffset(plane, rows) + row * planes.row_bytes[plane];
  };
  const auto old_row_of = [&](std::size_t plane, std::size_t row) -> const std::byte* {
    if (row >= old_rows) return nullptr;
    return old->bytes().data() + planes.PlaneOffset(plane, old_rows) +
           row * planes.row_bytes[plane];
  };
  const auto square = [](const float* from, std::size_t count) {
    float sum = 0;
    for (std::size_t e = 0; e < count; ++e) sum += from[e] * from[e];
    return sum / static_cast<float>(count);
  };
  std::vector<float> mixed;
  for (std::size_t row = 0; row < rows; ++row) {
    for (const std::size_t plane : {std::size_t{0}, std::size_t{1}}) {
      const std::byte* const was = old_row_of(plane, row);
      if (was == nullptr) {
        std::memset(row_of(plane, row), 0, planes.row_bytes[plane]);
      } else {
        CopyBytes(was, row_of(plane, row), planes.row_bytes[plane]);
      }
    }
    for (std::size_t plane = 2; plane < planes.plane_count(); ++plane) {
      std::byte* const out = row_of(plane, row);
      const std::byte* const was = old_row_of(plane, row);
      if (row >= taught) {
        CopyBytes(was, out, planes.row_bytes[plane]);
        continue;
      }
      const std::size_t elements = planes.row_bytes[plane] / element_bytes;
      const float* const from = &mix.values[(plane * taught + row) * elements];
      const float share = 1.0F / static_cast<float>(mix.counts[row]);
      MixIntoMean(type, was, from, elements, share, out);
      if (!keeps_trust) continue;
      const float own = square(from, elements);
      std::byte* const squares = row_of(0, row) + plane * element_bytes;
      MixIntoMean(type, squares, &own, 1, share, squares);
      mixed.resize(elements);
      OffsetsToFloats(type, out, elements, mixed.data());
      float mean_square = 0;
      OffsetsToFloats(type, squares, 1, &mean_square);
      const float trust = TrustInMean(square(mixed.data(), elements), mean_square, mix.counts[row]);
      MixIntoMean(type, nullptr, &trust, 1, 1.0F, row_of(1, row) + plane * element_bytes);
    }
  }
}

}  // namespace

std::shared_ptr<TeamPool> TeamPool::Open(Store& store, const DomainId& domain,
                                         std::uint64_t limit_bytes) {
  std::shared_ptr<TeamPool> pool(new TeamPool(store, domain, limit_bytes));
  pool->Load();
  return pool;
}

void TeamPool::Load() {
  MutexLock learn(learn_mutex_);
  for (const Store::Note& note : store_.ListNotes(domain_, kNotePrefix)) {
    auto mean = DecodeMean(note.value);
    const bool is_whole = mean && store_.MatchPrefix(domain_, mean->blocks) == mean->blocks.size();
    if (!mean) kLog.Warning(note.name + " is not read: " + mean.error().message());
    MutexLock lock(mutex_);
    if (is_whole && bytes_ + mean->bytes <= limit_bytes_) {
      bytes_ += mean->bytes;
      const MeanKey key = mean->key;
      means_[key] = {std::make_shared<const MeanSnapshot>(std::move(*mean)), 0, next_order_++};
      continue;
    }
    if (mean) RemoveBlocks(mean->blocks);
    static_cast<void>(store_.RemoveNote(domain_, note.name));
  }
  std::uint64_t mean_bytes = 0;
  {
    MutexLock lock(mutex_);
    mean_bytes = bytes_;
  }
  anchors_.Load(limit_bytes_ - mean_bytes);
  CarryOutIntent();
}

MeanPtr TeamPool::Find(const MeanKey& key) const {
  MutexLock lock(mutex_);
  const auto found = means_.find(key);
  return found == means_.end() ? nullptr : found->second.mean;
}

void TeamPool::CountUse(const MeanKey& key) {
  MutexLock lock(mutex_);
  const auto found = means_.find(key);
  if (found == means_.end()) return;
  ++found->second.uses;
  found->second.was_used = true;
}

void TeamPool::RemoveBlocks(const std::vector<BlockKey>& keys) {
  for (const BlockKey& key : keys) static_cast<void>(store_.Remove(domain_, key));
}

void TeamPool::Drop(const MeanSnapshot& mean) {
  static_cast<void>(store_.RemoveNote(domain_, NoteOf(mean.key)));
  RemoveBlocks(mean.blocks);
}

void TeamPool::Forget(const MeanSnapshot& mean) {
  MutexLock learn(learn_mutex_);
  Erase(mean);
}

void TeamPool::Erase(const MeanSnapshot& mean) {
  {
    MutexLock lock(mutex_);
    const auto found = means_.find(mean.key);
    if (found == means_.end() || found->second.mean.get() != &mean) return;
    bytes_ -= mean.bytes;
    means_.erase(found);
  }
  Drop(mean);
}

bool TeamPool::HasNoRoom(const MeanKey& key, std::uint32_t rows, std::uint64_t bytes) {
  MutexLock lock(mutex_);
  const auto too_long = too_long_.find(key);
  if (too_long != too_long_.end() && rows >= too_long->second) return true;
  const auto crowded = crowded_.find(key);
  if (crowded == crowded_.end()) return false;
  const bool fits_now = bytes_ + anchors_.bytes() + bytes <= limit_bytes_;
  if (!fits_now && --crowded->second > 0) return true;
  crowded_.erase(crowded);
  return false;
}

Status TeamPool::CheckBytes(const MeanSnapshot& next) {
  const std::uint64_t limit_bytes = limit_bytes_ - std::min(limit_bytes_, anchors_.bytes());
  MutexLock lock(mutex_);
  if (next.bytes <= limit_bytes) {
    if (next.of != MeanOf::kPrompt) return Status();
    const auto own = means_.find(next.key);
    const std::uint64_t replaced = own == means_.end() ? 0 : own->second.mean->bytes;
    if (bytes_ - replaced + next.bytes <= limit_bytes) return Status();
    return Exhausted("the text's mean takes " + std::to_string(next.bytes) +
                     " bytes, which are not left of " + std::to_string(limit_bytes) +
                     " (team_memory, less anchors); contents' means do not leave for it");
  }
  if (too_long_.size() >= kMaxTooLong) too_long_.clear();
  const auto [at, is_new] = too_long_.try_emplace(next.key, next.rows());
  at->second = std::min(at->second, next.rows());
  return Exhausted("the mean takes " + std::to_string(next.bytes) +
                   " bytes; the limit of all of a tenant's means is " +
                   std::to_string(limit_bytes) + " (team_memory, less its anchors)");
}

std::vector<MeanPtr> TeamPool::MakeRoom(const MeanSnapshot& next) {
  const std::uint64_t limit_bytes = limit_bytes_ - std::min(limit_bytes_, anchors_.bytes());
  std::vector<MeanPtr> gone;
  MutexLock lock(mutex_);
  const auto own = means_.find(next.key);
  const std::uint64_t replaced = own == means_.end() ? 0 : own->second.mean->bytes;
  while (bytes_ - replaced + next.bytes > limit_bytes) {
    // Fewest uses for its bytes, a deposit counting as one; the oldest of equals.
    // Text first: without it there is less reuse, without contents none.
    const auto value = [](const Entry& entry) {
      return std::pair(entry.mean->of != MeanOf::kPrompt,
                       static_cast<double>(entry.uses + entry.mean->deposits) /
                           static_cast<double>(entry.mean->bytes));
    };
    auto least = means_.end();
    for (auto at = means_.begin(); at != means_.end(); ++at) {
      if (at == own) continue;
      if (least == means_.end() || value(at->second) < value(least->second) ||
          (value(at->second) == value(least->second) && at->second.order < least->second.order)) {
        least = at;
      }
    }
    bytes_ -= least->second.mean->bytes;
    if (crowded_.size() >= kMaxCrowded) crowded_.clear();
    if (!least->second.was_used && least->second.mean->of != MeanOf::kPrompt) {
      crowded_[least->first] = kCrowdedCalls;
    }
    gone.push_back(least->second.mean);
    means_.erase(least);
    ++evicted_;
    // What was used long ago does not stay for ever.
    for (auto& [key, entry] : means_) entry.uses /= 2;
  }
  return gone;
}

Status TeamPool::NoteIntent(const std::vector<BlockKey>& keys) {
  std::string value;
  // A note has room for a few thousand; the rest would be left to the disk's own eviction.
  const std::size_t count = std::min(keys.size(), Store::kMaxNoteBytes / sizeof(BlockKey));
  for (std::size_t i = 0; i < count; ++i) value += keys[i].view();
  return store_.PutNote(domain_, kIntentNote, value);
}

void TeamPool::ClearIntent() { static_cast<void>(store_.RemoveNote(domain_, kIntentNote)); }

void TeamPool::CarryOutIntent() {
  const auto note = store_.GetNote(domain_, kIntentNote);
  if (!note) return;
  std::set<BlockKey> named;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, entry] : means_) {
      named.insert(entry.mean->blocks.begin(), entry.mean->blocks.end());
    }
  }
  anchors_.AddKeys(&named);
  for (std::size_t at = 0; at + sizeof(BlockKey) <= note->size(); at += sizeof(BlockKey)) {
    BlockKey key;
    std::memcpy(key.bytes.data(), note->data() + at, sizeof key.bytes);
    if (!named.contains(key)) static_cast<void>(store_.Remove(domain_, key));
  }
  ClearIntent();
}

Result<std::vector<Store::PutItem>> TeamPool::Mix(const TeamLesson& lesson, const MeanPtr& before,
                                                  MeanSnapshot& next) {
  const PlaneLayout& planes = lesson.model->planes;
  const OpenedModel& model = *lesson.model;
  const ElementType type = OffsetTypeOf(model.profile.element_type);
  const std::uint32_t block_tokens = model.profile.block_tokens;
  std::vector<Store::PutItem> items;
  for (std::uint32_t begin = 0, j = 0; begin < lesson.rows; begin += block_tokens, ++j) {
    const std::uint32_t taught = std::min(block_tokens, lesson.rows - begin);
    const std::uint32_t rows = std::min(block_tokens, next.rows() - begin);
    std::shared_ptr<PinnedBlock> old;
    if (before != nullptr && j < before->blocks.size()) {
      auto pin = store_.Pin(domain_, before->blocks[j]);
      if (!pin) return Fail(pin.error());
      if (!*pin) return Fail(NotFound("block " + std::to_string(j) + " of the mean is gone"));
      old = std::make_shared<PinnedBlock>(std::move(**pin));
    }
    auto offsets = lesson.offsets(j, taught);
    if (!offsets) return Fail(offsets.error());
    const float largest =
        type == ElementType::kFp16 ? kLargestFp16 : std::numeric_limits<float>::max();
    if (!std::all_of(offsets->begin(), offsets->end(),
                     [largest](float v) { return std::abs(v) <= largest; })) {
      return Fail(InvalidArgument("rows of slot '" + lesson.slot + "' of agent '" + lesson.agent +
                                  "' are no numbers; nothing is learned from them"));
    }
    Store::PutItem item;
    BlockRecord& record = item.record;
    record.key = FreshTeamKey(model.hasher);
    record.tokens.assign(rows, 0);
    record.content_key = model.hasher.ContentKeyOf(record.tokens);
    record.fingerprint = model.fingerprint;
    record.domain = domain_;
    record.storage_class = StorageClass::kTeam;
    record.planes = planes;
    record.producer_uid = model.tenant.uid;
    const std::span<const std::uint32_t> counts =
        std::span(next.counts).subspan(begin, rows);  // lives as long as the items
    item.fill = [old, taught, rows, &planes, type, counts,
                 values = std::move(*offsets)](std::byte* to) {
      MixBlock({planes, type, old.get(), counts, values, taught, rows}, to);
    };
    next.blocks[j] = record.key;
    items.push_back(std::move(item));
  }
  return items;
}

Result<TeamPool::Learned> TeamPool::Learn(const TeamLesson& lesson) {
  if (lesson.rows < 1 || lesson.rows > MeanSnapshot::kMaxRows) {
    return Fail(Unsupported("the content has " + std::to_string(lesson.rows) +
                            " tokens; a mean has 1 to " + std::to_string(MeanSnapshot::kMaxRows)));
  }
  MutexLock learn(learn_mutex_);
  MeanPtr before = Find(lesson.key);
  if (before != nullptr && before->HasLearned(lesson.content)) return Learned::kKnown;
  if (before != nullptr && store_.MatchPrefix(domain_, before->blocks) != before->blocks.size()) {
    Erase(*before);
    before = nullptr;
  }
  const OpenedModel& model = *lesson.model;
  MeanSnapshot next;
  if (before != nullptr) {
    next = *before;
  } else {
    next.key = lesson.key;
    next.fingerprint = model.fingerprint;
    next.team = lesson.team;
    next.agent = lesson.agent;
    next.slot = lesson.slot;
    next.of = lesson.of;
    next.block_tokens = model.profile.block_tokens;
  }
  ++next.deposits;
  next.of_corrected += lesson.of_corrected ? 1 : 0;
  next.counts.resize(std::max(next.rows(), lesson.rows));
  for (std::uint32_t row = 0; row < lesson.rows; ++row) ++next.counts[row];
  next.learned.push_back(lesson.content);
  if (next.learned.size() > MeanSnapshot::kMaxLearned) next.learned.erase(next.learned.begin());
  next.blocks.resize((next.rows() + next.block_tokens - 1) / next.block_tokens);
  next.bytes = model.planes.BlockBytes(next.rows());

  KVC_FAIL_IF_ERROR(CheckBytes(next));
  const auto items = Mix(lesson, before, next);
  if (!items) return Fail(items.error());
  // Only what is sure to be learned makes others leave.
  const std::vector<MeanPtr> gone = MakeRoom(next);
  std::vector<BlockKey> intent;
  for (const Store::PutItem& item : *items) intent.push_back(item.record.key);
  for (const MeanPtr& mean : gone) {
    intent.insert(intent.end(), mean->blocks.begin(), mean->blocks.end());
  }
  if (before != nullptr) intent.insert(intent.end(), before->blocks.begin(), before->blocks.end());
  KVC_FAIL_IF_ERROR(NoteIntent(intent));
  for (const MeanPtr& mean : gone) Drop(*mean);
  const Ack ack = store_.GetStats().has_disk ? Ack::kDurable : Ack::kHeld;
  const auto put = store_.Put(domain_, *items, ack);
  const Status status =
      put ? store_.PutNote(domain_, NoteOf(next.key), EncodeMean(next)) : put.error();
  if (!status.ok()) {
    for (const Store::PutItem& item : *items) {
      static_cast<void>(store_.Remove(domain_, item.record.key));
    }
    ClearIntent();
    return Fail(status);
  }
  std::vector<BlockKey> replaced;
  for (std::size_t j = 0; before != nullptr && j < items->size() && j < before->blocks.size();
       ++j) {
    replaced.push_back(before->blocks[j]);
  }
  {
    MutexLock lock(mutex_);
    bytes_ += next.bytes - (before == nullptr ? 0 : before->bytes);
    const MeanKey key = next.key;
    crowded_.erase(key);
    const auto refused = too_long_.find(key);
    if (refused != too_long_.end() && next.rows() >= refused->second) too_long_.erase(refused);
    Entry& entry = means_[key];
    if (before == nullptr) entry.order = next_order_++;
    entry.mean = std::make_shared<const MeanSnapshot>(std::move(next));
  }
  RemoveBlocks(replaced);
  ClearIntent();
  return Learned::kLearned;
}

Result<bool> TeamPool::LearnAnchor(const AnchorLesson& lesson) {
  MutexLock learn(learn_mutex_);
  std::uint64_t mean_bytes = 0;
  {
    MutexLock lock(mutex_);
    mean_bytes = bytes_;
  }
  return anchors_.Learn(lesson, limit_bytes_ - std::min(limit_bytes_, mean_bytes),
                        [this](const std::vector<BlockKey>& keys) REQUIRES(learn_mutex_) {
                          if (!keys.empty()) return NoteIntent(keys);
                          ClearIntent();
                          return Status();
                        });
}

std::vector<TeamPool::Row> TeamPool::List() const {
  std::vector<Row> rows;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, entry] : means_) rows.push_back({entry.mean, entry.uses});
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.mean->team, a.mean->agent, a.mean->slot, a.mean->key) <
           std::tie(b.mean->team, b.mean->agent, b.mean->slot, b.mean->key);
  });
  return rows;
}

std::vector<TeamPool::Row> TeamPool::List(const Fingerprint& fingerprint,
                                          const std::string& team) const {
  std::vector<Row> rows = List();
  std::erase_if(rows, [&](const Row& row) {
    return row.mean->fingerprint != fingerprint || row.mean->team != team;
  });
  return rows;
}

TeamPool::Totals TeamPool::GetTotals() const {
  MutexLock lock(mutex_);
  return {means_.size(),    anchors_.count(), bytes_ + anchors_.bytes(),
          anchors_.bytes(), limit_bytes_,     evicted_};
}

std::shared_ptr<TeamPool> TeamPools::Open(const DomainId& domain) {
  std::shared_ptr<Slot> slot;
  {
    MutexLock lock(mutex_);
    auto& held = pools_[domain];
    if (held == nullptr) held = std::make_shared<Slot>();
    slot = held;
  }
  MutexLock lock(slot->mutex);
  if (slot->pool == nullptr) slot->pool = TeamPool::Open(store_, domain, limit_bytes_);
  return slot->pool;
}

}  // namespace kvcommons
