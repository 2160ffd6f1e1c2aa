#include "store/store.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/assert.h"
#include "store/store_impl.h"

namespace kvcommons {
namespace {

constexpr std::uint64_t kMinSlabBytes = 64ull << 10;
constexpr std::uint64_t kMaxSlabBytes = 1ull << 30;
constexpr std::size_t kMaxBatchBlocks = 65536;
constexpr std::uint64_t kPinsPerCheck = 1024;
constexpr std::size_t kPrefetchAhead = 8;

Status CheckItems(const DomainId& domain, std::span<const Store::PutItem> items,
                  std::uint64_t slab_bytes) {
  if (items.size() > kMaxBatchBlocks) {
    return InvalidArgument("items is " + std::to_string(items.size()) + " long; the limit is " +
                           std::to_string(kMaxBatchBlocks));
  }
  for (const Store::PutItem& item : items) {
    KVC_RETURN_IF_ERROR(CheckBlockRecord(item.record));
    if (item.record.domain != domain) {
      return InvalidArgument("domain of block " + item.record.key.ToHex() +
                             " is another than the batch's");
    }
    if ((item.planes == nullptr) == (item.fill == nullptr)) {
      return InvalidArgument(std::string("planes and fill of block ") + item.record.key.ToHex() +
                             (item.fill == nullptr ? " are both null" : " are both set") +
                             "; exactly one must be set");
    }
    if (item.record.block_bytes() > slab_bytes) {
      return InvalidArgument("block_bytes is " + std::to_string(item.record.block_bytes()) +
                             "; the limit is a slab, " + std::to_string(slab_bytes));
    }
  }
  return {};
}

// Writes the item's bytes into `extent`, which nobody else sees yet.
std::unique_ptr<MemoryBlock> MakeBlock(DomainSlot slot, const Store::PutItem& item,
                                       const Extent& extent) {
  auto block = std::make_unique<MemoryBlock>();
  block->record = item.record;
  block->extent = extent;
  block->domain = slot;
  const std::size_t bytes = item.record.block_bytes();
  if (item.fill != nullptr) {
    item.fill(extent.data);
    block->record.checksum = ChecksumOf(extent.data, bytes);
  } else {
    block->record.checksum = CopyWithChecksum(item.planes, extent.data, bytes);
  }
  return block;
}

}  // namespace

// --- PinnedBlock

PinnedBlock::PinnedBlock(PinnedBlock&& other) noexcept
    : store_(other.store_), block_(std::exchange(other.block_, nullptr)) {}

PinnedBlock& PinnedBlock::operator=(PinnedBlock&& other) noexcept {
  if (this != &other) {
    if (block_ != nullptr) store_->Unpin(block_);
    store_ = other.store_;
    block_ = std::exchange(other.block_, nullptr);
  }
  return *this;
}

PinnedBlock::~PinnedBlock() {
  if (block_ != nullptr) store_->Unpin(block_);
}

const BlockRecord& PinnedBlock::record() const { return block_->record; }
std::span<const std::byte> PinnedBlock::bytes() const {
  return {block_->extent.data, block_->record.block_bytes()};
}
std::uint32_t PinnedBlock::slab_id() const { return block_->extent.slab_id; }
std::uint64_t PinnedBlock::slab_offset_bytes() const { return block_->extent.offset_bytes; }

// --- Life

Result<std::unique_ptr<Store>> Store::Open(Options options) {
  const auto refuse = [](const std::string& field, std::uint64_t value, const std::string& limit) {
    return Fail(
        InvalidArgument(field + " is " + std::to_string(value) + "; the limit is " + limit));
  };
  if (options.clock == nullptr) return Fail(InvalidArgument("clock is null; a store needs one"));
  if (options.slab_bytes < kMinSlabBytes || options.slab_bytes > kMaxSlabBytes ||
      options.slab_bytes % Arena::kExtentAlignment != 0) {
    return refuse("slab_bytes", options.slab_bytes, "65536 to 1073741824, a multiple of 4096");
  }
  if (options.arena_bytes < options.slab_bytes) {
    return refuse("arena_bytes", options.arena_bytes,
                  "at least one slab of " + std::to_string(options.slab_bytes));
  }
  return std::make_unique<StoreImpl>(std::move(options));
}

StoreImpl::StoreImpl(Options options)
    : options_{.arena_bytes = options.arena_bytes,
               .slab_bytes = options.slab_bytes,
               .disk = nullptr,
               .default_quota_bytes = options.default_quota_bytes,
               .clock = options.clock,
               .spare_slabs = options.spare_slabs,
               .write_queue_bytes = options.write_queue_bytes,
               .library_memory_bytes = options.library_memory_bytes},
      disk_(std::move(options.disk)),
      queue_capacity_bytes_(disk_ == nullptr                 ? 0
                            : options.write_queue_bytes != 0 ? options.write_queue_bytes
                                                             : options.arena_bytes / 4),
      memory_(options.arena_bytes, options.slab_bytes) {
  if (disk_ != nullptr) {
    LoadIndex();
    disk_->SetGoneListener([this](std::span<const BlockKey> keys) { OnGone(keys); });
    writer_ = std::thread([this] { RunWriter(); });
  }
  keeper_ = std::thread([this] { KeepSpareSlabs(); });
}

StoreImpl::~StoreImpl() {
  // What is held becomes durable where the disk lets it; a failure is counted there.
  if (disk_ != nullptr) static_cast<void>(Flush());
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    writer_work_.NotifyAll();
    keeper_work_.NotifyAll();
  }
  keeper_.join();
  if (writer_.joinable()) writer_.join();
  MutexLock lock(mutex_);
  KVC_ASSERT(memory_.pinned_bytes() == 0);
}

