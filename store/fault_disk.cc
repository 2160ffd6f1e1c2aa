#include "store/fault_disk.h"

#include <algorithm>
#include <cstring>

namespace kvcommons {

class FaultFile final : public DiskFile {
 public:
  FaultFile(FaultDisk* disk, std::string name) : disk_(disk), name_(std::move(name)) {}

  Status WriteAt(std::uint64_t offset, std::span<const WritePiece> pieces) override {
    const FaultDisk::Step step = disk_->Next();
    if (step == FaultDisk::Step::kNothing) return FaultDisk::Broken();
    FaultDisk::File& file = disk_->files_.at(name_);
    for (const WritePiece& piece : pieces) {
      for (std::size_t done = 0; done < piece.size(); done += kDiskPageBytes) {
        const std::uint64_t at = offset + done;
        if (at % kDiskPageBytes != 0 || at + kDiskPageBytes > file.now.size()) {
          return Internal("fault disk: write outside the file or its pages");
        }
        if (step == FaultDisk::Step::kTorn && disk_->Chance()) continue;
        std::memcpy(file.now.data() + at, piece.data() + done, kDiskPageBytes);
        file.unsynced_pages.insert(at / kDiskPageBytes);
      }
      offset += piece.size();
    }
    return step == FaultDisk::Step::kTorn ? FaultDisk::Broken() : Status();
  }

  Status ReadAt(std::uint64_t offset, std::span<const ReadPiece> pieces) override {
    const FaultDisk::File& file = disk_->files_.at(name_);
    for (const ReadPiece& piece : pieces) {
      if (offset + piece.size() > file.now.size()) return Corrupted("the file ends");
      std::memcpy(piece.data(), file.now.data() + offset, piece.size());
      offset += piece.size();
    }
    return Status();
  }

  Status Sync() override {
    const FaultDisk::Step step = disk_->Next();
    if (step == FaultDisk::Step::kNothing) return FaultDisk::Broken();
    FaultDisk::File& file = disk_->files_.at(name_);
    file.synced.resize(file.now.size());
    for (auto page = file.unsynced_pages.begin(); page != file.unsynced_pages.end();) {
      if (step == FaultDisk::Step::kTorn && disk_->Chance()) {
        ++page;
        continue;
      }
      std::memcpy(file.synced.data() + *page * kDiskPageBytes,
                  file.now.data() + *page * kDiskPageBytes, kDiskPageBytes);
      page = file.unsynced_pages.erase(page);
    }
    return step == FaultDisk::Step::kTorn ? FaultDisk::Broken() : Status();
  }

 private:
  FaultDisk* const disk_;
  const std::string name_;
};

class FaultFolder final : public DiskFolder {
 public:
  explicit FaultFolder(FaultDisk* disk) : disk_(disk) {}

  Result<std::unique_ptr<DiskFile>> Create(const std::string& name, std::uint64_t bytes) override {
    const FaultDisk::Step step = disk_->Next();
    if (step == FaultDisk::Step::kNothing) return Fail(FaultDisk::Broken());
    if (disk_->full_) return Fail(Unavailable("fault disk: no space left on device"));
    FaultDisk::File& file = disk_->files_[name];
    file = {std::vector<std::byte>(bytes), {}, {}, true, false};
    if (step == FaultDisk::Step::kTorn) return Fail(FaultDisk::Broken());
    return std::make_unique<FaultFile>(disk_, name);
  }

  Result<std::unique_ptr<DiskFile>> Open(const std::string& name) override {
    const auto found = disk_->files_.find(name);
    if (found == disk_->files_.end() || !found->second.exists) return Fail(NotFound(name));
    return std::make_unique<FaultFile>(disk_, name);
  }

  Status Remove(const std::string& name) override {
    const FaultDisk::Step step = disk_->Next();
    if (step == FaultDisk::Step::kNothing) return FaultDisk::Broken();
    FaultDisk::File& file = disk_->files_.at(name);
    file.exists = false;
    file.name_synced = false;
    return step == FaultDisk::Step::kTorn ? FaultDisk::Broken() : Status();
  }

  Status SyncNames() override {
    const FaultDisk::Step step = disk_->Next();
    if (step != FaultDisk::Step::kDone) return FaultDisk::Broken();
    for (auto& [name, file] : disk_->files_) file.name_synced = true;
    return Status();
  }

