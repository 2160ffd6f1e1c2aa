// One llama.cpp context as a worker whose KV rows can be brought from elsewhere, computed at chosen
// positions, and taken out again. llama.cpp is unmodified: public headers only.
//
// Guarantee: what Run() computes equals a prefill in which every row attends to exactly the held
// rows at positions <= its own (I5, I6), whatever mixture of placed and computed rows they are.
//
// A request is: Clear() or RemoveFrom(), Place() what is reused, Run() what is not, Logits(), then
// Run() for every generated token, ReadRows() for what shall be kept. After a failure of Place() or
// Run() the cache is empty and the engine usable; after a refusal (kInvalidArgument) nothing
// changed.
//
// Refused: models whose rows cannot be moved or cut (sliding window, recurrent, hybrid, M-RoPE,
// encoder, latent attention), GGUF files that lie about their size, positions beyond the context,
// token ids beyond the vocabulary, runs that would attend to a position that nobody holds.
//
// Thread safety: none; one thread at a time, but for a LayerPlacer's. Several engines in a process
// are fine.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/chat_format.h"
#include "align/cost_model.h"
#include "align/gate.h"
#include "align/model_profile.h"
#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

enum class FlashAttention : std::uint8_t { kAuto, kOn, kOff };  // kAuto: on where llama.cpp can

// How placed rows get in: straight into the cache's memory, or through llama.cpp's state blob,
// which copies twice and knows no layer hook and no probe. kAuto: the first that proves itself at
// Open.
enum class PlaceVia : std::uint8_t { kAuto, kMemory, kStateBlob };

struct EngineOptions {
  std::string model_path;
  std::uint32_t context_tokens = 0;          // 0: the model's, at most 8,192; rounded up to 256
  std::uint32_t threads = 0;                 // 0: all of the machine
  ElementType kv_type = ElementType::kFp16;  // or kFp32
  FlashAttention flash = FlashAttention::kAuto;
  PlaceVia place_via = PlaceVia::kAuto;
  std::uint32_t block_tokens = 64;    // of the profile: 16 to 256
  std::uint32_t ubatch_tokens = 512;  // 1 to context; how many rows llama.cpp computes at once
  bool measure_costs = true;          // about 0.3 s at Open; otherwise costs() has its defaults
};

// Rows [begin, begin + count) of the prompt, which lie at rows first_row ... of a block in the
// store's layout: plane p of the block starts at block + PlaneLayout::PlaneOffset(p, block_tokens).
struct PlaceSpan {
  Position begin = 0;
  std::uint32_t count = 0;
  Position delta = 0;  // begin - origin position of row first_row: keys are rotated by it
  const std::byte* block = nullptr;
  std::uint32_t block_tokens = 0;  // tokens of this block (a short block has fewer)
  std::uint32_t first_row = 0;
};

// Positions [begin, end) of the prompt that Run() computes.
struct TokenRun {
  Position begin = 0;
  Position end = 0;
};

// One layer's rows in the cache, inside a pass: after the pass wrote its own rows, before attention
// reads them. Valid during the call only.
class LayerView {
 public:
  std::uint32_t layer = 0;
  // The rows of this pass so far, this layer's included, ascending within a pass; cells[i] holds
  // positions[i].
  std::span<const Position> positions;
  std::span<const std::uint32_t> cells;
  // Cell of every held position, -1 where none is: for changing rows that the pass does not
  // compute.
  std::span<const std::int32_t> cell_of_position;

  std::byte* key = nullptr;  // cell c's row at key + c * row_bytes, rotated for its position
  std::byte* value =
      nullptr;  // the same; or, transposed, element e at value + (e * cell_count + c) * element
  bool value_transposed = false;
  std::uint32_t cell_count = 0;
  std::uint32_t row_elements = 0;  // kv_head_count * head_dim
  ElementType type = ElementType::kFp16;

  // Rows as fp32, row_elements long, whatever the type and the layout.
  void ReadKey(std::uint32_t cell, std::span<float> row) const;
  void ReadValue(std::uint32_t cell, std::span<float> row) const;
  void WriteKey(std::uint32_t cell, std::span<const float> row) const;
  void WriteValue(std::uint32_t cell, std::span<const float> row) const;
};

using LayerHook = std::function<void(const LayerView& view)>;

// What a probe looks at in a pass, and what it keeps.
struct AttentionProbe {
  std::vector<Position> rows;  // those that the pass does not compute give nothing
  std::vector<std::uint32_t> layers;
  bool sum_rows = false;  // one result a layer, the sum over the rows, instead of one for each
  bool outputs = false;   // also what each row reads: Σ weight × V
};

// Softmax attention of one computed row in one layer, or of several summed.
struct AttentionWeights {
  static constexpr Position kSum = -1;

  std::uint32_t layer = 0;
  Position row = 0;              // or kSum
  std::uint32_t head_count = 0;  // query heads
  std::uint32_t columns = 0;     // positions 0 .. row, or .. the last summed row
  std::vector<float> weights;    // [head][columns]; 0 where no row is held
  std::vector<float> outputs;    // [head][head_dim], where asked for
};

