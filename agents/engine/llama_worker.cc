#include "agents/engine/llama_worker.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "agents/engine/llama_log.h"
#include "agents/engine/run_plan.h"
#include "base/assert.h"

namespace kvcommons {
namespace {

constexpr std::size_t kMaxTextBytes = 16U << 20;

constexpr llama_seq_id kPaddingSequence = 1;  // sequence 0 has all rows that anybody keeps

std::string Text(const PlaceSpan& span) {
  return "span at " + std::to_string(span.begin) + " of " + std::to_string(span.count) + " rows";
}

}  // namespace

LlamaWorker::~LlamaWorker() = default;

// ---- text

Result<std::vector<TokenId>> LlamaWorker::Tokenize(std::string_view text,
                                                   bool parse_special) const {
  if (text.size() > kMaxTextBytes) {
    return Fail(InvalidArgument("text has " + std::to_string(text.size()) +
                                " bytes; the limit is " + std::to_string(kMaxTextBytes)));
  }
  std::vector<TokenId> tokens(text.size() + 8);
  const std::int32_t count =
      llama_tokenize(vocabulary_, text.data(), static_cast<std::int32_t>(text.size()),
                     tokens.data(), static_cast<std::int32_t>(tokens.size()),
                     /*add_special=*/false, parse_special);
  if (count < 0) {
    // More tokens than bytes: nothing we know does it, but the vocabulary decides, not we.
    tokens.resize(static_cast<std::size_t>(-static_cast<std::int64_t>(count)));
    const std::int32_t again = llama_tokenize(
        vocabulary_, text.data(), static_cast<std::int32_t>(text.size()), tokens.data(),
        static_cast<std::int32_t>(tokens.size()), false, parse_special);
    if (again < 0) return Fail(Internal("llama.cpp cannot tokenize this text"));
    tokens.resize(static_cast<std::size_t>(again));
    return tokens;
  }
  tokens.resize(static_cast<std::size_t>(count));
  return tokens;
}

Result<std::string> LlamaWorker::Detokenize(std::span<const TokenId> tokens) const {
  KVC_FAIL_IF_ERROR(CheckTokens(tokens, 0));
  std::string text;
  char piece[256];
  for (const TokenId token : tokens) {
    const std::int32_t bytes =
        llama_token_to_piece(vocabulary_, token, piece, sizeof piece, 0, /*special=*/true);
    if (bytes >= 0) {
      text.append(piece, static_cast<std::size_t>(bytes));
      continue;
    }
    std::string longer(static_cast<std::size_t>(-bytes), '\0');
    const std::int32_t again = llama_token_to_piece(
        vocabulary_, token, longer.data(), static_cast<std::int32_t>(longer.size()), 0, true);
    if (again > 0) text.append(longer, 0, static_cast<std::size_t>(again));
  }
  return text;
}

bool LlamaWorker::EndsGeneration(TokenId token) const {
  return token >= 0 && token < static_cast<TokenId>(vocabulary_size()) &&
         llama_vocab_is_eog(vocabulary_, token);
}

Result<ChatFrame> LlamaWorker::FormatChat(std::string_view name,
                                          std::optional<std::string_view> system) const {
  const char* const own = llama_model_chat_template(model_.get(), nullptr);
  return MakeChatFrame(own, name, system.value_or(DefaultSystemOf(own)));
}

std::vector<TokenId> LlamaWorker::PromptBegin() const {
  const TokenId begin = llama_vocab_bos(vocabulary_);
  if (!llama_vocab_get_add_bos(vocabulary_) || begin < 0) return {};
  return {begin};
}

Status LlamaWorker::CheckTokens(std::span<const TokenId> tokens, std::size_t offset) const {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    // llama.cpp would refuse these too, but with a number of its own and no place.
    if (tokens[i] < 0 || tokens[i] >= static_cast<TokenId>(vocabulary_size())) {
      return InvalidArgument("token " + std::to_string(offset + i) + " is " +
                             std::to_string(tokens[i]) + "; the limit is 0 to " +
                             std::to_string(vocabulary_size() - 1));
    }
  }
  return Status();
}

// ---- rows in and out

