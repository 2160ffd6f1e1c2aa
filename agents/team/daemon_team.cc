#include "agents/team/daemon_team.h"

#include <algorithm>

#include "agents/engine/elapsed.h"
#include "agents/engine/fidelity.h"
#include "agents/engine/plan_rows.h"
#include "agents/engine/sampled.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kMostWaitCalls = 1024;

}  // namespace

std::string TeamQualityName(const TeamMode& mode) {
  std::string name = "team-" + mode.name;
  for (char& letter : name) {
    if (letter == '+') letter = '-';
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return name;
}

TeamContentUpload::RowWriter EngineRows(Engine& engine, Position begin) {
  return [&engine, begin](Position first, std::uint32_t count, std::byte* destination) {
    return engine.ReadRows(begin + first, count, destination);
  };
}

Result<std::unique_ptr<DaemonTeam>> DaemonTeam::Open(Engine& engine, ModelHandle& model,
                                                     const TeamGraph& graph,
                                                     const Options& options) {
  if (!(options.canary_share >= 0 && options.canary_share <= 1)) {
    return Fail(InvalidArgument("canary_share is " + std::to_string(options.canary_share) +
                                "; the limit is 0 to 1"));
  }
  std::unique_ptr<DaemonTeam> made(new DaemonTeam(engine, model, options));
  auto lead_in = TeamLeadIn(engine, options.chat);
  if (!lead_in) return Fail(lead_in.error());
  made->lead_in_ = std::move(*lead_in);
  TeamSettings settings;
  settings.name = options.name.empty() ? graph.name : options.name;
  settings.lead_in = made->lead_in_;
  settings.least_deposits = options.least_deposits;
  settings.keeps_anchors = options.keeps_anchors;
  auto team = model.OpenTeam(settings);
  if (!team) return Fail(team.error());
  made->team_ = std::move(*team);
  for (const TeamAgent& agent : graph.agents) {
    const auto named = [&agent](const Status& status) {
      return Fail(Status(status.code(), "agent '" + agent.name + "': " + status.message()));
    };
    auto shape = MakeTeamTemplate(engine, agent, options.chat);
    if (!shape) return named(shape.error());
    const auto version = made->team_->PutTemplate({agent.name, shape->segments, shape->slots});
    if (!version) return named(version.error());
    made->templates_.push_back(std::move(*shape));
    made->versions_.push_back(*version);
  }
  made->texts_.resize(made->versions_.size());
  for (std::size_t i = 0; options.corrects_text && i < made->versions_.size(); ++i) {
    // One that fails is tried again before the agent's first call.
    if (!graph.agents[i].exact_only) made->texts_[i].are_put = made->PutTextsOf(i).ok();
  }
  return made;
}

Status DaemonTeam::PutTextsOf(std::size_t agent) {
  const std::vector<std::vector<TokenId>>& segments = templates_[agent].segments;
  std::vector<TokenId> bare;
  for (const auto& segment : segments) bare.insert(bare.end(), segment.begin(), segment.end());
  bool is_computed = false;
  auto begin = static_cast<Position>(segments.front().size());
  for (std::uint32_t i = 1; i < segments.size(); ++i) {
    auto reply = team_->PutSegment(versions_[agent], i);
    if (!reply) return reply.error();
    if (reply->upload != nullptr) {
      if (!is_computed) {
        engine_.Clear();
        KVC_RETURN_IF_ERROR(engine_.RunRest(bare));
        is_computed = true;
      }
      const auto stored = reply->upload->Commit(EngineRows(engine_, begin), UploadAck::kHeld);
      if (!stored) return stored.error();
    }
    begin += static_cast<Position>(segments[i].size());
  }
  return Status();
}

Result<DaemonContent> DaemonTeam::FromText(std::span<const TokenId> tokens) {
  const std::int64_t start_ns = clock_.NowNs();
  if (tokens.empty()) return Fail(InvalidArgument("the content is empty; it needs a token"));
  if (lead_in_.size() + tokens.size() > engine_.context_tokens()) {
    return Fail(InvalidArgument("the content has " + std::to_string(tokens.size()) +
                                " tokens; behind what its rows are computed behind the limit is " +
                                std::to_string(engine_.context_tokens() - lead_in_.size())));
  }
  DaemonContent content;
  content.tokens.assign(tokens.begin(), tokens.end());
  auto reply = team_->PutText(tokens);
  if (!reply) {
    content.fallback = reply.error().ToString();
    return content;
  }
  if (reply->upload == nullptr) return content;
  if (const Status status = ComputeText(tokens, *reply->upload); !status.ok()) {
    content.fallback = status.ToString();
  }
  content.base_ms = MsSince(clock_, start_ns);
  return content;
}

Status DaemonTeam::ComputeText(std::span<const TokenId> tokens, TeamContentUpload& upload) {
  // The lead-in is an exact chain like any other: held after the first text.
  std::vector<TokenId> prompt = lead_in_;
  prompt.insert(prompt.end(), tokens.begin(), tokens.end());
  PlanRequest request;
  request.tokens = prompt;
  request.policy = Policy::kExact;
  request.store_tokens = static_cast<std::uint32_t>(lead_in_.size());
  request.costs = engine_.costs();
  const auto plan = model_.Plan(request);
  if (!plan) return plan.error();
  const PlanRows rows = RowsOf(**plan);
  engine_.Clear();
  KVC_RETURN_IF_ERROR(PlacePlan(engine_, **plan, rows.places));
  KVC_RETURN_IF_ERROR(engine_.Run(prompt, rows.runs));
  const auto begin = static_cast<Position>(lead_in_.size());
  const auto stored = upload.Commit(EngineRows(engine_, begin), UploadAck::kHeld);
  if (!stored) return stored.error();
  const auto committed = (*plan)->Commit(EngineRows(engine_, 0), UploadAck::kHeld);
  return committed ? Status() : committed.error();
}

Result<DaemonCall> DaemonTeam::Prefill(std::size_t agent,
                                       std::span<const DaemonContent* const> contents,
                                       const TeamMode& mode, bool may_be_drawn) {
  const TeamTemplate& shape = templates_[agent];
  if (contents.size() != shape.slots.size()) {
    return Fail(InvalidArgument("contents are " + std::to_string(contents.size()) + "; agent '" +
                                shape.agent + "' has " + std::to_string(shape.slots.size()) +
                                " slots"));
  }
  DaemonCall call;
  TeamPlanAsk ask;
  ask.version = versions_[agent];
  std::vector<std::span<const TokenId>> tokens;
  for (const DaemonContent* content : contents) {
    tokens.emplace_back(content->tokens);
    ask.contents.push_back({content->tokens, content->is_answer, content->id});
  }
  call.prompt = shape.Fill(tokens);
  if (call.prompt.size() >= engine_.context_tokens()) {
    return Fail(InvalidArgument("agent '" + shape.agent + "': the prompt has " +
                                std::to_string(call.prompt.size()) + " tokens; the context has " +
                                std::to_string(engine_.context_tokens())));
  }
  const bool corrects_text_by_anchors =
      mode.slots == SlotCorrection::kAnchors && !mode.computes_text;
  if (mode.slots == SlotCorrection::kPublishedAnchors || mode.design_percent > 0 ||
      corrects_text_by_anchors) {
    return Fail(Unsupported("mode is '" + mode.name +
                            "'; the daemon corrects contents as profile C does and chooses no "
                            "rows: use C+seg or +b"));
  }
  const std::int64_t start_ns = clock_.NowNs();
  const auto quality = mode.reuses ? model_.QualityOf(TeamQualityName(mode))
                                   : Result<ModelHandle::Quality>(ModelHandle::Quality());
  // Unsure means exact.
  const bool is_off = !quality || !quality->enabled;
  TextsOf& texts = texts_[agent];
  if (!is_off && !mode.computes_text && !texts.are_put && texts.wait_calls-- == 0) {
    texts.are_put = PutTextsOf(agent).ok();
    texts.wait_calls = texts.next_wait_calls;
    texts.next_wait_calls = std::min(2 * texts.next_wait_calls, kMostWaitCalls);
    call.text_ms = MsSince(clock_, start_ns);
  }
  engine_.Clear();
  call.mode = "dense";
  call.reason = "asked_dense";
  bool refused = false;  // by a daemon that is there
  if (mode.reuses || mode.exact_prefix) {
    ask.correct_by = mode.slots == SlotCorrection::kTrustedMean ? TeamCorrectBy::kTrustedMean
                     : mode.slots == SlotCorrection::kAnchors   ? TeamCorrectBy::kAnchors
                     : mode.slots == SlotCorrection::kMean      ? TeamCorrectBy::kMean
                                                                : TeamCorrectBy::kNothing;
    ask.gamma = options_.gamma;
    ask.exact = !mode.reuses || is_off;
    ask.first_rows = mode.first_rows;
    ask.correct_text = !mode.computes_text;
    ask.store_tokens = static_cast<std::uint32_t>(call.prompt.size());
    ask.costs = engine_.costs();
    const std::int64_t plan_ns = clock_.NowNs();
    auto handle = team_->Plan(ask);
    call.plan_ms = MsSince(clock_, plan_ns);
    if (handle) {
      call.handle = std::move(*handle);
      call.reason = is_off ? "switched_off" : call.handle->reason;
      call.mode = call.handle->reuses ? mode.name : "exact";
      for (const TeamCallHandle::Slot& text : call.handle->texts) {
        if (text.reason == "missing_base") texts.are_put = false;
      }
      if (texts.are_put) texts.next_wait_calls = 1;
      if (const Status status = CarryOut(call); !status.ok()) {
        call.fallback = status.ToString();
        call.handle.reset();
      }
    } else {
      call.fallback = handle.error().ToString();
      refused = handle.error().code() != Code::kUnavailable;
    }
  }
  if (call.handle == nullptr) {
    if (!call.fallback.empty()) call.reason = refused ? "refused" : "no_daemon";
    call.mode = "dense";
    engine_.Clear();
    const std::int64_t compute_ns = clock_.NowNs();
    KVC_FAIL_IF_ERROR(engine_.RunRest(call.prompt));
    call.compute_ms = MsSince(clock_, compute_ns);
  }
  call.ttft_ms = MsSince(clock_, start_ns);
  call.computed = engine_.computed_rows();
  call.charged = static_cast<double>(call.computed) /
                 static_cast<double>(call.prompt.size() - shape.segments.front().size());
  if (may_be_drawn) DrawCanary(call, mode);
  return call;
}

void DaemonTeam::DrawCanary(const DaemonCall& call, const TeamMode& mode) {
  sample_.reset();
  if (call.anchored == 0) return;
  if (!IsSampled(options_.canary_seed, reused_calls_++, options_.canary_share)) return;
  const std::span<const float> logits = engine_.Logits(0);
  sample_ = Sample{call.prompt, {logits.begin(), logits.end()}, TeamQualityName(mode)};
}

Result<std::optional<DaemonTeam::Canary>> DaemonTeam::RunCanary() {
  if (!sample_) return std::optional<Canary>();
  const Sample sample = std::move(*sample_);
  sample_.reset();
  engine_.Clear();
  KVC_FAIL_IF_ERROR(engine_.RunRest(sample.prompt));
  const std::span<const float> full = engine_.Logits(0);
  const Fidelity fidelity = Compare({{full.begin(), full.end()}}, {sample.logits});
  const auto quality =
      model_.ReportQuality(sample.quality_name, fidelity.kl_mean, fidelity.top1_agreement);
  if (!quality) return Fail(quality.error());
  return std::optional(Canary{fidelity.kl_mean, fidelity.top1_agreement == 1, quality->enabled});
}

Status DaemonTeam::CarryOut(DaemonCall& call) {
  PlanHandle& plan = *call.handle->plan;
  const PlanRows rows = RowsOf(plan);
  const std::int64_t place_ns = clock_.NowNs();
  KVC_RETURN_IF_ERROR(PlacePlan(engine_, plan, rows.places));
  call.place_ms = MsSince(clock_, place_ns);
  const std::int64_t compute_ns = clock_.NowNs();
  KVC_RETURN_IF_ERROR(engine_.Run(call.prompt, rows.runs));
  call.compute_ms = MsSince(clock_, compute_ns);
  call.exact = plan.exact_rows;
  call.anchored = plan.anchored_rows;
  call.gate_ms = call.handle->gate_us / 1e3;
  call.weights_ms = call.handle->weights_us / 1e3;
  call.blend_ms = call.handle->blend_us / 1e3;
  if (call.handle->reuses) {
    call.deposits = ~0u;
    for (const TeamCallHandle::Slot& slot : call.handle->slots) {
      if (slot.reason == "corrected") call.deposits = std::min(call.deposits, slot.deposits);
    }
    if (call.deposits == ~0U) call.deposits = 0;  // text alone was
  }
  return Status();
}

DaemonTeam::Finished DaemonTeam::Finish(DaemonCall& call, UploadAck ack) {
  Finished finished;
  if (call.handle == nullptr) return finished;
  auto commit = call.handle->plan->Commit(EngineRows(engine_, 0), ack);
  if (!commit) {
    finished.fallback = commit.error().ToString();
    return finished;
  }
  finished.commit = *commit;
  if (!call.handle->wants_deposit()) return finished;
  auto deposits = call.handle->Deposit();
  if (deposits) {
    finished.deposits = std::move(*deposits);
  } else {
    finished.fallback = deposits.error().ToString();
  }
  return finished;
}

Status DaemonTeam::HoldExact(std::span<const TokenId> tokens) {
  PlanRequest request;
  request.tokens = tokens;
  request.policy = Policy::kExact;
  request.store_tokens = static_cast<std::uint32_t>(tokens.size());
  request.costs = engine_.costs();
  const auto plan = model_.Plan(request);
  if (!plan) return plan.error();
  const auto committed = (*plan)->Commit(EngineRows(engine_, 0), UploadAck::kHeld);
  return committed ? Status() : committed.error();
}

DaemonContent DaemonTeam::FromAnswer(DaemonCall& call, std::span<const TokenId> answer,
                                     UploadAck ack) {
  DaemonContent content;
  content.tokens.assign(answer.begin(), answer.end());
  content.is_answer = true;
  if (answer.empty() || call.handle == nullptr) return content;  // its readers miss its own rows
  const std::int64_t start_ns = clock_.NowNs();
  auto reply = call.handle->PutAnswer(answer);
  if (!reply) {
    content.fallback = reply.error().ToString();
    return content;
  }
  content.id = reply->id;
  if (reply->upload == nullptr) return content;
  const auto behind = static_cast<Position>(call.prompt.size());
  const auto stored = reply->upload->Commit(EngineRows(engine_, behind), ack);
  if (!stored) content.fallback = stored.error().ToString();
  content.base_ms = MsSince(clock_, start_ns);
  return content;
}

}  // namespace kvcommons