// --- Domains and index entries

DomainSlot StoreImpl::FindSlot(const DomainId& domain) const {
  const auto found = slots_.find(domain);
  return found == slots_.end() ? 0 : found->second;
}

Result<DomainSlot> StoreImpl::MakeSlot(const DomainId& domain) {
  if (const DomainSlot slot = FindSlot(domain); slot != 0) return slot;
  if (domains_.size() >= Index::kMaxDomainSlot) {
    return Fail(Exhausted("domains: " + std::to_string(domains_.size()) + " is the limit"));
  }
  Domain added;
  added.id = domain;
  added.quota_bytes = options_.default_quota_bytes;
  domains_.push_back(added);
  const DomainSlot slot = static_cast<DomainSlot>(domains_.size());
  slots_.emplace(domain, slot);
  memory_.UseOf(slot);
  return slot;
}

std::uint64_t StoreImpl::QuotaOf(DomainSlot slot) const {
  const std::uint64_t quota_bytes = domains_[slot - 1].quota_bytes;
  return quota_bytes == 0 ? std::numeric_limits<std::uint64_t>::max() / 2 : quota_bytes;
}

void StoreImpl::SetQuota(const DomainId& domain, std::uint64_t bytes) {
  MemoryTier::Reservation reservation;  // Destroyed without the lock.
  MutexLock lock(mutex_);
  const Result<DomainSlot> slot = MakeSlot(domain);
  if (!slot.has_value()) return;  // Its puts are refused for the same reason.
  domains_[*slot - 1].quota_bytes = bytes;
  memory_.Shrink(*slot, QuotaOf(*slot), reservation);
  Settle(reservation);
}

Index::Entry& StoreImpl::AddEntry(DomainSlot slot, const BlockKey& key) {
  ++domains_[slot - 1].block_count;
  return index_.Insert(slot, key);
}

void StoreImpl::EraseEntry(Index::Entry* entry) {
  --domains_[entry->domain - 1].block_count;
  index_.Erase(entry);
}

// --- Room

Result<std::unique_ptr<SlabMemory>> StoreImpl::MakeSlab() {
  const std::int64_t begin_ns = options_.clock->NowNs();
  auto memory = SlabMemory::Create(options_.slab_bytes);
  const std::int64_t took_us = (options_.clock->NowNs() - begin_ns) / 1000;
  MutexLock lock(mutex_);
  if (memory.has_value()) {
    ++slab_made_count_;
    slab_made_us_ += static_cast<std::uint64_t>(took_us);
  }
  return memory;
}