void LlamaWorker::Clear() {
  const TokenRun all{0, static_cast<Position>(context_tokens())};
  LeaveOutBeside({&all, 1});
  beside_.reset();
  layers_awaited_.clear();
  read_.reset();
  llama_memory_clear(memory_, /*data=*/false);
  std::fill(cell_of_position_.begin(), cell_of_position_.end(), -1);
  held_tokens_ = 0;
  held_end_ = 0;
}

void LlamaWorker::NoteHeld() {
  held_tokens_ = 0;
  held_end_ = 0;
  for (std::size_t p = 0; p < cell_of_position_.size(); ++p) {
    if (cell_of_position_[p] < 0) continue;
    ++held_tokens_;
    held_end_ = static_cast<Position>(p) + 1;
  }
}

Status LlamaWorker::RemoveFrom(Position position) {
  if (position < 0) {
    return InvalidArgument("position is " + std::to_string(position) + "; the least is 0");
  }
  if (position >= held_end_) return Status();
  KVC_RETURN_IF_ERROR(SettleClaim());
  read_.reset();
  const TokenRun removed{position, held_end_};
  LeaveOutBeside({&removed, 1});
  KVC_RETURN_IF_ERROR(RemoveTickets(position, held_end_));
  std::fill(cell_of_position_.begin() + position, cell_of_position_.end(), -1);
  NoteHeld();
  return Status();
}

Status LlamaWorker::RemoveTickets(Position begin, Position end) {
  for (Position p = begin; p < end;) {
    const auto at = static_cast<std::size_t>(p);
    Position next = p + 1;
    if (cell_of_position_[at] >= 0) {
      const llama_pos ticket = ticket_of_position_[at];
      const auto follows = [&](Position q) {
        const auto index = static_cast<std::size_t>(q);
        return cell_of_position_[index] >= 0 && ticket_of_position_[index] == ticket + (q - p);
      };
      while (next < end && follows(next)) ++next;
      if (!llama_memory_seq_rm(memory_, 0, ticket, ticket + (next - p))) {
        Clear();
        return Internal("llama.cpp cannot remove rows from " + std::to_string(p));
      }
    }
    p = next;
  }
  return Status();
}

Status LlamaWorker::CheckSpans(std::span<const PlaceSpan> spans) const {
  std::int64_t at = 0;
  const std::int64_t context = context_tokens();
  for (const PlaceSpan& span : spans) {
    if (span.begin < at) {
      return InvalidArgument(Text(span) + " is out of order or overlaps; spans ascend from " +
                             std::to_string(at));
    }
    if (span.count < 1 || span.begin + std::int64_t{span.count} > context) {
      return InvalidArgument(Text(span) + " does not fit; the limit is position " +
                             std::to_string(context));
    }
    if (span.block == nullptr || span.block_tokens > 65536 ||
        std::uint64_t{span.first_row} + span.count > span.block_tokens) {
      return InvalidArgument(Text(span) + " takes rows from " + std::to_string(span.first_row) +
                             " of a block of " + std::to_string(span.block_tokens));
    }
    if (span.delta <= -context || span.delta >= context || span.begin - span.delta < 0) {
      return InvalidArgument(Text(span) + " has delta " + std::to_string(span.delta) +
                             "; the limit is " + std::to_string(1 - context) + " to " +
                             std::to_string(span.begin));
    }
    if (span.delta != 0 && profile_.omega.empty()) {
      return Unsupported(Text(span) + " has delta " + std::to_string(span.delta) +
                         ", but keys of this model cannot be moved: " + profile_.omega_refusal);
    }
    at = span.begin + std::int64_t{span.count};
  }
  return Status();
}

Status LlamaWorker::PlaceClaim(std::span<const PlaceSpan> spans) {
  KVC_RETURN_IF_ERROR(CheckSpans(spans));
  Clear();
  std::vector<Position> positions;
  for (const PlaceSpan& span : spans) {
    for (std::uint32_t i = 0; i < span.count; ++i) {
      positions.push_back(span.begin + static_cast<Position>(i));
    }
  }
  if (positions.empty()) return Status();
  if (!in_memory_) {
    incoming_ = claim_.Begin(positions);
    layers_awaited_.assign(profile_.layer_count, true);
  } else if (Status status = claim_.Claim(context_.get(), positions); !status.ok()) {
    Clear();
    return status;
  }
  // An empty cache fills its cells from 0 in the blob's order; ProveCache() checked it.
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const auto at = static_cast<std::size_t>(positions[i]);
    cell_of_position_[at] = static_cast<std::int32_t>(i);
    ticket_of_position_[at] = positions[i];
  }
  NoteHeld();
  return Status();
}

