#include "store/extent_files.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "base/assert.h"
#include "store/byte_codec.h"
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // AVX2 or AVX-512 at run time; the plain library is compiled for SSE2
#else
#include <xxhash.h>
#endif

namespace kvcommons {
namespace {

constexpr FrameKind kExtentFrame = {"extent file", 0x4572766b /* "kvrE" */,
                                    ExtentFiles::kFormatVersion};
// Unaligned blocks and short tails go through here: a write is at least this large while it lasts.
constexpr std::size_t kBounceBytes = 8 << 20;
constexpr std::size_t kReadBounceBytes = 1 << 20;
// Large enough that a virtual disk is not asked too often, small enough that most of a block is
// verified while the rest is read: 256 KiB took half as long again.
constexpr std::size_t kReadPieceBytes = 1 << 20;

std::string NameOf(std::uint32_t number) {
  char name[16];
  std::snprintf(name, sizeof name, "%08u.ext", number);
  return name;
}

// 0: not a name of ours.
std::uint32_t NumberOf(const std::string& name) {
  std::uint32_t number = 0;
  std::from_chars(name.data(), name.data() + name.size(), number);
  return NameOf(number) == name ? number : 0;
}

struct FreeState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

// Reads what begins at a page into `destination`, and hashes each piece while the next are on their
// way.
Status ReadVerified(DiskFile& file, std::uint64_t offset, std::span<std::byte> destination,
                    Checksum128* checksum) {
  thread_local const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
  thread_local DiskBuffer bounce(kReadBounceBytes);
  KVC_ASSERT(state != nullptr);
  XXH3_128bits_reset(state.get());
  Status status;
  std::size_t done = 0;
  if (IsPageAligned(destination.data())) {
    // Whole pages to where they belong; the last one, which holds padding, by way of the buffer.
    const std::size_t tail_bytes = destination.size() % kDiskPageBytes;
    const std::size_t whole_bytes = destination.size() - tail_bytes;
    std::vector<ReadPiece> pieces;
    for (std::size_t at = 0; at < whole_bytes; at += kReadPieceBytes) {
      pieces.push_back(destination.subspan(at, std::min(kReadPieceBytes, whole_bytes - at)));
    }
    if (tail_bytes > 0) pieces.emplace_back(bounce.data(), kDiskPageBytes);
    status = file.ReadInOrder(offset, pieces, [&](std::size_t p) {
      const std::size_t size = std::min(pieces[p].size(), destination.size() - done);
      if (pieces[p].data() == bounce.data()) {
        std::memcpy(destination.data() + done, bounce.data(), size);
      }
      XXH3_128bits_update(state.get(), destination.data() + done, size);
      done += size;
    });
  }
  while (status.ok() && done < destination.size()) {
    const std::size_t size = std::min(destination.size() - done, bounce.size());
    const ReadPiece piece(bounce.data(), RoundUpToPage(size));
    status = file.ReadAt(offset + done, {&piece, 1});
    if (!status.ok()) break;
    std::memcpy(destination.data() + done, bounce.data(), size);
    XXH3_128bits_update(state.get(), destination.data() + done, size);
    done += size;
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  *checksum = {hash.low64, hash.high64};
  return status;
}

}  // namespace

ExtentFiles::ExtentFiles(std::unique_ptr<DiskFolder> folder)
    : folder_(std::move(folder)), bounce_(kBounceBytes) {}

Result<std::unique_ptr<ExtentFiles>> ExtentFiles::Open(std::unique_ptr<DiskFolder> folder) {
  const Result<std::vector<DiskFolder::FileInfo>> list = folder->List();
  if (!list) return Fail(list.error());
  std::unique_ptr<ExtentFiles> files(new ExtentFiles(std::move(folder)));
  for (const DiskFolder::FileInfo& info : *list) KVC_FAIL_IF_ERROR(files->OpenOne(info));
  return files;
}

Status ExtentFiles::OpenOne(const DiskFolder::FileInfo& info) {
  const std::uint32_t number = NumberOf(info.name);
  if (number == 0) return Status();  // Not ours to judge, nor to delete.
  Result<std::unique_ptr<DiskFile>> file = folder_->Open(info.name);
  if (!file) return file.error();
  DiskBuffer header(kHeaderBytes);
  const ReadPiece piece(header.data(), kHeaderBytes);
  if ((*file)->ReadAt(0, {&piece, 1}).ok()) {
    ByteReader reader({reinterpret_cast<const char*>(header.data()), kHeaderBytes});
    std::string frame;
    if (reader.GetText(&frame, kHeaderBytes)) {
      // A damaged header is no reason to lose blocks, which have checksums of their own.
      const Result<std::string_view> payload = OpenFrame(kExtentFrame, frame);
      if (!payload && payload.error().code() == Code::kUnsupported) return payload.error();
    }
  }
  next_number_ = std::max(next_number_, number + 1);
  MutexLock lock(mutex_);
  files_[number] = {*std::move(file), info.size_bytes,
                    std::max(info.size_bytes, info.allocated_bytes), 0, false};
  return Status();
}

std::vector<std::uint32_t> ExtentFiles::Numbers() const {
  MutexLock lock(mutex_);
  std::vector<std::uint32_t> numbers;
  for (const auto& [number, file] : files_) numbers.push_back(number);
  return numbers;
}

bool ExtentFiles::Holds(const ExtentPlace& place) const {
  MutexLock lock(mutex_);
  const auto found = files_.find(place.file);
  return found != files_.end() && place.page > 0 && place.bytes > 0 &&
         place.end_bytes() <= found->second.size_bytes;
}

std::uint64_t ExtentFiles::AllocatedBytes(std::uint32_t number) const {
  MutexLock lock(mutex_);
  const auto found = files_.find(number);
  return found == files_.end() ? 0 : found->second.allocated_bytes;
}

std::uint64_t ExtentFiles::TotalAllocatedBytes() const {
  MutexLock lock(mutex_);
  std::uint64_t sum = 0;
  for (const auto& [number, file] : files_) sum += file.allocated_bytes;
  return sum;
}

std::uint64_t ExtentFiles::CurrentRoomBytes() const {
  if (current_ == 0) return 0;
  MutexLock lock(mutex_);
  const std::uint64_t size_bytes = files_.at(current_).size_bytes;
  return size_bytes - std::min(size_bytes, current_used_bytes_);
}

void ExtentFiles::ResumeCurrent(std::uint64_t used_bytes) {
  MutexLock lock(mutex_);
  KVC_ASSERT(!files_.empty() && current_ == 0);
  current_ = files_.rbegin()->first;
  current_used_bytes_ = std::max(kHeaderBytes, RoundUpToPage(used_bytes));
}

Status ExtentFiles::StartFile(std::uint64_t file_bytes) {
  KVC_ASSERT(file_bytes % kDiskPageBytes == 0 && file_bytes > kHeaderBytes);
  const std::uint32_t number = next_number_;
  Result<std::unique_ptr<DiskFile>> file = folder_->Create(NameOf(number), file_bytes);
  if (!file) return file.error();
  ++next_number_;
  names_unsynced_ = true;
  DiskFile* const created = file->get();
  {
    MutexLock lock(mutex_);
    files_[number] = {*std::move(file), file_bytes, file_bytes, 0, true};
  }
  ByteWriter payload;
  payload.Put(number);
  ByteWriter writer;
  writer.PutText(SealFrame(kExtentFrame, payload.Take()));
  const std::string frame = writer.Take();
  std::memset(bounce_.data(), 0, kHeaderBytes);
  std::memcpy(bounce_.data(), frame.data(), frame.size());
  const WritePiece piece(bounce_.data(), kHeaderBytes);
  if (const Status status = created->WriteAt(0, {&piece, 1}); !status.ok()) {
    const Status ignored = Drop(number);  // The first failure is the one to tell.
    return status;
  }
  current_ = number;
  current_used_bytes_ = kHeaderBytes;
  return Status();
}

Status ExtentFiles::WritePieces(std::uint64_t* offset, std::vector<WritePiece>* pieces) {
  if (pieces->empty()) return Status();
  std::uint64_t bytes = 0;
  for (const WritePiece& piece : *pieces) bytes += piece.size();
  if (const Status status = FileOf(current_)->WriteAt(*offset, *pieces); !status.ok()) {
    SealCurrent();  // A bad sector would fail the next batch too.
    return status;
  }
  *offset += bytes;
  pieces->clear();
  MutexLock lock(mutex_);
  written_bytes_ += bytes;
  return Status();
}

Status ExtentFiles::Append(std::span<const Source> blocks, std::vector<ExtentPlace>* places) {
  std::uint64_t offset = current_used_bytes_;  // of the next write
  std::uint64_t end = current_used_bytes_;     // of the blocks laid out so far
  std::vector<WritePiece> pieces;
  std::size_t bounce_used = 0;
  std::vector<ExtentPlace> laid_out;
  std::uint64_t sum = 0;
  for (const Source& block : blocks) sum += RoundUpToPage(block.size);
  KVC_ASSERT(current_ != 0 && sum <= CurrentRoomBytes());
  {
    MutexLock lock(mutex_);
    files_.at(current_).unsynced = true;
  }
  for (const Source& block : blocks) {
    laid_out.push_back({current_, static_cast<std::uint32_t>(end / kDiskPageBytes),
                        static_cast<std::uint32_t>(block.size)});
    end += RoundUpToPage(block.size);
    // Whole pages at a page's address are written from where they are.
    std::uint64_t done = 0;
    if (IsPageAligned(block.bytes)) done = block.size / kDiskPageBytes * kDiskPageBytes;
    if (done > 0) pieces.emplace_back(block.bytes, done);
    while (done < block.size) {
      if (bounce_used == bounce_.size()) {
        KVC_RETURN_IF_ERROR(WritePieces(&offset, &pieces));
        bounce_used = 0;
      }
      const std::size_t size =
          std::min<std::size_t>(block.size - done, bounce_.size() - bounce_used);
      std::byte* const copy = bounce_.data() + bounce_used;
      const std::size_t padded = RoundUpToPage(size);
      std::memcpy(copy, block.bytes + done, size);
      std::memset(copy + size, 0, padded - size);
      pieces.emplace_back(copy, padded);
      bounce_used += padded;
      done += size;
    }
  }
  KVC_RETURN_IF_ERROR(WritePieces(&offset, &pieces));
  current_used_bytes_ = end;
  places->insert(places->end(), laid_out.begin(), laid_out.end());
  return Status();
}

Status ExtentFiles::Sync() {
  std::vector<std::uint32_t> unsynced;
  {
    MutexLock lock(mutex_);
    for (const auto& [number, file] : files_) {
      if (file.unsynced) unsynced.push_back(number);
    }
  }
  Status status;
  for (const std::uint32_t number : unsynced) {
    status = FileOf(number)->Sync();
    if (!status.ok()) break;
    MutexLock lock(mutex_);
    files_.at(number).unsynced = false;
  }
  if (status.ok() && names_unsynced_) status = folder_->SyncNames();
  if (status.ok()) {
    names_unsynced_ = false;
  } else {
    SealCurrent();
  }
  return status;
}

Status ExtentFiles::Read(const ExtentPlace& place, std::byte* destination, Checksum128* checksum) {
  DiskFile* file = nullptr;
  {
    MutexLock lock(mutex_);
    const auto found = files_.find(place.file);
    if (found == files_.end() || found->second.file == nullptr) {
      return NotFound("extent file " + NameOf(place.file) + " was dropped");
    }
    ++found->second.readers;
    file = found->second.file.get();
  }
  const Status status = ReadVerified(*file, std::uint64_t{place.page} * kDiskPageBytes,
                                     std::span<std::byte>(destination, place.bytes), checksum);
  MutexLock lock(mutex_);
  read_bytes_ += place.bytes;
  if (--files_.at(place.file).readers == 0) reader_left_.NotifyAll();
  return status;
}

Status ExtentFiles::Drop(std::uint32_t number) {
  if (number == current_) SealCurrent();
  std::unique_ptr<DiskFile> file;
  std::uint64_t allocated_bytes = 0;
  {
    MutexLock lock(mutex_);
    const auto found = files_.find(number);
    if (found == files_.end()) return Status();
    while (found->second.readers > 0) reader_left_.Wait(mutex_);
    file = std::move(found->second.file);
    allocated_bytes = found->second.allocated_bytes;
    files_.erase(found);
  }
  file.reset();  // An open descriptor would keep the space.
  const Status status = folder_->Remove(NameOf(number));
  if (status.ok() || status.code() == Code::kNotFound) return Status();
  // Its bytes are still on the disk, so they stay counted.
  MutexLock lock(mutex_);
  files_[number] = {nullptr, 0, allocated_bytes, 0, false};
  return status;
}

DiskFile* ExtentFiles::FileOf(std::uint32_t number) const {
  MutexLock lock(mutex_);
  return files_.at(number).file.get();
}

std::uint64_t ExtentFiles::written_bytes() const {
  MutexLock lock(mutex_);
  return written_bytes_;
}

std::uint64_t ExtentFiles::read_bytes() const {
  MutexLock lock(mutex_);
  return read_bytes_;
}

}  // namespace kvcommons