  Result<std::vector<FileInfo>> List() override {
    std::vector<FileInfo> list;
    for (const auto& [name, file] : disk_->files_) {
      if (file.exists) list.push_back({name, file.now.size(), file.now.size()});
    }
    return list;
  }

 private:
  FaultDisk* const disk_;
};

class FaultIndex final : public DiskIndex {
 public:
  explicit FaultIndex(FaultDisk* disk) : disk_(disk) {}

  // A commit that the power cut meets happened or did not; either way it is told as failed.
  Status Commit(const IndexBatch& batch) override {
    MutexLock lock(mutex_);
    const FaultDisk::Step step = disk_->Next();
    if (step == FaultDisk::Step::kNothing) return FaultDisk::Broken();
    if (step == FaultDisk::Step::kTorn) {
      for (const IndexBatch::Change& change : batch.changes()) {
        disk_->doubtful_keys_.insert(change.key.substr(1));
      }
      if (disk_->Chance()) return FaultDisk::Broken();
    }
    for (const IndexBatch::Change& change : batch.changes()) {
      if (change.value) {
        disk_->index_[change.key] = *change.value;
      } else {
        disk_->index_.erase(change.key);
      }
    }
    return step == FaultDisk::Step::kTorn ? FaultDisk::Broken() : Status();
  }

  Result<std::optional<std::string>> Get(IndexSpace space, std::string_view key) override {
    MutexLock lock(mutex_);
    const auto found = disk_->index_.find(static_cast<char>(space) + std::string(key));
    if (found == disk_->index_.end()) return std::optional<std::string>();
    return std::optional<std::string>(found->second);
  }

  Status Scan(IndexSpace space, std::string_view prefix,
              const std::function<void(std::string_view, std::string_view)>& visit) override {
    MutexLock lock(mutex_);
    const std::string begin = static_cast<char>(space) + std::string(prefix);
    for (auto it = disk_->index_.lower_bound(begin); it != disk_->index_.end(); ++it) {
      if (it->first.compare(0, begin.size(), begin) != 0) break;
      visit(std::string_view(it->first).substr(1), it->second);
    }
    return Status();
  }

  std::uint64_t HeldBytes() override {
    MutexLock lock(mutex_);
    std::uint64_t sum = 0;
    for (const auto& [key, value] : disk_->index_) sum += key.size() + value.size();
    return sum;
  }
  std::uint64_t BoundBytes(std::uint64_t batch_bytes) override { return HeldBytes() + batch_bytes; }

 private:
  FaultDisk* const disk_;
  Mutex mutex_;
};

std::unique_ptr<DiskFolder> FaultDisk::NewFolder() { return std::make_unique<FaultFolder>(this); }
std::unique_ptr<DiskIndex> FaultDisk::NewIndex() { return std::make_unique<FaultIndex>(this); }

FaultDisk::Step FaultDisk::Next() {
  ++operations_;
  if (dark_at_ != 0 && operations_ > dark_at_) return Step::kNothing;
  if (dark_at_ != 0 && operations_ == dark_at_) return Step::kTorn;
  return operations_ == fail_at_ ? Step::kNothing : Step::kDone;
}

void FaultDisk::PowerLoss() {
  dark_at_ = 0;
  fail_at_ = 0;
  for (auto it = files_.begin(); it != files_.end();) {
    File& file = it->second;
    if (!file.name_synced && Chance()) file.exists = !file.exists;  // The change was not kept.
    if (!file.exists) {
      it = files_.erase(it);
      continue;
    }
    file.name_synced = true;
    file.synced.resize(file.now.size());
    for (const std::uint64_t page : file.unsynced_pages) {
      if (Chance()) continue;
      std::memcpy(file.now.data() + page * kDiskPageBytes,
                  file.synced.data() + page * kDiskPageBytes, kDiskPageBytes);
    }
    file.unsynced_pages.clear();
    file.synced = file.now;
    ++it;
  }
}

std::uint64_t FaultDisk::ExtentBytes() const {
  std::uint64_t sum = 0;
  for (const auto& [name, file] : files_) sum += file.exists ? file.now.size() : 0;
  return sum;
}

std::vector<std::string> FaultDisk::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : files_) {
    if (file.exists) names.push_back(name);
  }
  return names;
}

}  // namespace kvcommons
