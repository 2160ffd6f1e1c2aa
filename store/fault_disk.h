// A disk that a test can break: it forgets what was not synced when the power goes, and fails or
// goes dark at the nth operation. Extent files and index live in memory and share one count of
// operations. For tests only.

#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "store/disk_file.h"
#include "store/disk_index.h"

namespace kvcommons {

class FaultDisk {
 public:
  explicit FaultDisk(std::uint64_t seed) : random_(seed) {}

  std::unique_ptr<DiskFolder> NewFolder();
  std::unique_ptr<DiskIndex> NewIndex();

  // The nth changing operation from now (1 is the next) and all after it fail, until PowerLoss().
  // Of the nth a random part happens.
  void CutPowerAt(std::uint64_t operation) { dark_at_ = operations_ + operation; }
  // The nth changing operation from now fails, nothing of it happens; those after it work.
  void FailAt(std::uint64_t operation) { fail_at_ = operations_ + operation; }
  // Whether allocating finds no space.
  void SetFull(bool full) { full_ = full; }

  // What was not synced is kept or forgotten, page by page and name by name, as chance has it.
  void PowerLoss();

  std::uint64_t operation_count() const { return operations_; }
  bool is_dark() const { return dark_at_ != 0 && operations_ >= dark_at_; }
  std::uint64_t ExtentBytes() const;
  // Keys of the index batch that the power cut met: they may be as before or as after.
  const std::set<std::string>& doubtful_keys() const { return doubtful_keys_; }
  // The file's bytes as they are now, to damage them.
  std::vector<std::byte>& BytesOf(const std::string& name) { return files_.at(name).now; }
  std::vector<std::string> Names() const;
  std::map<std::string, std::string>& index() { return index_; }

 private:
  friend class FaultFile;
  friend class FaultFolder;
  friend class FaultIndex;

  struct File {
    std::vector<std::byte> now;
    std::vector<std::byte> synced;
    std::set<std::uint64_t> unsynced_pages;
    bool exists = false;
    bool name_synced = false;  // as `exists` says
  };
  enum class Step : std::uint8_t { kDone, kTorn, kNothing };

  // Counts one changing operation and says what becomes of it.
  Step Next();
  bool Chance() { return random_() % 2 == 0; }
  static Status Broken() { return Unavailable("fault disk: I/O error"); }

  std::mt19937_64 random_;
  std::uint64_t operations_ = 0;
  std::uint64_t dark_at_ = 0;
  std::uint64_t fail_at_ = 0;
  bool full_ = false;
  std::map<std::string, File> files_;
  std::map<std::string, std::string> index_;
  std::set<std::string> doubtful_keys_;
};

}  // namespace kvcommons
