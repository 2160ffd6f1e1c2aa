// A prompt composed of chunks that were prefilled elsewhere: their rows are placed, a rule says
// which are computed again, one pass computes those and everything that is fresh, and what the
// recomputed rows measure corrects the others before attention reads them.
//
// Nothing that comes out of this is ever stored: blended and corrected rows belong to one request
// (I3). Looking costs what it is charged by: the question runs up to the last layer that the rule
// wants to see, the check layer's pass ends there. Selected rows run in all layers, since llama.cpp
// computes a batch to its end; that is what is charged. Completion waits until a layer has all of
// them: of a pass of more rows than the engine's ubatch, earlier ubatches read the others as
// stored.
//
// Rows are placed beside the first pass that needs them, a layer ahead of it: the question's where
// a rule looks at it, otherwise the one that computes. Bits are the same as when all are placed
// before. Where rows go by the state blob they are placed before.
//
// Source: specs: selective recompute §1.4, §1.6, §I. Thread safety: an engine's.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/streaming_place.h"
#include "agents/rag/auto_budget.h"
#include "agents/rag/compose_chunk.h"
#include "align/select/decode_stage.h"
#include "align/select/rule.h"
#include "kernels/complete.h"

namespace kvcommons {

struct ComposerOptions {
  std::string rule = "design";
  double budget = 0.17;  // charged
  // Needs chunks made behind several prefaces; others are left alone. Off: the rule's own, if it
  // has one (SelectNeeds::own_completion).
  bool completion = true;
  std::uint64_t seed = 1;                                // of the rule `random`
  bool place_beside = true;                              // false: all rows before any pass
  std::optional<AutoBudget> auto_budget = std::nullopt;  // instead of `budget`
  StreamingPlace::WrapPlacer wrap_placer = {};           // of a test
};

struct ComposeReport {
  std::uint32_t total = 0;                  // tokens of the prompt
  std::uint32_t reused = 0;                 // rows of chunks
  std::uint32_t recomputed = 0;             // of those
  double charged = 0;                       // budget, as it was spent
  std::optional<BudgetChoice> budget_auto;  // where the controller chose it
  // Evidence for the rule: what it took when it was gathered, which is once for a composer.
  double look_ms = 0;
  double select_ms = 0;
  double place_ms = 0;     // before any pass: cells, and all rows unless they go beside one
  double compute_ms = 0;   // the pass, completion included
  double complete_ms = 0;  // of that, completion
  // [layer]: passes waited for rows that were placed beside them, which no other time here has in
  // it. Empty: all were placed before.
  std::vector<double> stall_ms;
  double ttft_ms = 0;  // all of the above once

  // Planes (keys, values) of a layer of a chunk that completion corrected, residual or the rule's
  // own, and those that it left alone: its guards, no probes, or no loadings.
  std::uint32_t corrected = 0, left_few_rows = 0, left_worse = 0, left_without_loadings = 0;
  // Summed over layers: rows that were corrected, and those of the same chunks too wild for it.
  std::uint64_t corrected_rows = 0, left_wild_rows = 0;
  // What a rule with a decode stage has repaired while the answer is made (DecodeRepair); else
  // empty.
  StaleRows stale;
  // Of each chunk: what its recomputed rows were off by, the root mean square over rows, numbers
  // and the layers behind the first; 0 where none were. Empty without completion.
  std::vector<double> deviation;
};

double StallTotalMs(std::span<const double> stall_ms);  // of a report

// Rows of the prompt's beginning that are exact: prefilled once, behind nothing.
struct ExactHead {
  std::vector<TokenId> tokens;
  std::vector<std::byte> block;  // as Engine::ReadRows gives it