void StoreImpl::KeepSpareSlabs() {
  for (;;) {
    {
      MutexLock lock(mutex_);
      while (!stopping_ && (memory_.arena().spare_count() >= options_.spare_slabs ||
                            !memory_.arena().ReserveSlab())) {
        keeper_work_.Wait(mutex_);
      }
      if (stopping_) return;  // A place that was just reserved dies with the arena.
      ++memory_.spares_in_making;
    }
    auto memory = MakeSlab();
    MutexLock lock(mutex_);
    --memory_.spares_in_making;
    if (memory.has_value()) {
      memory_.arena().AddSpare(std::move(*memory));
    } else {
      memory_.arena().UnreserveSlab();
    }
    slab_made_.NotifyAll();
    // Out of memory: no new try until somebody asked for a slab, and was told why there is none.
    if (!memory.has_value() && !stopping_) keeper_work_.Wait(mutex_);
  }
}

Result<std::vector<Extent>> StoreImpl::ReserveRoom(DomainSlot slot,
                                                   const std::vector<std::uint64_t>& sizes) {
  MemoryTier::Reservation reservation;  // Blocks that leave are destroyed without the lock.
  const auto give_back = [&]() REQUIRES(mutex_) {
    for (const Extent& extent : reservation.extents) memory_.Unreserve(slot, extent);
    ++refused_count_;
  };
  // Every round takes one more slab, so more rounds than slabs mean that others took them.
  const std::uint64_t max_rounds = 2 * (options_.arena_bytes / options_.slab_bytes) + sizes.size();
  for (std::uint64_t round = 0;; ++round) {
    {
      MutexLock lock(mutex_);
      MemoryTier::Room room;
      for (;;) {
        room = memory_.Reserve(slot, QuotaOf(slot), QueueRoom(), sizes, reservation);
        Settle(reservation);
        if (room != MemoryTier::Room::kAwaitSlab) break;
        slab_made_.Wait(mutex_);
      }
      keeper_work_.NotifyOne();
      if (room == MemoryTier::Room::kTaken) return std::move(reservation.extents);
      if (room == MemoryTier::Room::kRefused || round == max_rounds) {
        if (room == MemoryTier::Room::kNeedsSlab) memory_.arena().UnreserveSlab();
        give_back();
        const MemoryTier::DomainUse& use = memory_.UseOf(slot);
        return Fail(Exhausted(
            std::to_string(sizes.size()) + " blocks do not fit: the domain holds " +
            std::to_string(use.held_bytes) + " bytes, " + std::to_string(use.pinned_bytes) +
            " of them leased, of the arena's " + std::to_string(options_.arena_bytes)));
      }
    }
    reservation.evicted.clear();
    reservation.slabs_to_close.clear();  // Before the next one is made: the capacity is a bound.
    auto memory = MakeSlab();
    MutexLock lock(mutex_);
    if (!memory.has_value()) {
      memory_.arena().UnreserveSlab();
      give_back();
      return Fail(memory.error());
    }
    memory_.arena().AddSlab(slot, std::move(*memory));
  }
}

void StoreImpl::Settle(MemoryTier::Reservation& reservation) {
  for (const std::unique_ptr<MemoryBlock>& block : reservation.evicted) {
    Index::Entry* const entry = index_.Find(block->domain, block->record.key);
    if (entry == nullptr || entry->memory != block.get()) continue;  // Settled in an earlier round.
    entry->memory = nullptr;
    if (!entry->on_disk) EraseEntry(entry);
  }
  for (MemoryBlock* const block : reservation.to_write) {
    block->queued = false;
    Enqueue(*block);
  }
  reservation.to_write.clear();
}

MemoryBlock* StoreImpl::Publish(std::unique_ptr<MemoryBlock> block) {
  Index::Entry* entry = index_.Find(block->domain, block->record.key);
  if (entry == nullptr) entry = &AddEntry(block->domain, block->record.key);
  KVC_ASSERT(entry->memory == nullptr);
  entry->bytes = static_cast<std::uint32_t>(block->record.block_bytes());
  entry->storage_class = static_cast<std::uint32_t>(block->record.storage_class) & 0x7F;
  block->on_disk = entry->on_disk != 0;
  return entry->memory = memory_.Insert(std::move(block));
}

// --- Reading

std::size_t StoreImpl::MatchPrefix(const DomainId& domain, std::span<const BlockKey> keys) const {
  MutexLock lock(mutex_);
  const DomainSlot slot = FindSlot(domain);
  if (slot == 0) return 0;
  for (std::size_t i = 0; i < std::min(kPrefetchAhead, keys.size()); ++i) index_.Prefetch(keys[i]);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i + kPrefetchAhead < keys.size()) index_.Prefetch(keys[i + kPrefetchAhead]);
    if (index_.Find(slot, keys[i]) == nullptr) return i;
  }
  return keys.size();
}

