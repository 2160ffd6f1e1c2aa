// What the disk tier's tests share: blocks whose bytes follow from a number, and a folder that goes
// away. For tests only.

#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/assert.h"
#include "kernels/checksum.h"
#include "store/disk_tier.h"

namespace kvcommons {

struct TestBlock {
  BlockRecord record;
  std::vector<std::byte> planes;

  DiskTier::WriteItem item() const { return {&record, planes.data()}; }
};

inline BlockKey TestKey(std::uint64_t number) {
  BlockKey key;
  // Spread over all bytes as a hash would be; the low bits stay the number.
  const std::uint64_t mixed = (number + 1) * 0x9e3779b97f4a7c15;
  std::memcpy(key.bytes.data(), &mixed, 8);
  std::memcpy(key.bytes.data() + 8, &number, 8);
  return key;
}

inline DomainId TestDomain(std::uint8_t number) {
  DomainId domain;
  domain.bytes.fill(number);
  return domain;
}

// Two planes; `bytes` must be even. The content is a function of number and size.
inline TestBlock MakeTestBlock(std::uint64_t number, std::uint32_t bytes, std::uint8_t domain = 1) {
  TestBlock block;
  block.record.key = TestKey(number);
  block.record.domain = TestDomain(domain);
  block.record.storage_class = static_cast<StorageClass>(number % 4);
  block.record.origin = static_cast<Position>(number % 1000);
  block.record.tokens = {static_cast<TokenId>(number % 50000), 2};
  KVC_ASSERT(bytes % 4 == 0);
  block.record.planes.row_bytes = {bytes / 4, bytes / 4};
  block.planes.resize(bytes);
  std::vector<std::uint32_t> words(bytes / 4);
  std::uint32_t word = static_cast<std::uint32_t>(number) * 2654435761u + 12345;
  for (std::uint32_t& w : words) w = word = word * 1664525u + 1013904223u;
  std::memcpy(block.planes.data(), words.data(), bytes);
  block.record.checksum = ChecksumOf(block.planes.data(), block.planes.size());
  return block;
}

inline Status WriteBlocks(DiskTier& tier, const std::vector<TestBlock>& blocks) {
  std::vector<DiskTier::WriteItem> items;
  for (const TestBlock& block : blocks) items.push_back(block.item());
  return tier.Write(items);
}

enum class Found { kAbsent, kWhole, kWrong };

// Reads the block with MakeTestBlock's number and compares every byte.
inline Found Find(DiskTier& tier, const TestBlock& block) {
  std::vector<std::byte> planes;
  const auto record = tier.Read(block.record.key, [&planes](const BlockRecord& found) {
    planes.resize(found.block_bytes());
    return planes.data();
  });
  if (!record) return Found::kAbsent;
  return planes == block.planes && record->tokens == block.record.tokens &&
                 record->domain == block.record.domain && record->checksum == block.record.checksum
             ? Found::kWhole
             : Found::kWrong;
}

// A new folder under the system's temporary one, removed with everything in it.
class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kvcommons_XXXXXX").string();
    KVC_ASSERT(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace kvcommons