  PlaceSpan span() const {
    const auto rows = static_cast<std::uint32_t>(tokens.size());
    return {0, rows, 0, block.data(), rows, 0};
  }
};
Result<ExactHead> MakeExactHead(Engine& engine, std::span<const TokenId> tokens);

// A prompt and where its rows come from. What neither an exact span nor a chunk covers is fresh: it
// is computed. The question is its end: whatever is fresh there, or less where it is known to begin
// later (behind a document that is not stored, say).
struct ComposePrompt {
  std::vector<TokenId> tokens;
  std::vector<PlaceSpan> exact;      // ascending, disjoint
  std::vector<ComposeChunk> chunks;  // ascending, disjoint, between and behind them
  Position question_begin = 0;
};

class Composer {
 public:
  // The rows must outlive the composer.
  Composer(Engine& engine, ComposePrompt prompt);

  // The engine then holds the prompt and has logits of its last token. kInvalidArgument: an unknown
  // rule, one that takes no budget where the controller is to choose it, a budget out of its limits
  // or below what the rule spends on looking, a prompt that does not end in a fresh token, an empty
  // chunk, spans that overlap, a prompt longer than the context. kUnsupported: a rule that needs
  // anchors, without flash attention.
  Result<ComposeReport> Run(const ComposerOptions& options);

  std::span<const TokenId> prompt() const { return prompt_.tokens; }

 private:
  struct CheckEvidence {
    std::vector<float> key_deviation, value_deviation, value_deviation_l1, attention_received;
    double took_ms = 0;
  };
  struct QuestionEvidence {
    std::vector<std::uint32_t> layers;
    bool anchored = false;
    std::vector<float> attention;  // [layer][reused row]
    double took_ms = 0;
  };

  Status Check(const ComposerOptions& options) const;
  std::vector<PlaceSpan> AllSpans() const;
  // Null: all rows are placed.
  Result<std::unique_ptr<StreamingPlace>> BeginToPlace(const ComposerOptions& options);
  Result<const QuestionEvidence*> LookAtQuestion(const std::vector<std::uint32_t>& layers,
                                                 bool anchored, StreamingPlace* stream);
  // Rows of chunks that are no anchors: a chunk's anchors are the kAnchorShare of its rows with the
  // smallest keys in the middle layer, which are those that attract attention (QCFuse's demo ranks
  // anchors by key norm; its release by attention received while the chunk is repeated).
  std::vector<Position> RowsWithoutAnchors() const;
  Result<const CheckEvidence*> LookAtCheckLayer(bool with_attention);
  // Appends what each reused row receives, summed over heads and times `share`.
  void AddAttention(const AttentionWeights& weights, float share, std::vector<float>& into) const;
  // Mean loadings of every chunk, gathered from its parts.
  std::vector<ChunkLoadings> MeanLoadingsOfChunks();
  void FindFresh();
  // At least the last token.
  TokenRun question() const {
    const TokenRun last = fresh_.back();
    return {std::clamp(prompt_.question_begin, last.begin, last.end - 1), last.end};
  }
  // What the selected rows of chunk `index` are off by in one layer of a pass.
  std::vector<float> Measure(const ChunkInLayer& chunk, std::size_t index,
                             const std::vector<std::size_t>& selected);
  // Corrects, in one layer of a pass, the rows of chunk `index` that were not selected: by residual
  // completion, or by the shift whose weights these are.
  void Complete(const LayerView& view, std::size_t index, const std::vector<std::size_t>& selected,
                ComposeReport& report);
  void Shift(const LayerView& view, std::size_t index, const std::vector<std::size_t>& selected,
             const std::vector<float>& loadings, ComposeReport& report);

  Engine& engine_;
  ComposePrompt prompt_;
  std::vector<SelectChunk> spans_;  // of the chunks
  std::vector<TokenRun> fresh_;     // ascending; the last is the question
  std::uint32_t fresh_tokens_ = 0;
  Status malformed_;                               // what the constructor found
  std::vector<std::vector<float>> mean_loadings_;  // a chunk each, once gathered
  std::optional<CheckEvidence> check_, attended_check_;
  std::vector<std::unique_ptr<QuestionEvidence>> questions_;
  RowRotations rotations_;        // of the longest part
  std::vector<double> measured_;  // a chunk each: Σ‖residual‖² of this pass
};

}  // namespace kvcommons
