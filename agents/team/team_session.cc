#include "agents/team/team_session.h"

#include <algorithm>
#include <cstring>

#include "agents/engine/elapsed.h"
#include "agents/rag/compose.h"
#include "base/assert.h"
#include "base/clock.h"
#include "kernels/checksum.h"

namespace kvcommons {
namespace {

// Spans without rows are left out.
void AddSpan(std::vector<PlaceSpan>& spans, const TeamRows& rows, Position begin,
             std::uint32_t first, std::uint32_t end) {
  if (first >= end) return;
  spans.push_back(
      {begin + static_cast<Position>(first), end - first, 0, rows.block.data(), rows.rows, first});
}

void AddRun(std::vector<TokenRun>& runs, Position begin, Position end) {
  if (begin >= end) return;
  if (!runs.empty() && runs.back().end >= begin) {
    runs.back().end = std::max(runs.back().end, end);
  } else {
    runs.push_back({begin, end});
  }
}

}  // namespace

Result<std::unique_ptr<TeamSession>> TeamSession::Create(Engine& engine, const TeamGraph& graph,
                                                         const std::string& chat,
                                                         TeamMemoryOptions options) {
  if (engine.profile().omega.empty()) {
    return Fail(
        Unsupported("keys of this model cannot be moved: " + engine.profile().omega_refusal));
  }
  std::unique_ptr<TeamSession> session(new TeamSession(engine, options));
  auto lead_in = TeamLeadIn(engine, chat);
  if (!lead_in) return Fail(lead_in.error());
  session->lead_in_.tokens = std::move(*lead_in);
  const auto prefill = [&](std::span<const TokenId> tokens) -> Result<TeamRows> {
    engine.Clear();
    KVC_FAIL_IF_ERROR(engine.RunRest(tokens));
    return session->ReadPrompt(static_cast<std::uint32_t>(tokens.size()));
  };
  auto rows = prefill(session->lead_in_.tokens);
  if (!rows) return Fail(rows.error());
  session->lead_in_.rows = std::move(*rows);
  // Every mode that reuses computes some rows before others that are held: better known now.
  const auto last = static_cast<Position>(session->lead_in_.tokens.size());
  const std::vector<TokenRun> apart = {{0, 1}, {last - 1, last}};
  KVC_FAIL_IF_ERROR(engine.Run(session->lead_in_.tokens, apart));

  for (const TeamAgent& agent : graph.agents) {
    auto shape = MakeTeamTemplate(engine, agent, chat);
    if (!shape) {
      return Fail(
          Status(shape.error().code(), "agent '" + agent.name + "': " + shape.error().message()));
    }
    const std::vector<std::span<const TokenId>> nothing(shape->slots.size());
    const std::vector<TokenId> text = shape->Fill(nothing);
    rows = prefill(text);
    if (!rows) return Fail(rows.error());
    std::vector<TeamRows> parts;
    auto begin = static_cast<Position>(shape->segments.front().size());
    for (std::size_t i = 1; i < shape->segments.size(); ++i) {
      const auto count = static_cast<std::uint32_t>(shape->segments[i].size());
      parts.push_back(session->Slice(*rows, begin, count));
      begin += static_cast<Position>(count);
    }
    session->memory_.PutText(*shape, std::move(parts));
    const auto head = static_cast<std::uint32_t>(shape->segments.front().size());
    session->Remember(shape->segments.front(), session->Slice(*rows, 0, head));
    session->templates_.push_back(std::move(*shape));
  }
  engine.Clear();
  return session;
}

Result<TeamRows> TeamSession::ReadPrompt(std::uint32_t rows) const {
  TeamRows read{rows, 0, std::vector<std::byte>(engine_.profile().planes().BlockBytes(rows))};
  KVC_FAIL_IF_ERROR(engine_.ReadRows(0, rows, read.block.data()));
  return read;
}

TeamRows TeamSession::Slice(const TeamRows& from, Position begin, std::uint32_t rows) const {
  const PlaneLayout planes = engine_.profile().planes();
  TeamRows slice{rows, begin, std::vector<std::byte>(planes.BlockBytes(rows))};
  const auto first = static_cast<std::size_t>(begin - from.origin);
  for (std::size_t plane = 0; plane < planes.plane_count(); ++plane) {
    const std::size_t row_bytes = planes.row_bytes[plane];
    std::memcpy(slice.block.data() + planes.PlaneOffset(plane, rows),
                from.block.data() + planes.PlaneOffset(plane, from.rows) + first * row_bytes,
                rows * row_bytes);
  }
  return slice;
}

SharedContent TeamSession::MakeContent(std::span<const TokenId> tokens, TeamRows rows) const {
  auto content = std::make_shared<TeamContent>();
  content->tokens.assign(tokens.begin(), tokens.end());
  const Checksum128 sum =
      ChecksumOf(reinterpret_cast<const std::byte*>(tokens.data()), tokens.size_bytes());
  std::memcpy(content->key.bytes.data(), &sum, sizeof sum);
  content->base = std::move(rows);
  return content;
}

Result<SharedContent> TeamSession::FromText(std::span<const TokenId> tokens) {
  if (tokens.empty()) return Fail(InvalidArgument("the content is empty; it needs a token"));
  const std::uint32_t begin = lead_in_.rows.rows;
  if (begin + tokens.size() > engine_.context_tokens()) {
    return Fail(InvalidArgument("the content has " + std::to_string(tokens.size()) +
                                " tokens; behind what its rows are computed behind the limit is " +
                                std::to_string(engine_.context_tokens() - begin)));
  }
  std::vector<TokenId> prompt = lead_in_.tokens;
  prompt.insert(prompt.end(), tokens.begin(), tokens.end());
  const PlaceSpan span{0, begin, 0, lead_in_.rows.block.data(), begin, 0};
  KVC_FAIL_IF_ERROR(engine_.Place({&span, 1}));
  KVC_FAIL_IF_ERROR(engine_.RunRest(prompt));
  auto content = FromAnswer(static_cast<Position>(begin), tokens);
  engine_.Clear();
  return content;
}

Result<SharedContent> TeamSession::FromAnswer(Position begin, std::span<const TokenId> tokens) {
  const auto count = static_cast<std::uint32_t>(tokens.size());
  TeamRows rows{count, begin, std::vector<std::byte>(engine_.profile().planes().BlockBytes(count))};
  if (count > 0) KVC_FAIL_IF_ERROR(engine_.ReadRows(begin, count, rows.block.data()));
  return MakeContent(tokens, std::move(rows));
}

void TeamSession::Remember(std::vector<TokenId> tokens, TeamRows rows) {
  remembered_.push_back({std::move(tokens), std::move(rows)});
}

const TeamSession::Known* TeamSession::LongestKnown(std::span<const TokenId> prompt,
                                                    std::size_t known_count,
                                                    std::uint32_t* rows) const {
  const Known* longest = nullptr;
  *rows = 0;
  for (std::size_t i = 0; i < known_count; ++i) {
    const std::vector<TokenId>& tokens = remembered_[i].tokens;
    const auto same = std::mismatch(tokens.begin(), tokens.end(), prompt.begin(), prompt.end() - 1);
    const auto count = static_cast<std::uint32_t>(same.first - tokens.begin());
    if (count <= *rows) continue;
    *rows = count;
    longest = &remembered_[i];
  }
  return longest;
}

Result<TeamCall> TeamSession::Prepare(std::size_t agent, std::span<const SharedContent> contents,
                                      const TeamMode& mode) {
  const TeamTemplate& shape = templates_[agent];
  TeamCall call;
  std::vector<SlotContent> lengths;
  std::vector<std::span<const TokenId>> tokens;
  for (const SharedContent& content : contents) {
    KVC_ASSERT(!mode.reuses || !content->base.block.empty() || content->base.rows == 0);
    lengths.push_back({content->base.rows, static_cast<std::uint32_t>(content->base.origin)});
    tokens.emplace_back(content->tokens);
  }
  auto layout = LayOut(shape.Shape(), lengths);
  if (!layout) return Fail(layout.error());
  call.layout = std::move(*layout);
  call.prompt = shape.Fill(tokens);
  if (call.prompt.size() >= engine_.context_tokens()) {
    return Fail(InvalidArgument("agent '" + shape.agent + "': the prompt has " +
                                std::to_string(call.prompt.size()) + " tokens; the context has " +
                                std::to_string(engine_.context_tokens())));
  }
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  const auto end = static_cast<Position>(call.prompt.size());
  // Prompts of this request are known in mode exact alone: what was approximated is not.
  const std::size_t known_count = !mode.exact_prefix ? 0
                                  : mode.reuses      ? templates_.size()
                                                     : remembered_.size();
  const Known* const known = LongestKnown(call.prompt, known_count, &call.exact);
  const auto exact = static_cast<Position>(call.exact);

  if (mode.design_percent > 0) {
    KVC_FAIL_IF_ERROR(Compose(shape, contents, mode, &call));
    call.ttft_ms = MsSince(clock, start_ns);
    return call;
  }

  std::vector<PlaceSpan> spans;
  std::vector<TokenRun> runs;
  std::vector<TeamRows> made;  // what spans point into
  made.reserve(2 * contents.size());
  if (known != nullptr) AddSpan(spans, known->rows, 0, 0, call.exact);
  if (!mode.reuses) {
    AddRun(runs, exact, end);
  } else {
    const auto after = [exact](Position begin, std::uint32_t rows) {
      return std::min(rows, static_cast<std::uint32_t>(std::max(0, exact - begin)));
    };
    for (std::size_t i = 0; i < contents.size(); ++i) {
      const SlotPlacement& placed = call.layout.slots[i];
      const TeamContent& content = *contents[i];
      const std::uint32_t rows = content.base.rows;
      const std::uint32_t skip = after(placed.content_begin, rows);
      const std::uint32_t first = std::max(skip, std::min(mode.first_rows, rows));
      AddRun(runs, placed.content_begin + static_cast<Position>(skip),
             placed.content_begin + static_cast<Position>(first));
      if (first < rows) {
        CorrectedRows corrected = memory_.SlotRows(shape, i, content, placed, mode.slots);
        call.uncorrected += rows - std::max(first, corrected.corrected);
        made.push_back({rows, placed.content_begin, std::move(corrected.block)});
        AddSpan(spans, made.back(), placed.content_begin, first, rows);
      }
      const auto text = static_cast<std::uint32_t>(shape.segments[i + 1].size());
      const bool is_last = i + 1 == contents.size();
      if (mode.computes_text) {
        AddRun(runs, std::max(exact, placed.segment_begin),
               placed.segment_begin + static_cast<Position>(text));
        continue;
      }
      CorrectedRows corrected = memory_.TextRows(shape, i, content, placed, mode.slots);
      call.uncorrected += text - corrected.corrected;
      made.push_back({text, placed.segment_begin, std::move(corrected.block)});
      AddSpan(spans, made.back(), placed.segment_begin, after(placed.segment_begin, text),
              is_last ? text - 1 : text);
      if (is_last) AddRun(runs, end - 1, end);
    }
  }
  call.blend_ms = MsSince(clock, start_ns);
  const std::int64_t place_ns = clock.NowNs();
  KVC_FAIL_IF_ERROR(engine_.Place(spans));
  call.place_ms = MsSince(clock, place_ns);
  const std::int64_t compute_ns = clock.NowNs();
  KVC_FAIL_IF_ERROR(engine_.Run(call.prompt, runs));
  call.compute_ms = MsSince(clock, compute_ns);
  call.ttft_ms = MsSince(clock, start_ns);
  call.computed = engine_.computed_rows();
  call.charged = static_cast<double>(call.computed) /
                 static_cast<double>(call.prompt.size() - shape.segments.front().size());
  return call;
}

Status TeamSession::Compose(const TeamTemplate& shape, std::span<const SharedContent> contents,
                            const TeamMode& mode, TeamCall* call) {
  const SystemClock clock;
  const std::int64_t start_ns = clock.NowNs();
  std::uint32_t head = 0;
  const Known* const known = LongestKnown(call->prompt, templates_.size(), &head);
  // Not into the first content: a chunk is whole.
  head = std::min(head, static_cast<std::uint32_t>(shape.segments.front().size()));
  ComposePrompt prompt;
  prompt.tokens = call->prompt;
  if (head > 0) {
    prompt.exact.push_back({0, head, 0, known->rows.block.data(), known->rows.rows, 0});
  }
  std::vector<std::vector<std::byte>> blocks;
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const TeamContent& content = *contents[i];
    const std::uint32_t rows = content.base.rows;
    if (rows == 0) continue;
    // As if it stood at position 0: a chunk's parts are.
    CorrectedRows corrected = memory_.SlotRows(
        shape, i, content, {.content_begin = 0, .content_shift = -content.base.origin}, mode.slots);
    call->uncorrected += rows - corrected.corrected;
    blocks.push_back(std::move(corrected.block));
    prompt.chunks.push_back({call->layout.slots[i].content_begin, {{blocks.back().data(), rows}}});
  }
  prompt.question_begin = call->layout.slots.back().segment_begin;
  call->blend_ms = MsSince(clock, start_ns);
  call->exact = head;
  Composer composer(engine_, std::move(prompt));
  const auto report =
      composer.Run({.rule = "design", .budget = mode.design_percent / 100.0, .completion = false});
  if (!report) return report.error();
  call->place_ms = report->place_ms;
  call->compute_ms = report->look_ms + report->compute_ms;
  call->computed = report->total - head - report->reused + report->recomputed;
  // What looking costs is charged, too.
  const double fresh = report->total - head - report->reused;
  call->charged = (fresh + report->charged * report->reused) /
                  static_cast<double>(call->prompt.size() - shape.segments.front().size());
  return Status();
}

Status TeamSession::Deposit(std::size_t agent, std::span<const SharedContent> contents,
                            const TeamCall& call, const TeamRows& prompt) {
  const TeamTemplate& shape = templates_[agent];
  Status first;
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const SlotPlacement& placed = call.layout.slots[i];
    if (contents[i]->base.rows == 0) continue;
    const TeamRows rows = Slice(prompt, placed.content_begin, contents[i]->base.rows);
    const TeamRows text = Slice(prompt, placed.segment_begin,
                                static_cast<std::uint32_t>(shape.segments[i + 1].size()));
    const Status status = memory_.Deposit(shape, i, contents[i], rows, text);
    if (first.ok()) first = status;
  }
  return first;
}

}  // namespace kvcommons
