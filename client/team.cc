#include "client/team.h"

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "client/block_upload.h"
#include "client/connection.h"
#include "client/plan_handle.h"
#include "client/team_handle.h"
#include "client/wire.h"

namespace kvcommons {
namespace {

TeamId IdFrom(rpc::Hash128::Reader hash) {
  const std::uint64_t halves[2] = {hash.getLow(), hash.getHigh()};
  TeamId id;
  std::memcpy(id.bytes.data(), halves, sizeof halves);
  return id;
}

void FillId(const TeamId& id, rpc::Hash128::Builder hash) {
  std::uint64_t halves[2];
  std::memcpy(halves, id.bytes.data(), sizeof halves);
  hash.setLow(halves[0]);
  hash.setHigh(halves[1]);
}

class UploadImpl final : public TeamContentUpload {
 public:
  UploadImpl(std::shared_ptr<Connection> connection, std::shared_ptr<const ModelProfile> profile,
             rpc::TeamUpload::Client upload, std::size_t tokens)
      : connection_(std::move(connection)),
        profile_(std::move(profile)),
        upload_(kj::mv(upload)),
        tokens_(tokens) {}

  ~UploadImpl() noexcept override {
    upload_.reset();
    connection_->Push();
  }
  UploadImpl(const UploadImpl&) = delete;
  UploadImpl& operator=(const UploadImpl&) = delete;

  Result<std::uint32_t> Commit(const RowWriter& write_rows, UploadAck ack) override {
    BlockUpload upload{*connection_, *profile_, tokens_, 0, ack};
    return upload.Commit(upload_.value(), write_rows, [](auto&) {});
  }

 private:
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<const ModelProfile> profile_;
  std::optional<rpc::TeamUpload::Client> upload_;
  const std::size_t tokens_;
};

// Of putText, putSegment or putAnswer.
template <typename Response>
Result<TeamContentReply> ContentFrom(const std::shared_ptr<Connection>& connection,
                                     const std::shared_ptr<const ModelProfile>& profile,
                                     std::size_t tokens, Response& response) {
  if (response.hasError()) return Fail(StatusOf(response.getError()));
  TeamContentReply reply;
  reply.id = IdFrom(response.getContent());
  if (response.getIsHeld()) return reply;
  if (!response.hasUpload()) return Fail(Internal("the daemon answered no upload"));
  reply.upload = std::make_unique<UploadImpl>(connection, profile, response.getUpload(), tokens);
  return reply;
}

class CallImpl final : public TeamCallHandle {
 public:
  CallImpl(std::shared_ptr<Connection> connection, std::shared_ptr<const ModelProfile> profile,
           rpc::TeamCall::Client call)
      : connection_(std::move(connection)), profile_(std::move(profile)), call_(kj::mv(call)) {}

  ~CallImpl() noexcept override {
    call_.reset();
    plan.reset();
    connection_->Push();
  }
  CallImpl(const CallImpl&) = delete;
  CallImpl& operator=(const CallImpl&) = delete;

  Result<std::vector<DepositReply>> Deposit() override {
    return connection_->Guarded("deposit", [&]() -> Result<std::vector<DepositReply>> {
      auto response = connection_->Await(call_.value().depositRequest().send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      std::vector<DepositReply> replies;
      for (const auto slot : response.getSlots()) {
        replies.push_back({slot.getSlot(), TextFrom(slot.getOutcome()), TextFrom(slot.getMessage()),
                           slot.getOfText()});
      }
      return replies;
    });
  }

  Result<TeamContentReply> PutAnswer(std::span<const TokenId> tokens) override {
    KVC_FAIL_IF_ERROR(CheckTokens(tokens, *profile_));
    return connection_->Guarded("putAnswer", [&]() -> Result<TeamContentReply> {
      auto request = call_.value().putAnswerRequest();
      FillTokens(tokens, request.initTokens(static_cast<unsigned>(tokens.size())));
      auto response = connection_->Await(request.send());
      return ContentFrom(connection_, profile_, tokens.size(), response);
    });
  }

 private:
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<const ModelProfile> profile_;
  std::optional<rpc::TeamCall::Client> call_;
};

class TeamImpl final : public TeamHandle {
 public:
  TeamImpl(std::shared_ptr<Connection> connection, std::shared_ptr<const ModelProfile> profile,
           rpc::Team::Client team)
      : connection_(std::move(connection)), profile_(std::move(profile)), team_(kj::mv(team)) {}
  ~TeamImpl() noexcept override {}
  TeamImpl(const TeamImpl&) = delete;
  TeamImpl& operator=(const TeamImpl&) = delete;

