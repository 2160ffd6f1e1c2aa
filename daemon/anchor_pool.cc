#include "daemon/anchor_pool.h"

#include <sodium.h>

#include <algorithm>

#include "base/log.h"
#include "daemon/team_mean.h"
#include "store/byte_codec.h"

namespace kvcommons {
namespace {

constexpr Logger kLog("team");
constexpr std::string_view kNotePrefix = "team-anchor/";
constexpr FrameKind kBaseFrame{"team anchor", 0x4154564B, 1};                  // "KVTA"
constexpr FrameKind kOffsetsFrame{"offsets of a team anchor", 0x4F54564B, 1};  // "KVTO"
constexpr std::uint32_t kMaxTokens = MeanSnapshot::kMaxRows;

std::string NoteOf(const AnchorRows& rows) {
  return std::string(kNotePrefix) + rows.slot.ToHex() + "/" + rows.content.ToHex();
}
std::string NoteOf(const AnchorRows& rows, const ReaderKey& reader) {
  return NoteOf(rows) + "/" + reader.ToHex();
}

void PutKeys(ByteWriter& writer, const std::vector<BlockKey>& keys) {
  writer.Put(static_cast<std::uint32_t>(keys.size()));
  for (const BlockKey& key : keys) writer.Put(key);
}

bool GetKeys(ByteReader& reader, std::vector<BlockKey>* keys) {
  std::uint32_t count = 0;
  if (!reader.Get(&count) || count < 1 || count > kMaxTokens) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!reader.Get(&keys->emplace_back())) return false;
  }
  return true;
}

std::string EncodeBase(const AnchorRows& rows) {
  ByteWriter writer;
  writer.Put(rows.slot);
  writer.Put(rows.content);
  writer.Put(rows.tokens);
  writer.Put(rows.order);
  PutKeys(writer, rows.base);
  return SealFrame(kBaseFrame, writer.Take());
}

Result<AnchorRows> DecodeBase(std::string_view bytes) {
  const auto payload = OpenFrame(kBaseFrame, bytes);
  if (!payload) return Fail(payload.error());
  ByteReader reader(*payload);
  AnchorRows rows;
  if (reader.Get(&rows.slot) && reader.Get(&rows.content) && reader.Get(&rows.tokens) &&
      reader.Get(&rows.order) && GetKeys(reader, &rows.base) && reader.remaining_bytes() == 0 &&
      rows.tokens >= 1 && rows.tokens <= kMaxTokens) {
    return rows;
  }
  return Fail(Corrupted("team anchor: the record is torn or out of its limits"));
}

std::string EncodeOffsets(const AnchorRows& rows, const ReaderKey& reader) {
  ByteWriter writer;
  writer.Put(rows.slot);
  writer.Put(rows.content);
  writer.Put(reader);
  PutKeys(writer, rows.offsets.at(reader));
  return SealFrame(kOffsetsFrame, writer.Take());
}

struct Offsets {
  SlotKey slot;
  ContentKey content;
  ReaderKey reader;
  std::vector<BlockKey> keys;
};

Result<Offsets> DecodeOffsets(std::string_view bytes) {
  const auto payload = OpenFrame(kOffsetsFrame, bytes);
  if (!payload) return Fail(payload.error());
  ByteReader reader(*payload);
  Offsets offsets;
  if (reader.Get(&offsets.slot) && reader.Get(&offsets.content) && reader.Get(&offsets.reader) &&
      GetKeys(reader, &offsets.keys) && reader.remaining_bytes() == 0) {
    return offsets;
  }
  return Fail(Corrupted("offsets of a team anchor: the record is torn or out of its limits"));
}

}  // namespace

