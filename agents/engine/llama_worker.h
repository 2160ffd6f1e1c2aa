// The implementation of Engine; only agents/engine includes it.

#pragma once

#include <llama.h>

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agents/engine/cache_memory.h"
#include "agents/engine/cell_claim.h"
#include "agents/engine/claimed_rows.h"
#include "agents/engine/graph_watch.h"
#include "agents/engine/llama_engine.h"
#include "agents/engine/pass_padding.h"

namespace kvcommons {

class LlamaWorker final : public Engine {
 public:
  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options);
  ~LlamaWorker() override;
  LlamaWorker(const LlamaWorker&) = delete;
  LlamaWorker& operator=(const LlamaWorker&) = delete;

  const ModelProfile& profile() const override { return profile_; }
  const CostModel& costs() const override { return costs_; }
  std::uint32_t context_tokens() const override { return profile_.context_tokens; }
  std::uint32_t vocabulary_size() const override { return profile_.vocabulary_size; }
  std::uint32_t held_tokens() const override { return held_tokens_; }
  Position held_end() const override { return held_end_; }

  Result<std::vector<TokenId>> Tokenize(std::string_view text, bool parse_special) const override;
  Result<ChatFrame> FormatChat(std::string_view name,
                               std::optional<std::string_view> system) const override;
  std::vector<TokenId> PromptBegin() const override;
  Result<std::string> Detokenize(std::span<const TokenId> tokens) const override;
  bool EndsGeneration(TokenId token) const override;

  void Clear() override;
  Status RemoveFrom(Position position) override;
  Status Place(std::span<const PlaceSpan> spans) override;
  Status PlaceClaim(std::span<const PlaceSpan> spans) override;
  Status PlaceLayers(std::span<const PlaceSpan> spans, std::uint32_t begin_layer,
                     std::uint32_t end_layer) override;
  Result<std::shared_ptr<LayerPlacer>> PlaceBeside(std::span<const PlaceSpan> spans) override;
  Status ReadRows(Position begin, std::uint32_t count, std::byte* destination) const override;
  Status Run(std::span<const TokenId> prompt, std::span<const TokenRun> runs,
             std::uint32_t logit_rows) override;
  Status RunToken(TokenId token) override;
  std::uint32_t logit_count() const override { return logit_rows_; }
  std::span<const float> Logits(std::uint32_t i) const override;
  std::uint32_t computed_rows() const override { return computed_rows_; }
  void SetLayerHook(LayerHook hook) override { hook_ = std::move(hook); }
  Status ProbeAttention(AttentionProbe probe) override;
  Status RunUpTo(std::uint32_t last, std::span<const TokenId> prompt,
                 std::span<const TokenRun> runs) override;
  Status HideInNextPass(std::vector<Position> positions) override;
  const std::vector<AttentionWeights>& probed() const override { return probed_; }

 private:
  LlamaWorker() = default;
  Status Load(const EngineOptions& options);
  Status MakeContext(const EngineOptions& options, bool flash);
  Status CaptureCache();
  Status ProveCache();
  void MeasureCosts();

  Status RunApart(std::span<const TokenId> tokens, Position first) override;
  Status CheckSpans(std::span<const PlaceSpan> spans) const;
  Status CheckTokens(std::span<const TokenId> tokens, std::size_t offset) const;
  // Computes `runs` (planned) of tokens; tokens[0] has position `first`.
  Status Decode(std::span<const TokenId> tokens, Position first, std::span<const TokenRun> runs,
                std::uint32_t logit_rows);
  // Computes batch_tokens_ at batch_positions_; the batch may get more rows, which nobody keeps.
  // `sees_later`: llama.cpp holds rows at positions behind some of these.
  Status DecodeBatch(bool sees_later);
  std::uint32_t PaddingOf(std::span<const Position> positions) const;
  // Takes these rows out of llama.cpp; the caller's tables are his.
  Status RemoveTickets(Position begin, Position end);
  Status ReadRowsFromState(Position begin, std::uint32_t count, std::byte* destination) const;
  // Gives the rows of a claim by state blob to llama.cpp; without one, nothing.
  Status SettleClaim();
  // A placer beside writes no rows of these runs any more: their cells are about to be free.
  void LeaveOutBeside(std::span<const TokenRun> runs);
  // Counts held rows again after cell_of_position_ changed.
  void NoteHeld();

  struct FreeModel {
    void operator()(llama_model* model) const { llama_model_free(model); }
  };
  struct FreeContext {
    void operator()(llama_context* context) const { llama_free(context); }
  };
  std::unique_ptr<GraphWatch> watch_;  // the context points to it
  std::unique_ptr<llama_model, FreeModel> model_;
  std::unique_ptr<llama_context, FreeContext> context_;
  llama_memory_t memory_ = nullptr;
  const llama_vocab* vocabulary_ = nullptr;

  ModelProfile profile_;
  CostModel costs_;
  PaddingModel padding_model_;
  CacheMemory cache_;
  CellClaim claim_;
  bool in_memory_ = true;              // rows go straight into cache_; else through claim_'s blob
  CacheMemory incoming_;               // the blob's rows, while a claim is open
  std::vector<bool> layers_awaited_;   // of the open claim; empty: none is open
  std::weak_ptr<ClaimedRows> beside_;  // of the last PlaceBeside()
  mutable std::optional<CellClaim::Held>
      read_;  // by ReadRows() from the blob; gone with any change
  mutable std::unordered_map<llama_pos, std::int32_t> cell_of_ticket_;  // of the blob that was read
  std::vector<std::int32_t> cell_of_position_;
  // What llama.cpp takes for the position of each held row. It wants a sequence to go on where it
  // ended, so rows that are computed in between get the next numbers; the pass's true positions and
  // its mask are put in before they are read (GraphWatch).
  std::vector<llama_pos> ticket_of_position_;
  std::uint32_t held_tokens_ = 0;
  Position held_end_ = 0;

  // The batch, reused by every pass.
  std::vector<llama_token> batch_tokens_;
  std::vector<llama_pos> batch_tickets_;  // with those of padding
  std::vector<Position> batch_positions_;
  std::vector<std::int32_t> batch_sequence_counts_;
  std::vector<llama_seq_id> batch_sequences_;
  std::vector<llama_seq_id*> batch_sequence_lists_;
  std::vector<std::int8_t> batch_wants_logits_;

  std::uint32_t logit_rows_ = 0;
  std::uint32_t computed_rows_ = 0;
  LayerHook hook_;
  AttentionProbe probe_;
  std::vector<Position> hidden_;
  std::uint32_t last_layer_ = ~0u;  // where the next pass ends
  std::vector<AttentionWeights> probed_;
};

}  // namespace kvcommons
