#include "agents/engine/streaming_place.h"

#include <gmock/gmock.h>

#include <latch>

namespace kvcommons {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint32_t kLayers = 4;

// Writes a layer's number where a pass would read it. Waits at one layer until it is let through.
class FakePlacer final : public LayerPlacer {
 public:
  Status PlaceLayer(std::uint32_t layer) override {
    if (layer == blocked_layer) {
      reached.count_down();
      gate.wait();
    }
    if (layer == failing_layer) return Unavailable("rows of layer 2 are gone");
    rows[layer] = static_cast<int>(layer) + 1;
    return Status();
  }

  std::uint32_t blocked_layer = kLayers, failing_layer = kLayers;
  std::latch reached{1}, gate{1};
  int rows[kLayers] = {};
};

// Time goes by as it is asked for: whoever asks has begun to wait, and lets the placer through.
class GateClock final : public Clock {
 public:
  explicit GateClock(FakePlacer& placer) : placer_(placer) {}
  std::int64_t NowNs() const override {
    if (asked_++ == 0) placer_.gate.count_down();
    return asked_ * std::int64_t{5'000'000};
  }
  std::int64_t WallUs() const override { return 0; }
  int asked() const { return asked_; }

 private:
  FakePlacer& placer_;
  mutable int asked_ = 0;
};

TEST(StreamingPlace, WaitsForALayerAndRecordsForHowLong) {
  const auto placer = std::make_shared<FakePlacer>();
  placer->blocked_layer = 2;
  const GateClock clock(*placer);
  StreamingPlace stream(placer, kLayers, clock);
  placer->reached.wait();
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
    stream.AwaitLayer(layer);
    EXPECT_EQ(placer->rows[layer], static_cast<int>(layer) + 1);
    // Behind layer 2 the placer may be faster or not.
    if (layer == 2) {
      EXPECT_THAT(stream.stall_us(), ElementsAre(0, 0, 5000, 0));
    }
  }
  EXPECT_TRUE(stream.Finish().ok());
}

TEST(StreamingPlace, WaitsForLayer0Too) {
  const auto placer = std::make_shared<FakePlacer>();
  placer->blocked_layer = 0;
  const GateClock clock(*placer);
  StreamingPlace stream(placer, kLayers, clock);
  placer->reached.wait();
  stream.AwaitLayer(0);
  EXPECT_EQ(placer->rows[0], 1);
  EXPECT_EQ(stream.stall_us()[0], 5000);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST(StreamingPlace, ThatIsDoneIsNotWaitedFor) {
  const auto placer = std::make_shared<FakePlacer>();
  const GateClock clock(*placer);
  StreamingPlace stream(placer, kLayers, clock);
  ASSERT_TRUE(stream.Finish().ok());
  EXPECT_TRUE(stream.done());
  for (std::uint32_t layer = 0; layer < kLayers; ++layer) stream.AwaitLayer(layer);
  EXPECT_EQ(clock.asked(), 0);
  EXPECT_EQ(stream.total_stall_us(), 0);
}

TEST(StreamingPlace, AnErrorLetsThePassEndAndSurfaces) {
  const auto placer = std::make_shared<FakePlacer>();
  placer->failing_layer = placer->blocked_layer = 2;
  const GateClock clock(*placer);
  StreamingPlace stream(placer, kLayers, clock);
  placer->reached.wait();
  stream.AwaitLayer(1);
  EXPECT_FALSE(stream.failed());
  for (std::uint32_t layer = 2; layer < kLayers; ++layer) {
    stream.AwaitLayer(layer);
    EXPECT_TRUE(stream.failed());
  }
  EXPECT_THAT(stream.Finish().message(), HasSubstr("rows of layer 2 are gone"));
  EXPECT_EQ(placer->rows[3], 0);
}

TEST(StreamingPlace, ThatIsDroppedEndsBehindTheLayerAtHandAndLeavesNoThread) {
  const auto placer = std::make_shared<FakePlacer>();
  placer->blocked_layer = 1;
  const GateClock clock(*placer);
  {
    StreamingPlace stream(placer, kLayers, clock);
    placer->reached.wait();
    placer->gate.count_down();
  }
  EXPECT_EQ(placer.use_count(), 1);
  EXPECT_EQ(placer->rows[1], 2);
}

}  // namespace
}  // namespace kvcommons
