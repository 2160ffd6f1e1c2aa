// What these tests hold the checksum to: the published value, equality of all ways to it, and that
// a copy and its checksum agree even while the source changes.

#include "kernels/checksum.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

namespace kvcommons {
namespace {

constexpr std::uint32_t kSeed = 1;

std::vector<std::byte> RandomBytes(std::size_t size) {
  std::mt19937 random(kSeed);
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

// Around the lengths where XXH3 changes its method, and around the pieces of the copy.
constexpr std::size_t kSizes[] = {0,     1,     3,     8,     16,    17,     128,  129,
                                  240,   241,   256,   257,   1023,  1024,   1025, 16383,
                                  16384, 16385, 24576, 32768, 49153, 1474560};

TEST(ChecksumTest, EqualsThePublishedValueOfNoBytes) {
  const Checksum128 checksum = ChecksumOf(nullptr, 0);
  EXPECT_EQ(checksum.high, 0x99AA06D3014798D8u);
  EXPECT_EQ(checksum.low, 0x6001C324468D497Fu);
}

TEST(ChecksumTest, EqualsXxh3WhicheverInstructionSetComputesIt) {
  for (const std::size_t size : kSizes) {
    const auto bytes = RandomBytes(size);
    const XXH128_hash_t hash = XXH3_128bits(bytes.data(), size);
    EXPECT_EQ(ChecksumOf(bytes.data(), size), (Checksum128{hash.low64, hash.high64})) << size;
  }
}

TEST(ChecksumTest, EveryBitCounts) {
  auto bytes = RandomBytes(24576);
  const Checksum128 checksum = ChecksumOf(bytes.data(), bytes.size());
  for (std::size_t i = 0; i < bytes.size(); i += 509) {
    bytes[i] ^= std::byte{1};
    EXPECT_NE(ChecksumOf(bytes.data(), bytes.size()), checksum) << "byte " << i;
    bytes[i] ^= std::byte{1};
  }
}

TEST(CopyWithChecksumTest, CopiesEveryByteAndNoOtherAndReturnsTheChecksumOfTheCopy) {
  for (const std::size_t size : kSizes) {
    for (const std::size_t misaligned : {0, 1, 32}) {
      const auto source = RandomBytes(size);
      std::vector<std::byte> destination(size + 128, std::byte{0xEE});
      std::vector<std::byte> expected = destination;
      if (size != 0) std::memcpy(expected.data() + 64 + misaligned, source.data(), size);
      const Checksum128 checksum =
          CopyWithChecksum(source.data(), destination.data() + 64 + misaligned, size);
      ASSERT_TRUE(destination == expected) << size << " bytes, off by " << misaligned;
      EXPECT_EQ(checksum, ChecksumOf(source.data(), size)) << size;
    }
  }
}

TEST(CopyWithChecksumTest, ASourceThatChangesMeanwhileCannotPartCopyAndChecksum) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "this race is the subject of the test, and a report of the thread sanitizer";
#endif
  constexpr std::size_t kWords = 1 << 16;
  // Atomic words, so that the race is one of values only.
  std::vector<std::atomic<std::uint64_t>> source(kWords);
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> writes = 0;
  std::thread writer([&] {
    for (std::uint64_t n = 1; !stop; ++n) {
      for (auto& word : source) word.store(n, std::memory_order_relaxed);
      writes = n;
    }
  });
  while (writes == 0) std::this_thread::yield();
  std::vector<std::byte> destination(kWords * sizeof(std::uint64_t));
  bool torn = false;
  // Until the race was really met: a copy that holds two different words.
  for (int round = 0; round < 20 || (!torn && round < 20000); ++round) {
    const Checksum128 checksum = CopyWithChecksum(reinterpret_cast<const std::byte*>(source.data()),
                                                  destination.data(), destination.size());
    ASSERT_EQ(checksum, ChecksumOf(destination.data(), destination.size())) << "round " << round;
    torn |= std::memcmp(destination.data(), destination.data() + destination.size() - 8, 8) != 0;
  }
  stop = true;
  writer.join();
  EXPECT_TRUE(torn) << "the source never changed during a copy; the test proved nothing";
}

}  // namespace
}  // namespace kvcommons
