// What happens inside a llama_decode, through llama.cpp's public evaluation callback: where the
// cache lies, which cells a pass writes, its rows' true positions and mask, the layer hook, the
// attention probe.
//
// llama.cpp promises neither node names nor their order. So Engine::Open lets Capture() prove that
// all of them are there, and refuses to work where they are not; a pass in which an expected node
// did not appear is reported by EndPass().
//
// Trap: with ask = true the callback runs *before* the nodes since the last true answer have been
// computed. Inputs (positions, mask, cells) are set by then; anything computed is only read after
// ask = false.
//
// Thread safety: none; used by one context's thread.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "agents/engine/cache_memory.h"
#include "agents/engine/llama_engine.h"

struct ggml_tensor;

namespace kvcommons {

class GraphWatch {
 public:
  // For llama_context_params::cb_eval, with this object as user data.
  static bool Callback(ggml_tensor* node, bool ask, void* self);

  // The rows of one pass, in batch order.
  struct Pass {
    std::span<const Position> positions;
    std::size_t padding = 0;  // rows behind them in the batch that belong to nobody
    // What llama.cpp takes for the positions of the batch's rows, those of padding last. Ascending
    // by one, and none below its row's position: so an input that begins with the next of them is
    // one that has not been put right. Where they differ, it is.
    std::span<const std::int32_t> tickets;
    // Whether llama.cpp's mask opens rows to positions behind their own: it takes all that was held
    // before the pass for what lies before it.
    bool sees_later = false;
    std::span<const Position> hidden;  // rows of the pass do not see these, their own excepted
    // Filled as cells become known.
    std::span<std::int32_t> cell_of_position;
    const LayerHook* hook = nullptr;        // null: none
    const AttentionProbe* probe = nullptr;  // rows and layers ascending; null: none
    std::vector<AttentionWeights>* probed = nullptr;
    std::uint32_t last_layer = ~0u;  // computing ends behind the attention of this one
  };

  // Before the first pass of a context: the next decode records where the cache lies.
  void BeginCapture() {
    *this = GraphWatch();
    mode_ = Mode::kCapture;
  }
  // What it found; layers are those that llama.cpp caches, in order. Empty where something is
  // missing or not in host memory.
  CacheMemory EndCapture(std::uint32_t head_dim);

  void BeginPass(const Pass& pass);
  bool uses_flash() const { return flash_; }
  // Whether rotations alone read positions, by what Capture saw: else a row cannot have other ones
  // than llama.cpp has for it (learned positions, ALiBi, a temperature that depends on them).
  bool can_move() const { return rotates_ && !reads_positions_otherwise_; }
  // True if every row's cell was seen and, where asked for, positions and mask were patched.
  bool EndPass();

 private:
  enum class Mode { kIdle, kCapture, kPass };

  bool Ask(const ggml_tensor* node);
  bool Done(const ggml_tensor* node);
  void NoteKeyWrite(const ggml_tensor* node, const ggml_tensor* indices);
  void NoteReader(const ggml_tensor* node);
  void NoteRotation(const ggml_tensor* node);
  bool PatchesMask() const { return pass_.sees_later || !pass_.hidden.empty(); }
  void PatchMask(const ggml_tensor* mask) const;
  void CallHook();
  bool WantsProbe() const;
  void Probe(const ggml_tensor* node);
  // Softmax weights of one head of the row `batch_row`, for the columns [0, weights.size()).
  void FlashWeights(const ggml_tensor* node, std::uint32_t batch_row, std::uint32_t head,
                    std::span<float> weights) const;
  void SoftMaxWeights(const ggml_tensor* node, std::uint32_t batch_row, std::uint32_t head,
                      std::span<float> weights) const;
  void AddOutput(std::span<const float> weights, std::uint32_t kv_head,
                 std::span<float> output) const;

  Mode mode_ = Mode::kIdle;
  CacheMemory memory_;
  std::uint32_t head_dim_ = 0;
  std::uint32_t value_writes_ = 0;  // seen while capturing
  bool flash_ = false;
  bool attention_seen_ = false;
  bool rotates_ = false, reads_positions_otherwise_ = false;

  Pass pass_;
  std::vector<std::uint32_t> cells_;  // of the pass's rows so far
  std::size_t padding_seen_ = 0;
  std::uint32_t ubatch_begin_ = 0;  // batch index of the current ubatch's first row
  std::uint32_t layer_ = 0;         // of the last key write; an index into memory_.layers
  std::uint32_t patched_end_ = 0;   // rows whose mask is done
  bool moves_ = false;              // tickets are not the positions
  std::size_t moved_end_ = 0;       // rows, with padding, whose positions are done
  bool bad_ = false;
};

}  // namespace kvcommons
