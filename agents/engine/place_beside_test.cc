// Rows that are placed while a pass computes others, on a real engine and in the worst order: a
// layer's rows come when the pass has already written its own and waits for them.

#include <gmock/gmock.h>

#include <semaphore>

#include "agents/engine/engine_testing.h"
#include "agents/engine/streaming_place.h"

namespace kvcommons {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

constexpr std::uint32_t kTokens = 200;

// Places a layer when it is let in, no earlier.
class GatedPlacer final : public LayerPlacer {
 public:
  explicit GatedPlacer(std::counting_semaphore<>& gate) : gate_(gate) {}
  Status PlaceLayer(std::uint32_t layer) override {
    gate_.acquire();
    return inner->PlaceLayer(layer);
  }

  std::shared_ptr<LayerPlacer> inner;

 private:
  std::counting_semaphore<>& gate_;
};

// Lets one layer in when a pass begins to wait for it, and tells 5 ms from that to its end.
class GateClock final : public Clock {
 public:
  explicit GateClock(std::counting_semaphore<>& gate) : gate_(gate) {}
  std::int64_t NowNs() const override {
    if (asked_++ % 2 == 0) gate_.release();
    return asked_ * std::int64_t{5'000'000};
  }
  std::int64_t WallUs() const override { return 0; }

 private:
  std::counting_semaphore<>& gate_;
  mutable int asked_ = 0;
};

class PlaceBeside : public testing::TestWithParam<TestEngine> {
 protected:
  void SetUp() override {
    KVC_NEEDS_MODEL();
    engine_ = &SharedEngine(GetParam());
    // Rows of another text than the prompt's, in three blocks: what is computed matters.
    ASSERT_TRUE(engine_->RunRest(std::span(LongText()).subspan(300, kTokens)).ok());
    block_ = Rows(*engine_, 0, kTokens);
    spans_ = {{0, 90, 0, block_.data(), kTokens, 0},
              {90, 60, 10, block_.data(), kTokens, 80},
              {150, 40, 0, block_.data(), kTokens, 150}};
  }

  void TearDown() override {
    gate_.release(64);  // Whoever still waits, after a test that failed.
    stream_.reset();
  }

  std::span<const TokenId> Prompt() const { return std::span(LongText()).first(kTokens); }

  // Logits of a pass over `runs`, and all rows it leaves.
  std::pair<std::vector<float>, std::vector<std::byte>> Ran(const std::vector<TokenRun>& runs) {
    const Status ran = engine_->Run(Prompt(), runs);
    EXPECT_TRUE(ran.ok()) << ran.ToString();
    if (!ran.ok()) return {};
    return {Copy(engine_->Logits(0)), Rows(*engine_, 0, kTokens)};
  }

  StreamingPlace* BeginGated() {
    auto stream = StreamingPlace::Begin(*engine_, spans_, clock_, [&](auto placer) {
      auto gated = std::make_shared<GatedPlacer>(gate_);
      gated->inner = std::move(placer);
      return gated;
    });
    EXPECT_TRUE(stream.has_value()) << stream.error().ToString();
    stream_ = std::move(*stream);
    return stream_.get();
  }

  Engine* engine_ = nullptr;
  std::vector<std::byte> block_;
  std::vector<PlaceSpan> spans_;
  std::counting_semaphore<> gate_{0};
  GateClock clock_{gate_};
  std::unique_ptr<StreamingPlace> stream_;
};

// Runs inside placed rows, across two spans, at the beginning, and what is fresh.
const std::vector<TokenRun> kRuns{{0, 3}, {40, 41}, {85, 97}, {120, 150}, {188, 200}};

TEST_P(PlaceBeside, GivesTheBitsOfPlacingBefore) {
  ASSERT_TRUE(engine_->Place(spans_).ok());
  const auto wanted = Ran(kRuns);
  StreamingPlace* const stream = BeginGated();
  engine_->SetLayerHook([&](const LayerView& view) { stream->AwaitLayer(view.layer); });
  const auto got = Ran(kRuns);
  engine_->SetLayerHook({});
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(got.first, wanted.first);
  EXPECT_EQ(got.second, wanted.second);
  EXPECT_THAT(stream->stall_us(), Each(5000));
}

TEST_P(PlaceBeside, GoesOnUnderASecondPassWhereTheFirstWasCutShort) {
  const std::vector<TokenRun> fresh{{190, 200}};
  ASSERT_TRUE(engine_->Place(spans_).ok());
  ASSERT_TRUE(engine_->RunUpTo(12, Prompt(), fresh).ok());
  const auto wanted = Ran(kRuns);
  StreamingPlace* const stream = BeginGated();
  engine_->SetLayerHook([&](const LayerView& view) { stream->AwaitLayer(view.layer); });
  ASSERT_TRUE(engine_->RunUpTo(12, Prompt(), fresh).ok());
  const auto got = Ran(kRuns);
  engine_->SetLayerHook({});
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(got.first, wanted.first);
  EXPECT_EQ(got.second, wanted.second);
}

TEST_P(PlaceBeside, RowsThatWereRemovedAreNotWrittenOverThoseThatGotTheirCells) {
  // A hole, so that the rows computed in it take cells of removed ones.
  spans_ = {{0, 90, 0, block_.data(), kTokens, 0}, {100, 90, 0, block_.data(), kTokens, 100}};
  const auto run = [&] {
    EXPECT_TRUE(engine_->RemoveFrom(150).ok());
    const TokenRun hole{90, 100};
    EXPECT_TRUE(engine_->Run(Prompt(), {&hole, 1}).ok());
    return Rows(*engine_, 0, 150);
  };
  ASSERT_TRUE(engine_->Place(spans_).ok());
  const std::vector<std::byte> wanted = run();
  StreamingPlace* const stream = BeginGated();
  engine_->SetLayerHook([&](const LayerView& view) { stream->AwaitLayer(view.layer); });
  const std::vector<std::byte> got = run();
  engine_->SetLayerHook({});
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(got, wanted);
}

TEST_P(PlaceBeside, AStreamThatWasNotFinishedLeavesAnEmptyEngine) {
  BeginGated();
  EXPECT_EQ(engine_->held_tokens(), 190U);
  gate_.release(64);
  stream_.reset();
  EXPECT_EQ(engine_->held_tokens(), 0U);
  // And a usable one.
  EXPECT_TRUE(engine_->RunRest(Prompt()).ok());
}

INSTANTIATE_TEST_SUITE_P(Engines, PlaceBeside,
                         testing::Values(TestEngine::kExact, TestEngine::kExactFlash,
                                         TestEngine::kExactSmallUbatch, TestEngine::kWorker));

TEST(PlaceBesideByState, IsRefusedAndChangesNothing) {
  KVC_NEEDS_MODEL();
  Engine& engine = SharedEngine(TestEngine::kByState);
  ASSERT_TRUE(engine.RunRest(std::span(LongText()).first(20)).ok());
  const SystemClock clock;
  const auto stream = StreamingPlace::Begin(engine, {}, clock);
  ASSERT_FALSE(stream.has_value());
  EXPECT_EQ(stream.error().code(), Code::kUnsupported);
  EXPECT_THAT(stream.error().message(), HasSubstr("state blob"));
  EXPECT_EQ(engine.held_tokens(), 20U);
}

}  // namespace
}  // namespace kvcommons