Status LlamaWorker::PlaceLayers(std::span<const PlaceSpan> spans, std::uint32_t begin_layer,
                                std::uint32_t end_layer) {
  KVC_RETURN_IF_ERROR(CheckSpans(spans));
  if (begin_layer > end_layer || end_layer > profile_.layer_count) {
    return InvalidArgument("layers [" + std::to_string(begin_layer) + ", " +
                           std::to_string(end_layer) + "); the limit is " +
                           std::to_string(profile_.layer_count));
  }
  for (const PlaceSpan& span : spans) {
    for (std::uint32_t i = 0; i < span.count; ++i) {
      if (cell_of_position_[static_cast<std::size_t>(span.begin) + i] < 0) {
        return InvalidArgument(Text(span) + " was not claimed; call PlaceClaim() first");
      }
    }
  }
  if (!in_memory_ && !spans.empty() && layers_awaited_.empty()) {
    return InvalidArgument("the rows of this claim were given to llama.cpp already");
  }
  ClaimedRows(in_memory_ ? cache_ : incoming_, profile_, spans, cell_of_position_)
      .Write(begin_layer, end_layer);
  if (layers_awaited_.empty()) return Status();
  std::fill(layers_awaited_.begin() + begin_layer, layers_awaited_.begin() + end_layer, false);
  const bool complete =
      std::find(layers_awaited_.begin(), layers_awaited_.end(), true) == layers_awaited_.end();
  return complete ? SettleClaim() : Status();
}

Result<std::shared_ptr<LayerPlacer>> LlamaWorker::PlaceBeside(std::span<const PlaceSpan> spans) {
  if (!in_memory_) {
    return Fail(Unsupported(
        "rows are placed beside a pass in the cache's memory, and go by the state blob here"));
  }
  KVC_FAIL_IF_ERROR(PlaceClaim(spans));
  auto rows = std::make_shared<ClaimedRows>(cache_, profile_, spans, cell_of_position_);
  beside_ = rows;
  return rows;
}

void LlamaWorker::LeaveOutBeside(std::span<const TokenRun> runs) {
  if (const auto beside = beside_.lock()) beside->LeaveOut(runs);
}

Status LlamaWorker::SettleClaim() {
  if (layers_awaited_.empty()) return Status();
  layers_awaited_.clear();
  read_.reset();
  Status settled = claim_.Finish(context_.get());
  if (!settled.ok()) Clear();
  return settled;
}

Status LlamaWorker::Place(std::span<const PlaceSpan> spans) {
  KVC_RETURN_IF_ERROR(PlaceClaim(spans));
  return PlaceLayers(spans, 0, profile_.layer_count);
}

Status LlamaWorker::ReadRows(Position begin, std::uint32_t count, std::byte* destination) const {
  if (begin < 0 || count < 1 || begin + std::int64_t{count} > std::int64_t{context_tokens()}) {
    return InvalidArgument("rows from " + std::to_string(begin) + ", " + std::to_string(count) +
                           " of them; the limit is position " + std::to_string(context_tokens()));
  }
  const std::span<const std::int32_t> cells =
      std::span(cell_of_position_).subspan(static_cast<std::size_t>(begin), count);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (cells[i] < 0) {
      return NotFound("position " + std::to_string(begin + static_cast<Position>(i)) +
                      " is not held");
    }
  }
  if (!in_memory_) return ReadRowsFromState(begin, count, destination);
  const std::size_t row_bytes = cache_.row_bytes();
  for (std::uint32_t layer = 0; layer < profile_.layer_count; ++layer) {
    std::byte* keys = destination + 2 * layer * row_bytes * count;
    std::byte* values = keys + row_bytes * count;
    ForCellStretches(cells, [&](std::uint32_t cell, std::uint32_t first, std::uint32_t rows) {
      cache_.ReadKeys(layer, cell, rows, keys + first * row_bytes);
      cache_.ReadValues(layer, cell, rows, values + first * row_bytes);
    });
  }
  return Status();
}