void AnchorPool::Load(std::uint64_t limit_bytes) {
  std::map<Key, AnchorRows> found;
  std::vector<std::string> broken;
  for (const Store::Note& note : store_.ListNotes(domain_, kNotePrefix)) {
    // An anchor's own note comes before those of its readers: its name is the beginning of theirs.
    if (auto base = DecodeBase(note.value)) {
      found.emplace(Key(base->slot, base->content), std::move(*base));
      continue;
    }
    auto offsets = DecodeOffsets(note.value);
    const auto anchor = offsets ? found.find({offsets->slot, offsets->content}) : found.end();
    if (anchor != found.end()) {
      anchor->second.offsets[offsets->reader] = std::move(offsets->keys);
    } else {
      kLog.Warning(note.name + " is not read");
      broken.push_back(note.name);
    }
  }
  for (const std::string& name : broken) static_cast<void>(store_.RemoveNote(domain_, name));
  std::vector<AnchorRows> ordered;
  for (auto& [key, rows] : found) ordered.push_back(std::move(rows));
  std::sort(ordered.begin(), ordered.end(),
            [](const AnchorRows& a, const AnchorRows& b) { return a.order < b.order; });
  for (AnchorRows& rows : ordered) {
    const auto is_whole = [this](const std::vector<BlockKey>& keys) {
      return store_.MatchPrefix(domain_, keys) == keys.size();
    };
    const auto bytes_of = [this](const std::vector<BlockKey>& keys) {
      std::uint64_t bytes = 0;
      for (const BlockKey& key : keys) {
        if (const auto pin = store_.Pin(domain_, key); pin && *pin) bytes += (*pin)->bytes().size();
      }
      return bytes;
    };
    bool kept = is_whole(rows.base) && !rows.offsets.empty();
    for (const auto& [reader, keys] : rows.offsets) kept = kept && is_whole(keys);
    std::vector<AnchorPtr> gone;
    if (!kept) {
      gone.push_back(std::make_shared<const AnchorRows>(std::move(rows)));
    } else {
      const std::uint64_t base_bytes = bytes_of(rows.base);
      MutexLock lock(mutex_);
      ledger_.SetLimitBytes(limit_bytes);
      for (const auto& [reader, keys] : rows.offsets) {
        const auto outcome = ledger_.Put({.key = {rows.slot, rows.content},
                                          .tokens = rows.tokens,
                                          .reader = reader,
                                          .base_bytes = base_bytes,
                                          .offset_bytes = bytes_of(keys)});
        kept = kept && outcome;
        if (outcome) Take(outcome->evicted, &gone);
      }
      next_order_ = std::max(next_order_, rows.order + 1);
      const Key key(rows.slot, rows.content);
      auto held = std::make_shared<const AnchorRows>(std::move(rows));
      if (kept) {
        rows_[key] = std::move(held);
      } else {
        ledger_.Remove({key.first, key.second});
        gone.push_back(std::move(held));
      }
      bytes_ = ledger_.bytes();
    }
    for (const AnchorPtr& anchor : gone) Remove(*anchor);
  }
}

void AnchorPool::Take(const std::vector<AnchorKey>& evicted, std::vector<AnchorPtr>* gone) {
  for (const AnchorKey& left : evicted) {
    if (auto node = rows_.extract({left.slot, left.content})) {
      gone->push_back(std::move(node.mapped()));
    }
  }
}

AnchorPool::Found AnchorPool::Find(const SlotKey& slot, std::uint32_t tokens,
                                   const ReaderKey& reader) const {
  MutexLock lock(mutex_);
  Found found;
  const auto* const pool = ledger_.Find(slot);
  if (pool == nullptr) return found;
  found.anchors = pool->size();
  for (const std::size_t i : ledger_.Eligible(slot, tokens, reader)) {
    // The ledger knows of an anchor before its rows are stored.
    const auto rows = rows_.find({slot, (*pool)[i].content});
    if (rows != rows_.end() && rows->second->offsets.contains(reader)) {
      found.rows.push_back(rows->second);
    }
  }
  return found;
}

void AnchorPool::CountUse(const SlotKey& slot, const ContentKey& content) {
  MutexLock lock(mutex_);
  ledger_.CountUse({slot, content});
}

bool AnchorPool::HasNoRoom(const SlotKey& slot, std::uint32_t tokens) {
  MutexLock lock(mutex_);
  const auto found = refused_.find(slot);
  if (found == refused_.end() || tokens < found->second.tokens) return false;
  if (--found->second.calls > 0) return true;
  refused_.erase(found);
  return false;
}

std::vector<AnchorPool::Row> AnchorPool::List() const {
  MutexLock lock(mutex_);
  std::vector<Row> rows;
  for (const auto& [key, anchor] : rows_) {
    const auto* const slot = ledger_.Find(key.first);
    if (slot == nullptr) continue;
    for (const Anchor& known : *slot) {
      if (known.content == key.second) rows.push_back({anchor, known.bytes, known.uses});
    }
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return a.rows->slot == b.rows->slot ? a.rows->order < b.rows->order
                                        : a.rows->slot < b.rows->slot;
  });
  return rows;
}

std::uint64_t AnchorPool::count() const {
  MutexLock lock(mutex_);
  return rows_.size();
}

std::vector<Store::PutItem> AnchorPool::ItemsOf(const AnchorLesson& lesson, const BlockFill& fill,
                                                std::vector<BlockKey>* keys) const {
  const OpenedModel& model = *lesson.model;
  const std::size_t block_tokens = model.profile.block_tokens;
  std::vector<Store::PutItem> items;
  for (std::size_t begin = 0; begin < lesson.tokens.size(); begin += block_tokens) {
    const std::size_t end = std::min(begin + block_tokens, lesson.tokens.size());
    Store::PutItem item;
    BlockRecord& record = item.record;
    record.tokens.assign(lesson.tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                         lesson.tokens.begin() + static_cast<std::ptrdiff_t>(end));
    record.key = FreshTeamKey(model.hasher);
    record.content_key = model.hasher.ContentKeyOf(record.tokens);
    record.fingerprint = model.fingerprint;
    record.domain = domain_;
    record.storage_class = StorageClass::kTeam;
    record.origin = static_cast<Position>(begin);
    record.planes = model.planes;
    record.producer_uid = model.tenant.uid;
    item.fill = [&fill, index = static_cast<std::uint32_t>(items.size()),
                 rows = static_cast<std::uint32_t>(end - begin)](std::byte* destination) {
      fill(index, rows, destination);
    };
    keys->push_back(record.key);
    items.push_back(std::move(item));
  }
  return items;
}