// A claim's rows on their way into the cache, beside passes: see Engine::PlaceBeside().
class LayerPlacer {
 public:
  virtual ~LayerPlacer() = default;
  // Any one thread's, also while the engine's is in a pass.
  virtual Status PlaceLayer(std::uint32_t layer) = 0;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options);
  virtual ~Engine() = default;

  virtual const ModelProfile& profile() const = 0;
  virtual const CostModel& costs() const = 0;
  virtual std::uint32_t context_tokens() const = 0;
  virtual std::uint32_t vocabulary_size() const = 0;
  // How many positions the cache holds, and one past the highest of them.
  virtual std::uint32_t held_tokens() const = 0;
  virtual Position held_end() const = 0;

  // `parse_special`: "<|im_start|>" in the text becomes its control token. Text up to 16 MiB. Adds
  // no BOS.
  virtual Result<std::vector<TokenId>> Tokenize(std::string_view text,
                                                bool parse_special) const = 0;
  virtual Result<std::string> Detokenize(std::span<const TokenId> tokens) const = 0;
  virtual bool EndsGeneration(TokenId token) const = 0;
  // The model's chat format (`name` as in MakeChatFrame; no `system`: the model's own), and the
  // token that its prompts begin with, where its vocabulary asks for one.
  virtual Result<ChatFrame> FormatChat(std::string_view name,
                                       std::optional<std::string_view> system) const = 0;
  virtual std::vector<TokenId> PromptBegin() const = 0;

  // Forgets all rows.
  virtual void Clear() = 0;
  // Forgets the rows at positions >= `position`.
  virtual Status RemoveFrom(Position position) = 0;

  // Replaces everything the cache holds by these spans: ascending, disjoint, within the context.
  // Rows go straight into the cache's memory, keys rotated on the way; delta 0 copies bits.
  virtual Status Place(std::span<const PlaceSpan> spans) = 0;
  // The same in pieces, for rows that arrive layer by layer: PlaceClaim() first, then PlaceLayers()
  // with the same spans over [0, layers) in any order. Until then the rows' content is undefined.
  virtual Status PlaceClaim(std::span<const PlaceSpan> spans) = 0;
  virtual Status PlaceLayers(std::span<const PlaceSpan> spans, std::uint32_t begin_layer,
                             std::uint32_t end_layer) = 0;
  // Claims as PlaceClaim() does, for rows that are written while passes run. The rows that a pass
  // computes are left out from its beginning on, as are those that are removed. Before a pass reads
  // a layer its rows have to be there, from its hook at the latest: StreamingPlace sees to it.
  // kUnsupported by way of the state blob, where nothing has changed then. REQUIRES: engine and
  // blocks outlive the placer's use.
  virtual Result<std::shared_ptr<LayerPlacer>> PlaceBeside(std::span<const PlaceSpan> spans) = 0;

  // Copies the rows [begin, begin + count) out in the store's layout, as one block of `count`
  // tokens. REQUIRES: destination has profile().planes().BlockBytes(count) bytes. Fails on a row
  // not held.
  virtual Status ReadRows(Position begin, std::uint32_t count, std::byte* destination) const = 0;

  // Computes the tokens of `runs` (ascending, disjoint, not empty) of the prompt in one pass. Rows
  // that the cache holds at those positions are replaced; all others stay. Every position before
  // the last run's end must be held or computed. `logit_rows`: how many of the last computed rows
  // get logits.
  virtual Status Run(std::span<const TokenId> prompt, std::span<const TokenRun> runs,
                     std::uint32_t logit_rows = 1) = 0;
  // The same up to the attention of layer `last`, and then forgets the rows it computed: for a
  // probe or a hook that needs no more. kUnsupported by way of the state blob.
  virtual Status RunUpTo(std::uint32_t last, std::span<const TokenId> prompt,
                         std::span<const TokenRun> runs) = 0;
  // A prompt's rows [held_end(), prompt.size()): the plain continuation.
  Status RunRest(std::span<const TokenId> prompt, std::uint32_t logit_rows = 1);
  // The next token at position held_end(), with logits: one step of generation.
  virtual Status RunToken(TokenId token) = 0;

  // Logits of the i-th row that got some in the last Run; valid until the next one.
  // REQUIRES: i < logit_count().
  virtual std::uint32_t logit_count() const = 0;
  virtual std::span<const float> Logits(std::uint32_t i) const = 0;
  // The most probable token after the last row; the lowest id on a tie. REQUIRES: logit_count() >
  // 0.
  TokenId Greedy() const;
  // Greedy tokens after the last Run, at most `count`, ending before an end-of-generation token or
  // the context's end. The rows of all but the last token are then held.
  Result<std::vector<TokenId>> Generate(std::uint32_t count);

  // How many rows the last Run computed.
  virtual std::uint32_t computed_rows() const = 0;

  // Called in every pass, once a layer and ubatch; empty: none. By way of the state blob a pass
  // with a hook is refused (kUnsupported).
  virtual void SetLayerHook(LayerHook hook) = 0;

  // Records softmax attention during the next pass only. kUnsupported by way of the state blob.
  virtual Status ProbeAttention(AttentionProbe probe) = 0;
  // In the next pass only, no row attends to these positions, its own excepted; with flash
  // attention a probe scores them all the same. kUnsupported by way of the state blob and without
  // flash attention, whose weights are what the mask left.
  virtual Status HideInNextPass(std::vector<Position> positions) = 0;
  // What the last Run recorded, by layer, then row.
  virtual const std::vector<AttentionWeights>& probed() const = 0;

  // Runs one fixed prompt at shifted positions and judges the rotation of this profile on this
  // model (align/gate.h). Empties the cache.
  Result<GateReport> RunGate();

 protected:
  // The gate's probe: tokens at positions first, first + 1, ... of an empty cache, none of which
  // sees another. REQUIRES: tokens are not empty.
  virtual Status RunApart(std::span<const TokenId> tokens, Position first) = 0;
};

}  // namespace kvcommons
