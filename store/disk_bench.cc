// Durable writes and cold reads of the disk tier beside the same bytes in a plain file,
// interleaved, in one run. Prints medians, their spread and the ratio; exits with 1 when what was
// read is wrong.
//
//   disk_bench FOLDER [REPEATS]      FOLDER is created, filled with about 500 MiB, and removed

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "store/disk_file.h"
#include "store/disk_testing.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kBlockBytes = 1474560;  // 64 tokens of a small decoder: 1.4 MiB
constexpr std::size_t kBatchBlocks = 32;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Samples {
  const char* name;
  std::vector<double> gb_per_s;

  void Add(double bytes, double seconds) { gb_per_s.push_back(bytes / seconds / 1e9); }
  double Median() {
    std::sort(gb_per_s.begin(), gb_per_s.end());
    return gb_per_s[gb_per_s.size() / 2];
  }
  void Print() {
    const double median = Median();
    std::printf("%-34s %6.2f GB/s   (%.2f to %.2f, %zu samples)\n", name, median, gb_per_s.front(),
                gb_per_s.back(), gb_per_s.size());
  }
};

void Check(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "disk_bench: %s\n", what);
  std::exit(1);
}

// The bound: one write a block, one fdatasync a batch.
void WritePlain(int fd, std::size_t* offset, const std::vector<const std::byte*>& blocks) {
  for (const std::byte* const block : blocks) {
    Check(pwrite(fd, block, kBlockBytes, static_cast<off_t>(*offset)) == kBlockBytes, "pwrite");
    *offset += kBlockBytes;
  }
  Check(fdatasync(fd) == 0, "fdatasync");
}

int Run(const std::string& folder, int repeats) {
  std::filesystem::create_directories(folder);
  const auto tier = OpenDiskTier({.folder = folder + "/store", .capacity_bytes = 4ull << 30});
  Check(tier.has_value(), "the store does not open");
  const int buffered = open((folder + "/buffered").c_str(), O_CREAT | O_RDWR | O_TRUNC, 0600);
  const int direct =
      open((folder + "/direct").c_str(), O_CREAT | O_RDWR | O_TRUNC | O_DIRECT, 0600);
  Check(buffered >= 0 && direct >= 0, "the plain files do not open");

  std::vector<DiskBuffer> memory;
  std::vector<BlockRecord> records;
  std::vector<const std::byte*> blocks;
  for (std::size_t i = 0; i < kBatchBlocks; ++i) {
    const TestBlock block = MakeTestBlock(i, kBlockBytes);
    memory.emplace_back(kBlockBytes);
    std::memcpy(memory.back().data(), block.planes.data(), kBlockBytes);
    blocks.push_back(memory.back().data());
    records.push_back(block.record);
    records.back().tokens.assign(64, 1);
    records.back().planes.row_bytes.assign(60, kBlockBytes / 64 / 60);
  }

  Samples tier_write{"durable upload, tier", {}},
      buffered_write{"plain file, buffered + fdatasync", {}},
      direct_write{"plain file, direct + fdatasync", {}};
  const double batch_bytes = static_cast<double>(kBatchBlocks * kBlockBytes);
  std::vector<BlockKey> written;
  std::size_t buffered_offset = 0;
  std::size_t direct_offset = 0;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    std::vector<DiskTier::WriteItem> items;
    for (std::size_t i = 0; i < kBatchBlocks; ++i) {
      records[i].key = TestKey(written.size());
      written.push_back(records[i].key);
      items.push_back({&records[i], blocks[i]});
    }
    // Each goes first in a third of the rounds: a disk that throttles favours none.
    for (int turn = 0; turn < 3; ++turn) {
      const double begin = Seconds();
      switch ((turn + repeat) % 3) {
        case 0:
          Check((*tier)->Write(items).ok(), "the tier does not write");
          tier_write.Add(batch_bytes, Seconds() - begin);
          break;
        case 1:
          WritePlain(buffered, &buffered_offset, blocks);
          buffered_write.Add(batch_bytes, Seconds() - begin);
          break;
        default:
          WritePlain(direct, &direct_offset, blocks);
          direct_write.Add(batch_bytes, Seconds() - begin);
      }
    }
  }

  Samples tier_read{"cold read with checksum, tier", {}}, direct_read{"plain file, direct", {}};
  DiskBuffer buffer(kBlockBytes);
  for (std::size_t n = 0; n < written.size(); ++n) {
    for (int turn = 0; turn < 2; ++turn) {
      const double begin = Seconds();
      if ((turn + n) % 2 == 0) {
        Check((*tier)
                  ->Read(written[n], [&](const BlockRecord&) { return buffer.data(); })
                  .has_value(),
              "a block is missing");
        tier_read.Add(kBlockBytes, Seconds() - begin);
        Check(std::memcmp(buffer.data(), blocks[n % kBatchBlocks], kBlockBytes) == 0,
              "wrong bytes");
      } else {
        Check(pread(direct, buffer.data(), kBlockBytes, static_cast<off_t>(n * kBlockBytes)) ==
                  kBlockBytes,
              "pread");
        direct_read.Add(kBlockBytes, Seconds() - begin);
      }
    }
  }
  close(buffered);
  close(direct);

  std::printf("batches of %zu blocks of %u bytes, %d repeats\n", kBatchBlocks, kBlockBytes,
              repeats);
  for (Samples* samples : {&tier_write, &buffered_write, &direct_write, &tier_read, &direct_read}) {
    samples->Print();
  }
  std::printf("durable_upload: %.2f of buffered, %.2f of direct (goal 0.80)\n",
              tier_write.Median() / buffered_write.Median(),
              tier_write.Median() / direct_write.Median());
  std::printf("cold_read: %.2f (goal 0.85)\n", tier_read.Median() / direct_read.Median());
  return 0;
}

}  // namespace
}  // namespace kvcommons

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: disk_bench FOLDER [REPEATS]\n");
    return 2;
  }
  const std::string folder = argv[1];
  if (std::filesystem::exists(folder)) {
    std::fprintf(stderr, "disk_bench: %s exists; name a folder that does not\n", argv[1]);
    return 2;
  }
  const int repeats = argc > 2 ? std::max(1, std::atoi(argv[2])) : 10;
  const int result = kvcommons::Run(folder, repeats);
  std::filesystem::remove_all(folder);
  return result;
}