bool StoreImpl::Contains(const DomainId& domain, const BlockKey& key) const {
  return MatchPrefix(domain, std::span<const BlockKey>(&key, 1)) == 1;
}

std::optional<PinnedBlock> StoreImpl::PinEntry(Index::Entry* entry) {
  if (entry == nullptr || entry->memory == nullptr) return std::nullopt;
  memory_.Pin(*entry->memory);
  return PinnedBlock(this, entry->memory);
}

void StoreImpl::Unpin(MemoryBlock* block) {
  MutexLock lock(mutex_);
  memory_.Unpin(*block);
}

StoreImpl::PinDuties StoreImpl::CountPin(MemoryBlock& block) {
  ++hit_count_;
  PinDuties duties;
  duties.check = ++pin_count_ % kPinsPerCheck == 0;
  duties.touch = block.on_disk && !block.touched;
  block.touched = block.touched || duties.touch;
  return duties;
}

bool StoreImpl::CarryOut(const PinDuties& duties, const PinnedBlock& pin) {
  if (duties.touch) disk_->Touch(pin.record().key);
  if (!duties.check) return true;
  const std::span<const std::byte> bytes = pin.bytes();
  if (ChecksumOf(bytes.data(), bytes.size()) == pin.record().checksum) return true;
  DropBad(pin.block_);
  return false;
}

void StoreImpl::DropBad(MemoryBlock* block) {
  MutexLock lock(mutex_);
  ++bad_block_count_;
  --hit_count_;
  if (block->dropped) return;
  Index::Entry* const entry = index_.Find(block->domain, block->record.key);
  KVC_ASSERT(entry != nullptr && entry->memory == block);
  entry->memory = nullptr;  // A copy on disk has its own checksum, and may be good.
  if (!entry->on_disk) EraseEntry(entry);
  memory_.Drop(*block);
}

std::optional<PinnedBlock> StoreImpl::PinIfInMemory(const DomainId& domain, const BlockKey& key) {
  std::optional<PinnedBlock> pin;
  PinDuties duties;
  {
    MutexLock lock(mutex_);
    const DomainSlot slot = FindSlot(domain);
    if (slot != 0) pin = PinEntry(index_.Find(slot, key));
    if (!pin.has_value()) {
      ++miss_count_;
      return std::nullopt;
    }
    duties = CountPin(*pin->block_);
  }
  if (CarryOut(duties, *pin)) return pin;
  MutexLock lock(mutex_);
  ++miss_count_;
  return std::nullopt;
}

Result<std::optional<PinnedBlock>> StoreImpl::Pin(const DomainId& domain, const BlockKey& key) {
  DomainSlot slot = 0;
  std::optional<PinnedBlock> pin;
  PinDuties duties;
  {
    MutexLock lock(mutex_);
    slot = FindSlot(domain);
    Index::Entry* const entry = slot == 0 ? nullptr : index_.Find(slot, key);
    if (entry == nullptr) {
      ++miss_count_;
      return std::nullopt;
    }
    pin = PinEntry(entry);
    if (pin.has_value()) duties = CountPin(*pin->block_);
  }
  if (pin.has_value() && CarryOut(duties, *pin)) return pin;
  pin.reset();
  return PinFromDisk(domain, slot, key);
}

int StoreImpl::SlabFd(const DomainId& domain, std::uint32_t slab_id) const {
  MutexLock lock(mutex_);
  const DomainSlot slot = FindSlot(domain);
  const Arena::Slab* const slab = memory_.arena().Find(slab_id);
  if (slot == 0 || slab == nullptr || slab->domain != slot) return -1;
  return slab->memory->fd();
}

// --- Writing

