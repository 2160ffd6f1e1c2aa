#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "kernels/rotate.h"

namespace kvcommons {
namespace {

TEST(CopyBytesTest, CopiesEveryByteAndNothingBesideWhateverSizeAndAlignment) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::vector<std::byte> source(1 << 20), destination(1 << 20), expected(1 << 20);
  for (std::byte& byte : source) byte = static_cast<std::byte>(random());
  for (int round = 0; round < 50; ++round) {
    std::fill(destination.begin(), destination.end(), std::byte{0x5A});
    expected = destination;
    for (std::size_t at = random() % 100; at < destination.size();) {
      // Below, at and above what is streamed, and nothing at all.
      const std::size_t bytes = std::min<std::size_t>(
          random() % 2 == 0 ? random() % 8000 : random() % 60000 * (random() % 2),
          destination.size() - at);
      const std::size_t from = random() % (source.size() - bytes + 1);
      CopyBytes(source.data() + from, destination.data() + at, bytes);
      std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(from), bytes,
                  expected.begin() + static_cast<std::ptrdiff_t>(at));
      at += bytes + random() % 100;
    }
    ASSERT_EQ(destination, expected) << "round " << round;
  }
}

TEST(CopyBytesTest, OfNothingDoesNothing) { CopyBytes(nullptr, nullptr, 0); }

}  // namespace
}  // namespace kvcommons
