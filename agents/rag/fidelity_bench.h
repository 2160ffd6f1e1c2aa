// What composition costs in quality, on real questions: every case once in full, then composed with
// each rule, budget, variant and completion, compared over full prefill's own continuation.
//
// One JSON line a case comes out, so that a campaign can be stopped, gone on with and put together
// from several runs (fidelity_samples.h, fidelity_report.h). Thread safety: an engine's.

#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agents/rag/cases.h"
#include "agents/rag/compose.h"
#include "agents/rag/fidelity_samples.h"
#include "agents/rag/kept_chunks.h"

namespace kvcommons {

struct FidelityOptions {
  std::vector<std::string> rules = {"design"};
  std::vector<std::string> budgets = {"0.17"};
  std::string completion = "on";  // on, off, both
  // What the rules work on. sink, system: behind these alone, without completion. mean: behind
  // neutral prefaces. near: every other preface of passages that were retrieved with these and are
  // not in the prompt. together: of the prompt's other documents, as after an earlier request that
  // had the same ones.
  std::vector<std::string> variants = {"mean"};
  // Loadings cut to these ranks; 0: as they are. A cut variant is called mean-r4.
  std::vector<std::uint32_t> ranks = {0};
  std::uint32_t forced_tokens = 32;
  std::uint32_t prefaces = 8;  // that a chunk is made behind, each of `passages` passages
  std::uint32_t passages = 3;
  std::uint32_t preface_tokens = 128;  // of a passage, at most
  bool answers = false;                // also generate answers: F1
  bool place_before = false;           // all rows before any pass, not beside the first
  bool timed = false;                  // nothing else runs on this machine
  std::uint64_t seed = 1;
  PromptText prompt;
  std::string chunks_path;  // a folder for what is prepared (kept_chunks.h); empty: not kept
};

// Of the methods that are measured. Lines of different revisions say nothing about each other: one
// more whenever a rule or completion gives other rows.
inline constexpr int kFidelityRevision = 3;

class FidelityBench {
 public:
  // Prefills the prefaces. kInvalidArgument: an unknown rule, variant or completion, a budget out
  // of its limits or left to the controller: cases of one row have one budget. kUnavailable: no
  // folder for chunks.
  static Result<FidelityBench> Create(Engine& engine, const FidelityOptions& options);

  // {"id", "setting", "revision", "model", "method", "seed", "tokens", "reused", "timed",
  // "full_ms",
  //  "prep_ms": {variant: ms}, "rows": [{"variant", "rule", "completion", "budget", "charged",
  //  "kl", "top1", "cosine", ...}], "refused": [{"variant", "rule", "completion", "budget",
  //  "why"}]}. Refused are budgets that a rule's looking exceeds, completion of chunks without
  // loadings, and `near` where too few passages are related.
  // Rows that are `known` are not made again. Null: none is missing, or full prefill has nothing to
  // say. kInvalidArgument: a prompt that is longer than the context.
  Result<nlohmann::json> Measure(const RagCase& rag_case, const std::set<FidelityKey>& known = {});

  // What a line must have been measured with.
  FidelitySamples::Wanted wanted() const;
  // What cases are to be tokenized with.
  const PromptFormat& format() const { return format_; }

 private:
  FidelityBench(Engine& engine, FidelityOptions options, std::vector<double> budgets,
                PromptFormat format)
      : engine_(&engine),
        options_(std::move(options)),
        budgets_(std::move(budgets)),
        format_(std::move(format)) {}

  struct Reference {
    std::vector<TokenId> forced;
    std::vector<std::vector<float>> logits;
    std::vector<std::vector<float>> outputs;  // of attention, by probe
  };

  std::vector<std::vector<TokenId>> NearPrefaces(
      std::span<const std::vector<TokenId>* const> passages) const;
  // Makes the case's chunks behind a variant's prefaces, or finds them among those that are kept.
  // Milliseconds go into `line` where they were made, and "not_kept" where they could not be.
  Result<std::vector<CanonicalChunk>> Prepare(const RagCase& rag_case, const std::string& variant,
                                              nlohmann::json& line);
  Result<std::vector<CanonicalChunk>> MakeChunks(const RagCase& rag_case,
                                                 const std::string& variant);
  // Teacher-forced logits of what the engine holds, and attention outputs beside them.
  Status Force(std::span<const TokenId> prompt, std::span<const TokenId> forced, Reference& into);
  // `stale`: rows that a decode stage repairs meanwhile.
  Result<std::string> Answer(std::span<const TokenId> prompt, const StaleRows& stale);
  Result<nlohmann::json> Row(Composer& composer, const RagCase& rag_case,
                             const Reference& reference, const std::string& variant,
                             const ComposerOptions& options);

  // One variant of a case, at one rank: the rows that are missing, and are to be made.
  struct Missing {
    std::string variant;  // as it is made
    std::string name;     // as rows have it: mean-r4
    std::uint32_t rank = 0;
    std::vector<ComposerOptions> rows;
  };
  std::vector<Missing> MissingOf(const std::set<FidelityKey>& known) const;
  static void Refuse(const Missing& missing, const ComposerOptions& compose, const std::string& why,
                     nlohmann::json& line);
  Status MeasureComposer(Composer& composer, const RagCase& rag_case, const Reference& reference,
                         const Missing& missing, nlohmann::json& line);

  Engine* engine_;
  FidelityOptions options_;
  std::vector<double> budgets_;
  PromptFormat format_;
  std::vector<std::vector<TokenId>> neutral_;
  std::vector<CanonicalMaker> makers_;  // sink, system, mean
  std::optional<KeptChunks> kept_;
};

}  // namespace kvcommons
