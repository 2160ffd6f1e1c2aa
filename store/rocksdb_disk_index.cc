// DiskIndex on RocksDB, the only file that knows it. Every batch is synced through its log; its own
// checksums stay on. Memory and disk use are small and follow the capacity of the store.

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/mutex.h"
#include "store/disk_index.h"

namespace kvcommons {
namespace {

// Manifest, options and information log of RocksDB, beside its data.
constexpr std::uint64_t kSlackBytes = 1 << 20;

Status Translate(const std::string& operation, const rocksdb::Status& status) {
  if (status.ok()) return Status();
  const std::string message = "index: " + operation + ": " + status.ToString();
  return status.IsCorruption() ? Corrupted(message) : Unavailable(message);
}

rocksdb::Slice SliceOf(std::string_view text) { return rocksdb::Slice(text.data(), text.size()); }
std::string_view ViewOf(const rocksdb::Slice& slice) {
  return std::string_view(slice.data(), slice.size());
}

std::string FullKey(IndexSpace space, std::string_view key) {
  std::string full(1, static_cast<char>(space));
  full += key;
  return full;
}

class RocksDbIndex final : public DiskIndex {
 public:
  RocksDbIndex(std::string folder, std::unique_ptr<rocksdb::DB> db)
      : folder_(std::move(folder)), db_(std::move(db)) {}

  Status Commit(const IndexBatch& batch) override {
    rocksdb::WriteBatch changes;
    for (const IndexBatch::Change& change : batch.changes()) {
      const rocksdb::Status status =
          change.value ? changes.Put(change.key, *change.value) : changes.Delete(change.key);
      if (!status.ok()) return Translate("batch", status);
    }
    MutexLock lock(commit_mutex_);
    // After a full disk RocksDB refuses to write until it is told that there is space again.
    if (failed_) {
      KVC_RETURN_IF_ERROR(Translate("resume", db_->Resume()));
      failed_ = false;
    }
    rocksdb::WriteOptions options;
    options.sync = true;
    const Status status = Translate("write", db_->Write(options, &changes));
    failed_ = !status.ok();
    return status;
  }

  Result<std::optional<std::string>> Get(IndexSpace space, std::string_view key) override {
    std::string value;
    const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), FullKey(space, key), &value);
    if (status.IsNotFound()) return std::optional<std::string>();
    KVC_FAIL_IF_ERROR(Translate("read", status));
    return std::optional<std::string>(std::move(value));
  }

  Status Scan(IndexSpace space, std::string_view prefix,
              const std::function<void(std::string_view, std::string_view)>& visit) override {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    const std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(options));
    const std::string begin = FullKey(space, prefix);
    for (iterator->Seek(begin); iterator->Valid(); iterator->Next()) {
      if (!iterator->key().starts_with(SliceOf(begin))) break;
      visit(ViewOf(iterator->key()).substr(1), ViewOf(iterator->value()));
    }
    return Translate("scan", iterator->status());
  }

  std::uint64_t HeldBytes() override {
    std::uint64_t sum = 0;
    std::error_code error;
    for (std::filesystem::directory_iterator it(folder_, error), end; !error && it != end;
         it.increment(error)) {
      struct stat info = {};
      if (stat(it->path().c_str(), &info) != 0) continue;  // Deleted meanwhile.
      sum += std::max(static_cast<std::uint64_t>(info.st_size),
                      static_cast<std::uint64_t>(info.st_blocks) * 512);
    }
    return sum;
  }

  // A flush copies the log, a compaction the tables: at most one of each runs at a time, so what is
  // held and the new batch can be there twice.
  std::uint64_t BoundBytes(std::uint64_t batch_bytes) override {
    return 2 * (HeldBytes() + batch_bytes) + kSlackBytes;
  }

 private:
  const std::string folder_;
  const std::unique_ptr<rocksdb::DB> db_;
  Mutex commit_mutex_;
  bool failed_ GUARDED_BY(commit_mutex_) = false;
};

}  // namespace

Result<std::unique_ptr<DiskIndex>> OpenRocksDbIndex(const std::string& folder,
                                                    std::uint64_t capacity_bytes) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.write_buffer_size = std::clamp<std::uint64_t>(capacity_bytes / 128, 256 << 10, 16 << 20);
  options.max_write_buffer_number = 2;
  options.target_file_size_base = options.write_buffer_size;
  options.max_bytes_for_level_base = 8 * options.write_buffer_size;
  options.max_background_jobs = 2;  // One flush, one compaction.
  options.compression = rocksdb::kNoCompression;
  options.allow_fallocate = false;  // Else the log takes its whole size at once.
  options.max_manifest_file_size = 256 << 10;
  options.max_log_file_size = 128 << 10;
  options.keep_log_file_num = 2;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.max_open_files = 256;
  options.delete_obsolete_files_period_micros = 0;

  rocksdb::BlockBasedTableOptions table;
  table.block_cache =
      rocksdb::NewLRUCache(std::clamp<std::uint64_t>(capacity_bytes / 64, 1 << 20, 32 << 20));
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.format_version = 5;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));

  rocksdb::DB* db = nullptr;
  KVC_FAIL_IF_ERROR(Translate("open " + folder, rocksdb::DB::Open(options, folder, &db)));
  return std::make_unique<RocksDbIndex>(folder, std::unique_ptr<rocksdb::DB>(db));
}

}  // namespace kvcommons