Status LlamaWorker::ReadRowsFromState(Position begin, std::uint32_t count,
                                      std::byte* destination) const {
  if (!layers_awaited_.empty()) {
    return InvalidArgument("rows are read before all layers of a claim were placed");
  }
  if (!read_.has_value()) {
    Result<CellClaim::Held> held = claim_.Read(context_.get());
    if (!held) return held.error();
    read_ = std::move(*held);
    cell_of_ticket_.clear();
    for (std::size_t cell = 0; cell < read_->positions.size(); ++cell) {
      cell_of_ticket_[read_->positions[cell]] = static_cast<std::int32_t>(cell);
    }
  }
  std::vector<std::int32_t> cells(count, -1);
  for (std::uint32_t row = 0; row < count; ++row) {
    const auto found =
        cell_of_ticket_.find(ticket_of_position_[static_cast<std::size_t>(begin) + row]);
    if (found != cell_of_ticket_.end()) cells[row] = found->second;
  }
  if (std::find(cells.begin(), cells.end(), -1) != cells.end()) {
    return Internal("llama.cpp's sequence state lacks rows that it should hold");
  }
  const std::size_t row_bytes = cache_.row_bytes();
  for (std::uint32_t layer = 0; layer < profile_.layer_count; ++layer) {
    std::byte* keys = destination + 2 * layer * row_bytes * count;
    std::byte* values = keys + row_bytes * count;
    ForCellStretches(cells, [&](std::uint32_t cell, std::uint32_t first, std::uint32_t rows) {
      read_->rows.ReadKeys(layer, cell, rows, keys + first * row_bytes);
      read_->rows.ReadValues(layer, cell, rows, values + first * row_bytes);
    });
  }
  return Status();
}

// ---- computing

Status LlamaWorker::Run(std::span<const TokenId> prompt, std::span<const TokenRun> runs,
                        std::uint32_t logit_rows) {
  if (prompt.size() > context_tokens()) {
    return InvalidArgument("prompt has " + std::to_string(prompt.size()) +
                           " tokens; the limit is " + std::to_string(context_tokens()));
  }
  const Result<std::vector<TokenRun>> plan = PlanRuns(runs, prompt.size(), cell_of_position_);
  if (!plan) return plan.error();
  return Decode(prompt, 0, *plan, logit_rows);
}

Status LlamaWorker::RunUpTo(std::uint32_t last, std::span<const TokenId> prompt,
                            std::span<const TokenRun> runs) {
  if (!in_memory_) {
    return Unsupported("a pass is cut short in the cache's memory, and rows go by the state blob");
  }
  if (last >= profile_.layer_count) {
    return InvalidArgument("the last layer is " + std::to_string(last) + "; the limit is 0 to " +
                           std::to_string(profile_.layer_count - 1));
  }
  last_layer_ = last;
  const Status ran = Run(prompt, runs, 1);
  last_layer_ = ~0u;
  KVC_RETURN_IF_ERROR(ran);
  // Their deeper layers hold whatever lay in those cells before.
  logit_rows_ = 0;
  for (const Position position : batch_positions_) {
    KVC_RETURN_IF_ERROR(RemoveTickets(position, position + 1));
    cell_of_position_[static_cast<std::size_t>(position)] = -1;
  }
  NoteHeld();
  return Status();
}

Status LlamaWorker::RunToken(TokenId token) {
  if (held_tokens_ != static_cast<std::uint32_t>(held_end_)) {
    return InvalidArgument("the cache has holes below position " + std::to_string(held_end_) +
                           "; compute them first");
  }
  if (held_end_ >= static_cast<Position>(context_tokens())) {
    return Exhausted("the context of " + std::to_string(context_tokens()) + " tokens is full");
  }
  const TokenRun run{held_end_, held_end_ + 1};
  return Decode(std::span(&token, 1), held_end_, std::span(&run, 1), 1);
}

Status LlamaWorker::RunApart(std::span<const TokenId> tokens, Position first) {
  KVC_ASSERT(!tokens.empty());
  if (first < 0 ||
      first + static_cast<std::int64_t>(tokens.size()) > std::int64_t{context_tokens()}) {
    return InvalidArgument("tokens at " + std::to_string(first) + " do not fit the context");
  }
  KVC_RETURN_IF_ERROR(CheckTokens(tokens, 0));
  Clear();
  batch_tokens_.assign(tokens.begin(), tokens.end());
  batch_positions_.resize(tokens.size());
  std::iota(batch_positions_.begin(), batch_positions_.end(), first);
  hidden_ = batch_positions_;
  batch_wants_logits_.assign(tokens.size(), 0);
  logit_rows_ = 0;
  computed_rows_ = static_cast<std::uint32_t>(tokens.size());
  KVC_RETURN_IF_ERROR(DecodeBatch(false));
  NoteHeld();
  return Status();
}

