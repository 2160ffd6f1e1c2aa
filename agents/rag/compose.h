// A prompt composed of chunks that were prefilled elsewhere: their rows are placed, a rule says
// which are computed again, one pass computes those and everything that is fresh, and what the
// recomputed rows measure corrects the others before attention reads them.
//
// Nothing that comes out of this is ever stored: blended and corrected rows belong to one request
// (I3). Every selected row runs in all layers, since llama.cpp computes a batch to its end; that is
// what is charged. Evidence of the check layer is gathered in a pass of its own over all rows,
// which costs time that a shorter pass would not; it is charged as what the check layer needs.
//
// Source: specs: selective recompute §1.4, §I. Thread safety: an engine's.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agents/rag/canonical.h"
#include "align/complete/complete.h"
#include "align/select/rule.h"

namespace kvcommons {

struct ComposeOptions {
  std::string rule = "design";
  double budget = 0.17;    // charged
  bool completion = true;  // needs chunks made behind several prefaces
  std::uint64_t seed = 1;  // of the rule `random`
};

struct ComposeReport {
  std::uint32_t total = 0;       // tokens of the prompt
  std::uint32_t reused = 0;      // rows of chunks
  std::uint32_t recomputed = 0;  // of those
  double charged = 0;            // budget, as it was spent
  double look_ms = 0;            // evidence for the rule
  double place_ms = 0;
  double compute_ms = 0;
  double ttft_ms = 0;  // all three and the selection
  // Chunk-layers that completion corrected, and those that its guards left alone.
  std::uint32_t corrected = 0, left_few_rows = 0, left_worse = 0;
};

// Rows of the prompt's beginning that are exact: prefilled once, behind nothing.
struct ExactHead {
  std::vector<TokenId> tokens;
  std::vector<std::byte> block;  // as Engine::ReadRows gives it
};
Result<ExactHead> MakeExactHead(Engine& engine, std::span<const TokenId> tokens);

class Composer {
 public:
  // A prompt is head, chunks, tail (the question, at least one token), in this order.
  Composer(Engine& engine, const ExactHead& head, std::span<const CanonicalChunk* const> chunks,
           std::span<const TokenId> tail);

  // The engine then holds the prompt and has logits of its last token. kInvalidArgument: an unknown
  // rule, a budget out of its limits or below what the rule spends on looking, an empty tail, a
  // prompt longer than the context. kUnsupported: a rule that needs anchor digests.
  Result<ComposeReport> Run(const ComposeOptions& options);

  std::span<const TokenId> prompt() const { return prompt_; }

 private:
  struct Evidence {
    std::vector<float> key_deviation, value_deviation, value_deviation_l1, attention_received,
        question_attention;
    std::vector<ChunkLoadings> loadings;
    std::vector<std::vector<float>> loadings_values, loadings_residue;
  };

  Status PlaceAll();
  Status LookAtQuestion(const SelectNeeds& needs, Evidence& evidence);
  Status LookAtCheckLayer(Evidence& evidence);
  void CopyLoadings(Evidence& evidence) const;
  // Corrects, in one layer of the pass, the rows of every chunk that were not selected.
  void Complete(const LayerView& view, const std::vector<std::vector<std::size_t>>& selected,
                ComposeReport& report) const;

  Engine& engine_;
  const ExactHead& head_;
  std::vector<const CanonicalChunk*> chunks_;
  std::vector<std::vector<std::byte>> blocks_;
  std::vector<SelectChunk> spans_;
  std::vector<TokenId> prompt_;
  std::uint32_t tail_tokens_;
  // By prompt position of a chunk's row: to that position, and back to 0.
  std::vector<RowRotation> to_, back_;
};

}  // namespace kvcommons
