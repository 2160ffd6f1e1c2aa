// Places rows layer by layer on a thread of its own while a pass runs: whoever computes layer l
// needs the rows of the layers up to l, so placing the others costs no time (CacheBlend's
// pipeline).
//
// The pass's layer hook calls AwaitLayer(), layer 0 included: it returns once the layer's rows are
// in the cache, and what the placing thread wrote happened before that. How long it waited is kept,
// by layer. Rows that a pass computes itself are not written (Engine::PlaceBeside).
//
// Either Finish() says OK, or the engine is empty when this object goes: half placed rows are never
// left behind. An error of placing lets every layer through, so that the pass ends; Finish() then
// says it, and what the pass computed is worth nothing. The thread is joined in any case.
//
// Source: specs: selective recompute §A.1. Thread safety: one thread makes all calls, the engine's.

#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "agents/engine/llama_engine.h"
#include "base/clock.h"

namespace kvcommons {

class StreamingPlace {
 public:
  // What a test puts between the thread and the engine.
  using WrapPlacer =
      std::function<std::shared_ptr<LayerPlacer>(std::shared_ptr<LayerPlacer> placer)>;

  // Claims the cells of `spans`, as Engine::Place() does, and begins with layer 0. kUnsupported by
  // way of the state blob: nothing has changed then. REQUIRES: engine, clock and blocks outlive
  // this.
  static Result<std::unique_ptr<StreamingPlace>> Begin(Engine& engine,
                                                       std::span<const PlaceSpan> spans,
                                                       const Clock& clock,
                                                       const WrapPlacer& wrap = {});
  // Of rows that somebody else claimed.
  StreamingPlace(std::shared_ptr<LayerPlacer> placer, std::uint32_t layer_count,
                 const Clock& clock);
  // Ends behind the layer at hand.
  ~StreamingPlace();
  StreamingPlace(const StreamingPlace&) = delete;
  StreamingPlace& operator=(const StreamingPlace&) = delete;

  // REQUIRES: layer < layer_count.
  void AwaitLayer(std::uint32_t layer);
  // Whether no layer has to be waited for any more.
  bool done() const { return placed_layers_.load(std::memory_order_acquire) >= layer_count_; }
  // Whether AwaitLayer() let a layer through that will never be there: Finish() says why.
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  // Waits for the layers that no pass has asked for.
  Status Finish();

  // Waited for each layer, by AwaitLayer().
  const std::vector<double>& stall_us() const { return stall_us_; }
  double total_stall_us() const;

 private:
  void PlaceAll();

  const std::shared_ptr<LayerPlacer> placer_;
  const std::uint32_t layer_count_;
  const Clock& clock_;
  Engine* engine_ = nullptr;                     // to be cleared where Finish() did not say OK
  std::atomic<std::uint32_t> placed_layers_{0};  // all of them after a failure, too
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  Status failure_;  // the thread's until it ended
  std::vector<double> stall_us_;
  std::thread thread_;
};

}  // namespace kvcommons