Status LlamaWorker::Decode(std::span<const TokenId> tokens, Position first,
                           std::span<const TokenRun> runs, std::uint32_t logit_rows) {
  std::size_t rows = 0;
  for (const TokenRun& run : runs) {
    const auto begin = static_cast<std::size_t>(run.begin - first);
    const auto count = static_cast<std::size_t>(run.end - run.begin);
    KVC_RETURN_IF_ERROR(CheckTokens(tokens.subspan(begin, count), begin));
    rows += count;
  }
  if (logit_rows > rows) {
    return InvalidArgument("logit_rows is " + std::to_string(logit_rows) + "; this pass computes " +
                           std::to_string(rows));
  }
  // Between several runs there are rows that stay.
  const bool sees_later =
      runs.size() > 1 || (runs.front().begin < held_end_ && runs.back().end < held_end_);
  if (sees_later && !watch_->can_move()) {
    return Unsupported(
        "rows before position " + std::to_string(held_end_) +
        " cannot be computed while those behind them are held: this model reads positions in other "
        "places than its rotations; remove them first");
  }
  if (!in_memory_ && hook_) {
    return Unsupported("a layer hook needs the cache's memory, and rows go by the state blob here");
  }
  KVC_RETURN_IF_ERROR(SettleClaim());
  read_.reset();
  LeaveOutBeside(runs);
  // From here on llama.cpp's state changes, and a failure empties the cache.
  for (const TokenRun& run : runs) {
    const Position end = std::min(run.end, held_end_);
    if (run.begin >= end) break;
    KVC_RETURN_IF_ERROR(RemoveTickets(run.begin, end));
    std::fill(cell_of_position_.begin() + run.begin, cell_of_position_.begin() + end, -1);
  }

  batch_tokens_.clear();
  batch_positions_.clear();
  for (const TokenRun& run : runs) {
    for (Position p = run.begin; p < run.end; ++p) {
      batch_tokens_.push_back(tokens[static_cast<std::size_t>(p - first)]);
      batch_positions_.push_back(p);
    }
  }
  batch_wants_logits_.assign(rows, 0);
  std::fill(batch_wants_logits_.end() - static_cast<std::ptrdiff_t>(logit_rows),
            batch_wants_logits_.end(), std::int8_t{1});
  logit_rows_ = 0;
  computed_rows_ = 0;
  KVC_RETURN_IF_ERROR(DecodeBatch(sees_later));
  NoteHeld();
  logit_rows_ = logit_rows;
  computed_rows_ = static_cast<std::uint32_t>(rows);
  return Status();
}

std::uint32_t LlamaWorker::PaddingOf(std::span<const Position> positions) const {
  if (!watch_->uses_flash()) return 0;
  const auto last =
      static_cast<std::uint64_t>(*std::max_element(positions.begin(), positions.end()));
  const std::uint32_t padding =
      PaddingRows(padding_model_, positions.size(), last + 1, llama_n_ubatch(context_.get()));
  // Cells for them there must be.
  const std::size_t cells = held_tokens_ + positions.size() + padding;
  return cells <= context_tokens() ? padding : 0;
}