Status AnchorPool::Write(const AnchorRows& rows, const ReaderKey& reader, bool with_base) {
  if (with_base) KVC_RETURN_IF_ERROR(store_.PutNote(domain_, NoteOf(rows), EncodeBase(rows)));
  return store_.PutNote(domain_, NoteOf(rows, reader), EncodeOffsets(rows, reader));
}

void AnchorPool::Remove(const AnchorRows& rows) {
  const auto remove = [this](const std::vector<BlockKey>& keys) {
    for (const BlockKey& key : keys) static_cast<void>(store_.Remove(domain_, key));
  };
  for (const auto& [reader, keys] : rows.offsets) {
    static_cast<void>(store_.RemoveNote(domain_, NoteOf(rows, reader)));
    remove(keys);
  }
  static_cast<void>(store_.RemoveNote(domain_, NoteOf(rows)));
  remove(rows.base);
}

void AnchorPool::Forget(const AnchorRows& rows) {
  {
    MutexLock lock(mutex_);
    const auto found = rows_.find({rows.slot, rows.content});
    if (found == rows_.end() || found->second.get() != &rows) return;
    rows_.erase(found);
    ledger_.Remove({rows.slot, rows.content});
    bytes_ = ledger_.bytes();
  }
  Remove(rows);
}

void AnchorPool::AddKeys(std::set<BlockKey>* keys) const {
  MutexLock lock(mutex_);
  for (const auto& [key, rows] : rows_) {
    keys->insert(rows->base.begin(), rows->base.end());
    for (const auto& [reader, blocks] : rows->offsets) keys->insert(blocks.begin(), blocks.end());
  }
}

Result<bool> AnchorPool::Learn(const AnchorLesson& lesson, std::uint64_t limit_bytes,
                               const Intent& intent) {
  const OpenedModel& model = *lesson.model;
  const Key key(lesson.slot, lesson.content);
  AnchorPtr before;
  std::vector<AnchorPtr> gone;
  {
    MutexLock lock(mutex_);
    ledger_.SetLimitBytes(limit_bytes);
    const auto outcome =
        ledger_.Put({.key = {lesson.slot, lesson.content},
                     .tokens = static_cast<std::uint32_t>(lesson.tokens.size()),
                     .reader = lesson.reader,
                     .base_bytes = model.planes.BlockBytes(lesson.tokens.size()),
                     .offset_bytes = model.planes.BlockBytes(lesson.tokens.size())});
    if (!outcome) {
      if (refused_.size() >= kMaxRefused) refused_.clear();
      refused_[lesson.slot] = {static_cast<std::uint32_t>(lesson.tokens.size()), kRefusedCalls};
      return Fail(outcome.error());
    }
    if (outcome->change == AnchorLedger::Change::kNone) return false;
    Take(outcome->evicted, &gone);
    const auto found = rows_.find(key);
    if (found != rows_.end()) before = found->second;
    bytes_ = ledger_.bytes();
  }
  AnchorRows next;
  if (before != nullptr) {
    next = *before;
  } else {
    next.slot = lesson.slot;
    next.content = lesson.content;
    next.tokens = static_cast<std::uint32_t>(lesson.tokens.size());
  }
  std::vector<Store::PutItem> items = ItemsOf(lesson, lesson.offsets, &next.offsets[lesson.reader]);
  if (before == nullptr) {
    for (Store::PutItem& item : ItemsOf(lesson, lesson.base, &next.base)) {
      items.push_back(std::move(item));
    }
    MutexLock lock(mutex_);
    next.order = next_order_++;
  }
  std::vector<BlockKey> intended;
  for (const Store::PutItem& item : items) intended.push_back(item.record.key);
  for (const AnchorPtr& rows : gone) {
    intended.insert(intended.end(), rows->base.begin(), rows->base.end());
    for (const auto& [reader, keys] : rows->offsets) {
      intended.insert(intended.end(), keys.begin(), keys.end());
    }
  }
  Status status = intent(intended);
  for (const AnchorPtr& rows : gone) Remove(*rows);
  if (status.ok()) {
    const Ack ack = store_.GetStats().has_disk ? Ack::kDurable : Ack::kHeld;
    const auto put = store_.Put(domain_, items, ack);
    status = put ? Write(next, lesson.reader, before == nullptr) : put.error();
  }
  const auto held = std::make_shared<const AnchorRows>(std::move(next));
  {
    MutexLock lock(mutex_);
    if (status.ok()) {
      rows_[key] = held;
    } else {
      // All of it: the ledger has this reader's offsets already.
      ledger_.Remove({lesson.slot, lesson.content});
      rows_.erase(key);
      bytes_ = ledger_.bytes();
    }
  }
  if (!status.ok()) Remove(*held);
  static_cast<void>(intent({}));
  if (!status.ok()) return Fail(status);
  return true;
}

}  // namespace kvcommons