Result<Store::PutOutcome> StoreImpl::Put(const DomainId& domain, std::span<const PutItem> items,
                                         Ack ack) {
  KVC_FAIL_IF_ERROR(CheckItems(domain, items, options_.slab_bytes));
  if (ack == Ack::kDurable && disk_ == nullptr) {
    return Fail(Unavailable("durable put: this store has no disk"));
  }

  // Which are new? Another put may still come first; Publish time decides.
  DomainSlot slot = 0;
  std::vector<const PutItem*> fresh;
  std::vector<std::uint64_t> sizes;
  {
    MutexLock lock(mutex_);
    const Result<DomainSlot> made = MakeSlot(domain);
    if (!made.has_value()) return Fail(made.error());
    slot = *made;
    std::unordered_set<BlockKey> seen;
    for (const PutItem& item : items) {
      if (index_.Find(slot, item.record.key) != nullptr) continue;
      if (!seen.insert(item.record.key).second) continue;
      fresh.push_back(&item);
      sizes.push_back(item.record.block_bytes());
    }
  }
  Result<std::vector<Extent>> extents = ReserveRoom(slot, sizes);
  if (!extents.has_value()) return Fail(extents.error());

  std::vector<std::unique_ptr<MemoryBlock>> blocks;
  for (std::size_t i = 0; i < fresh.size(); ++i) {
    blocks.push_back(MakeBlock(slot, *fresh[i], (*extents)[i]));
  }

  PutOutcome outcome;
  std::vector<MemoryBlock*> stored;   // by us
  std::vector<MemoryBlock*> to_disk;  // pinned
  {
    MutexLock lock(mutex_);
    for (std::unique_ptr<MemoryBlock>& block : blocks) {
      if (index_.Find(slot, block->record.key) != nullptr) {
        memory_.Unreserve(slot, block->extent);  // Lost the race: the first commit wins.
        continue;
      }
      stored.push_back(Publish(std::move(block)));
    }
    outcome.stored = static_cast<std::uint32_t>(stored.size());
    outcome.present = static_cast<std::uint32_t>(items.size() - stored.size());
    if (ack == Ack::kHeld) {
      for (MemoryBlock* const block : stored) Enqueue(*block);
      return outcome;
    }
    std::unordered_set<MemoryBlock*> seen;
    for (const PutItem& item : items) {
      Index::Entry* const entry = index_.Find(slot, item.record.key);
      if (entry == nullptr || entry->on_disk || !seen.insert(entry->memory).second) continue;
      memory_.Pin(*entry->memory);
      to_disk.push_back(entry->memory);
    }
  }

  const Status written = WriteBlocks(slot, to_disk);
  MutexLock lock(mutex_);
  if (!written.ok()) {
    // Not at all: what this call had added leaves again.
    for (MemoryBlock* const block : stored) {
      if (block->dropped || block->on_disk) continue;
      EraseEntry(index_.Find(slot, block->record.key));
      memory_.Drop(*block);
    }
  }
  for (MemoryBlock* const block : to_disk) memory_.Unpin(*block);
  if (!written.ok()) return Fail(written);
  for (const PutItem& item : items) {
    const Index::Entry* const entry = index_.Find(slot, item.record.key);
    if (entry != nullptr && entry->on_disk) ++outcome.durable;
  }
  return outcome;
}

Result<std::vector<PinnedBlock>> StoreImpl::PutTransient(const DomainId& domain,
                                                         std::span<const PutItem> items) {
  KVC_FAIL_IF_ERROR(CheckItems(domain, items, options_.slab_bytes));
  DomainSlot slot = 0;
  {
    MutexLock lock(mutex_);
    const Result<DomainSlot> made = MakeSlot(domain);
    if (!made.has_value()) return Fail(made.error());
    slot = *made;
  }
  std::vector<std::uint64_t> sizes;
  for (const PutItem& item : items) sizes.push_back(item.record.block_bytes());
  Result<std::vector<Extent>> extents = ReserveRoom(slot, sizes);
  if (!extents.has_value()) return Fail(extents.error());

  std::vector<std::unique_ptr<MemoryBlock>> blocks;
  for (std::size_t i = 0; i < items.size(); ++i) {
    blocks.push_back(MakeBlock(slot, items[i], (*extents)[i]));
  }
  std::vector<PinnedBlock> pins;
  pins.reserve(blocks.size());
  MutexLock lock(mutex_);
  for (std::unique_ptr<MemoryBlock>& block : blocks) {
    pins.push_back(PinnedBlock(this, memory_.InsertDropped(std::move(block))));
  }
  return pins;
}

}  // namespace kvcommons
