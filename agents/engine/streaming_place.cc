#include "agents/engine/streaming_place.h"

#include <numeric>
#include <system_error>
#include <utility>

#include "base/assert.h"

namespace kvcommons {

Result<std::unique_ptr<StreamingPlace>> StreamingPlace::Begin(Engine& engine,
                                                              std::span<const PlaceSpan> spans,
                                                              const Clock& clock,
                                                              const WrapPlacer& wrap) {
  auto placer = engine.PlaceBeside(spans);
  if (!placer) return Fail(placer.error());
  auto stream = std::make_unique<StreamingPlace>(wrap ? wrap(std::move(*placer)) : *placer,
                                                 engine.profile().layer_count, clock);
  stream->engine_ = &engine;
  return stream;
}

StreamingPlace::StreamingPlace(std::shared_ptr<LayerPlacer> placer, std::uint32_t layer_count,
                               const Clock& clock)
    : placer_(std::move(placer)), layer_count_(layer_count), clock_(clock), stall_us_(layer_count) {
  try {
    thread_ = std::thread([this] { PlaceAll(); });
  } catch (const std::system_error&) {
    PlaceAll();  // No thread to be had: before the pass, then.
  }
}

StreamingPlace::~StreamingPlace() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  if (engine_ != nullptr) engine_->Clear();
}

void StreamingPlace::PlaceAll() {
  for (std::uint32_t layer = 0; layer < layer_count_ && !stop_; ++layer) {
    if (Status status = placer_->PlaceLayer(layer); !status.ok()) {
      failure_ = std::move(status);
      failed_.store(true, std::memory_order_release);
      break;
    }
    placed_layers_.store(layer + 1, std::memory_order_release);
    placed_layers_.notify_all();
  }
  placed_layers_.store(layer_count_, std::memory_order_release);
  placed_layers_.notify_all();
}

void StreamingPlace::AwaitLayer(std::uint32_t layer) {
  KVC_ASSERT(layer < layer_count_);
  std::uint32_t placed = placed_layers_.load(std::memory_order_acquire);
  if (placed > layer) return;
  const std::int64_t start_ns = clock_.NowNs();
  for (; placed <= layer; placed = placed_layers_.load(std::memory_order_acquire)) {
    placed_layers_.wait(placed, std::memory_order_acquire);
  }
  stall_us_[layer] += static_cast<double>(clock_.NowNs() - start_ns) / 1e3;
}

Status StreamingPlace::Finish() {
  if (thread_.joinable()) thread_.join();
  if (failure_.ok()) engine_ = nullptr;
  return failure_;
}

double StreamingPlace::total_stall_us() const {
  return std::accumulate(stall_us_.begin(), stall_us_.end(), 0.0);
}

}  // namespace kvcommons