  Result<TeamId> PutTemplate(const TeamPrompt& prompt) override {
    const auto id = connection_->Guarded("putTemplate", [&]() -> Result<TeamId> {
      auto request = team_.putTemplateRequest();
      auto message = request.initTemplate();
      message.setAgent(prompt.agent);
      auto segments = message.initSegments(static_cast<unsigned>(prompt.segments.size()));
      for (unsigned i = 0; i < segments.size(); ++i) {
        const auto& tokens = prompt.segments[i];
        FillTokens(tokens, segments.init(i, static_cast<unsigned>(tokens.size())));
      }
      auto slots = message.initSlots(static_cast<unsigned>(prompt.slots.size()));
      for (unsigned i = 0; i < slots.size(); ++i) slots.set(i, prompt.slots[i].c_str());
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return IdFrom(response.getVersion());
    });
    if (!id) return id;
    std::vector<std::size_t>& sizes = segment_tokens_[*id];
    sizes.clear();
    for (const auto& segment : prompt.segments) sizes.push_back(segment.size());
    return id;
  }

  Result<TeamContentReply> PutSegment(const TeamId& version, std::uint32_t segment) override {
    const auto found = segment_tokens_.find(version);
    if (found == segment_tokens_.end()) return Fail(NoSuchVersion(version));
    if (segment < 1 || segment >= found->second.size()) {
      return Fail(InvalidArgument("segment is " + std::to_string(segment) + "; the limit is 1 to " +
                                  std::to_string(found->second.size() - 1)));
    }
    return connection_->Guarded("putSegment", [&]() -> Result<TeamContentReply> {
      auto request = team_.putSegmentRequest();
      FillId(version, request.initVersion());
      request.setSegment(segment);
      auto response = connection_->Await(request.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      return ContentFrom(connection_, profile_, found->second[segment], response);
    });
  }

  Result<TeamContentReply> PutText(std::span<const TokenId> tokens) override {
    KVC_FAIL_IF_ERROR(CheckTokens(tokens, *profile_));
    return connection_->Guarded("putText", [&]() -> Result<TeamContentReply> {
      auto request = team_.putTextRequest();
      FillTokens(tokens, request.initTokens(static_cast<unsigned>(tokens.size())));
      auto response = connection_->Await(request.send());
      return ContentFrom(connection_, profile_, tokens.size(), response);
    });
  }

  Result<std::unique_ptr<TeamCallHandle>> Plan(const TeamPlanAsk& ask) override {
    const auto found = segment_tokens_.find(ask.version);
    if (found == segment_tokens_.end()) return Fail(NoSuchVersion(ask.version));
    std::size_t prompt_tokens = 0;
    for (const std::size_t segment : found->second) prompt_tokens += segment;
    for (const TeamSlotContent& content : ask.contents) prompt_tokens += content.tokens.size();
    return connection_->Guarded("plan", [&]() -> Result<std::unique_ptr<TeamCallHandle>> {
      auto message = team_.planRequest(capnp::MessageSize{prompt_tokens / 2 + 256, 0});
      Fill(ask, message.initRequest());
      auto response = connection_->Await(message.send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      if (!response.hasPlan() || !response.hasCall()) {
        return Fail(Internal("the daemon answered no plan"));
      }
      auto call = std::make_unique<CallImpl>(connection_, profile_, response.getCall());
      auto plan = TakePlanHandle(connection_, profile_, response.getReply(), response.getPlan(),
                                 prompt_tokens);
      if (!plan) return Fail(plan.error());
      call->plan = std::move(*plan);
      const auto info = response.getTeam();
      call->reuses = info.getReuses();
      call->reason = TextFrom(info.getReason());
      call->epoch = info.getEpoch();
      call->gate_us = info.getGateUs();
      call->weights_us = info.getWeightsUs();
      call->blend_us = info.getBlendUs();
      for (const auto slot : info.getSlots()) call->slots.push_back(SlotFrom(slot));
      for (const auto text : info.getTexts()) call->texts.push_back(SlotFrom(text));
      return std::unique_ptr<TeamCallHandle>(std::move(call));
    });
  }

  Result<TeamStatusReply> GetStatus() override {
    return connection_->Guarded("status", [&]() -> Result<TeamStatusReply> {
      auto response = connection_->Await(team_.statusRequest().send());
      if (response.hasError()) return Fail(StatusOf(response.getError()));
      const auto message = response.getStatus();
      TeamStatusReply status;
      for (const auto mean : message.getMeans()) {
        status.means.push_back({TextFrom(mean.getAgent()), TextFrom(mean.getSlot()),
                                mean.getOfAnswers(), mean.getDeposits(), mean.getRows(),
                                mean.getBytes(), mean.getUses(), mean.getOfCorrected(),
                                mean.getOfPrompt()});
      }
      status.bytes = message.getBytes();
      status.limit_bytes = message.getLimitBytes();
      status.anchors = message.getAnchors();
      status.anchor_bytes = message.getAnchorBytes();
      status.plans = message.getPlans();
      status.reused = message.getReused();
      return status;
    });
  }

 private:
  static Status NoSuchVersion(const TeamId& version) {
    return NotFound("version is " + version.ToHex() +
                    "; this handle put no such template: put it first");
  }
  static TeamCallHandle::Slot SlotFrom(rpc::TeamSlot::Reader slot) {
    return {TextFrom(slot.getReason()), slot.getCoveredRows(), slot.getDeposits(), slot.getWanted(),
            slot.getEntropyBits()};
  }
  static void Fill(const TeamPlanAsk& ask, rpc::TeamPlanRequest::Builder message) {
    FillId(ask.version, message.initVersion());
    auto contents = message.initContents(static_cast<unsigned>(ask.contents.size()));
    for (unsigned i = 0; i < contents.size(); ++i) {
      const TeamSlotContent& content = ask.contents[i];
      FillTokens(content.tokens,
                 contents[i].initTokens(static_cast<unsigned>(content.tokens.size())));
      if (content.is_answer) FillId(content.answer, contents[i].initAnswer());
    }
    message.setCorrection(static_cast<std::uint8_t>(ask.correct_by));
    message.setGamma(ask.gamma);
    message.setFirstRows(ask.first_rows);
    message.setCorrectText(ask.correct_text);
    message.setExact(ask.exact);
    message.setStoreTokens(ask.store_tokens);
    FillCosts(ask.costs, message.initCosts());
    message.setMinRun(ask.min_run);
  }

  std::shared_ptr<Connection> connection_;
  std::shared_ptr<const ModelProfile> profile_;
  rpc::Team::Client team_;
  std::map<TeamId, std::vector<std::size_t>> segment_tokens_;  // of versions that were put
};

}  // namespace

Result<std::unique_ptr<TeamHandle>> MakeTeamHandle(std::shared_ptr<Connection> connection,
                                                   rpc::Model::Client& model,
                                                   std::shared_ptr<const ModelProfile> profile,
                                                   const TeamSettings& settings) {
  return connection->Guarded("openTeam", [&]() -> Result<std::unique_ptr<TeamHandle>> {
    auto request = model.openTeamRequest();
    request.setName(settings.name);
    auto options = request.initOptions();
    FillTokens(settings.lead_in,
               options.initLeadIn(static_cast<unsigned>(settings.lead_in.size())));
    options.setLeastDeposits(settings.least_deposits);
    options.setKeepAnchors(settings.keeps_anchors);
    auto response = connection->Await(request.send());
    if (response.hasError()) return Fail(StatusOf(response.getError()));
    if (!response.hasTeam()) return Fail(Internal("the daemon answered no team"));
    return std::make_unique<TeamImpl>(connection, std::move(profile), response.getTeam());
  });
}

}  // namespace kvcommons