Status LlamaWorker::DecodeBatch(bool sees_later) {
  const std::span<const Position> positions = batch_positions_;
  const std::uint32_t padding = PaddingOf(positions);
  const std::size_t rows = positions.size() + padding;
  KVC_ASSERT(rows <= llama_n_batch(context_.get()));  // more would abort the process
  batch_sequences_.assign(positions.size(), 0);
  batch_tickets_.resize(rows);
  // An empty cache takes any beginning: true positions, for the gate's.
  const llama_pos last = llama_memory_seq_pos_max(memory_, 0);
  std::iota(batch_tickets_.begin(), batch_tickets_.end(), last < 0 ? positions.front() : last + 1);
  for (std::size_t i = 0; i < positions.size(); ++i) {
    ticket_of_position_[static_cast<std::size_t>(positions[i])] = batch_tickets_[i];
  }
  for (std::uint32_t i = 0; i < padding; ++i) {
    batch_tokens_.push_back(batch_tokens_.front());
    batch_sequences_.push_back(kPaddingSequence);
    batch_wants_logits_.push_back(0);
  }
  batch_sequence_counts_.assign(rows, 1);
  batch_sequence_lists_.resize(rows);
  for (std::size_t i = 0; i < rows; ++i) batch_sequence_lists_[i] = &batch_sequences_[i];
  llama_batch batch{};
  batch.n_tokens = static_cast<std::int32_t>(rows);
  batch.token = batch_tokens_.data();
  batch.pos = batch_tickets_.data();
  batch.n_seq_id = batch_sequence_counts_.data();
  batch.seq_id = batch_sequence_lists_.data();
  batch.logits = batch_wants_logits_.data();

  probed_.clear();
  GraphWatch::Pass pass;
  pass.positions = positions;
  pass.padding = padding;
  pass.tickets = batch_tickets_;
  pass.sees_later = sees_later;
  pass.hidden = hidden_;
  pass.cell_of_position = cell_of_position_;
  pass.hook = hook_ ? &hook_ : nullptr;
  pass.probe = &probe_;
  pass.probed = &probed_;
  pass.last_layer = last_layer_;
  TakeLlamaComplaint();
  watch_->BeginPass(pass);
  const std::int32_t code = llama_decode(context_.get(), batch);
  if (code == 0) llama_synchronize(context_.get());
  if (padding > 0) llama_memory_seq_rm(memory_, kPaddingSequence, -1, -1);
  const bool seen = watch_->EndPass();
  probe_ = AttentionProbe();
  hidden_.clear();
  if (code == 0 && seen) {
    std::stable_sort(probed_.begin(), probed_.end(),
                     [](const AttentionWeights& a, const AttentionWeights& b) {
                       return a.layer != b.layer ? a.layer < b.layer : a.row < b.row;
                     });
    return Status();
  }
  probed_.clear();
  Clear();
  if (code == 0) {
    return Internal(
        "llama.cpp's graph did not show what this engine patches; use the pinned version");
  }
  return Internal("llama_decode returned " + std::to_string(code) + ": " + TakeLlamaComplaint());
}

std::span<const float> LlamaWorker::Logits(std::uint32_t i) const {
  KVC_ASSERT(i < logit_rows_);
  const auto index = static_cast<std::int32_t>(computed_rows_ - logit_rows_ + i);
  const float* logits = llama_get_logits_ith(context_.get(), index);
  KVC_ASSERT(logits != nullptr);
  return {logits, vocabulary_size()};
}

Status LlamaWorker::ProbeAttention(AttentionProbe probe) {
  if (!in_memory_) {
    return Unsupported("a probe needs the cache's memory, and rows go by the state blob here");
  }
  for (const Position row : probe.rows) {
    if (row < 0 || row >= static_cast<Position>(context_tokens())) {
      return InvalidArgument("probed row is " + std::to_string(row) + "; the limit is 0 to " +
                             std::to_string(context_tokens() - 1));
    }
  }
  for (const std::uint32_t layer : probe.layers) {
    if (layer >= profile_.layer_count) {
      return InvalidArgument("probed layer is " + std::to_string(layer) + "; the limit is 0 to " +
                             std::to_string(profile_.layer_count - 1));
    }
  }
  probe_ = std::move(probe);
  std::sort(probe_.rows.begin(), probe_.rows.end());
  std::sort(probe_.layers.begin(), probe_.layers.end());
  return Status();
}

Status LlamaWorker::HideInNextPass(std::vector<Position> positions) {
  if (!in_memory_ || !watch_->uses_flash()) {
    return Unsupported("hiding rows from a pass needs flash attention and the cache's memory");
  }
  for (const Position position : positions) {
    if (position < 0 || position >= static_cast<Position>(context_tokens())) {
      return InvalidArgument("hidden position is " + std::to_string(position) +
                             "; the limit is 0 to " + std::to_string(context_tokens() - 1));
    }
  }
  hidden_ = std::move(positions);
  return Status();
}

}  // namespace kvcommons
