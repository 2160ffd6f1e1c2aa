#include "daemon/rpc_team.h"

#include <string>

#include "daemon/team_upload.h"

namespace kvcommons {
namespace {

// One content's turn to be computed; given to the next with the upload.
class TeamUploadServer final : public rpc::TeamUpload::Server {
 public:
  TeamUploadServer(std::unique_ptr<Counted> ticket, TeamBase base)
      : ticket_(std::move(ticket)),
        content_(base.keys.front()),
        upload_(std::make_shared<TeamUpload>(services().store, services().clock, std::move(base))) {
  }

  ~TeamUploadServer() noexcept(false) {
    // Only when an unfinished upload's blocks are gone may the next begin.
    Services& shared = services();
    auto closed = shared.workers.Run([upload = std::move(upload_)] {
      upload->Close();
      return true;
    });
    if (is_given_) return;
    closed.then([&claims = shared.team_claims, content = content_](bool) { claims.Give(content); })
        .detach([](kj::Exception&&) {});
  }

  TeamUploadServer(const TeamUploadServer&) = delete;
  TeamUploadServer& operator=(const TeamUploadServer&) = delete;

 private:
  Services& services() const { return ticket_->session().services; }

  kj::Promise<void> commit(CommitContext context) override {
    const auto params = context.getParams();
    if (params.getAck() > static_cast<std::uint8_t>(Ack::kDurable)) {
      return RefuseCall(services(), context, OutOfRange("ack", params.getAck(), 0, 1));
    }
    const std::size_t limit = upload_->base().keys.size();
    if (params.getBlocks().size() > limit) {
      return RefuseCall(services(), context,
                        OutOfRange("blocks' length", params.getBlocks().size(), 0, limit));
    }
    std::vector<StagedBlock> blocks;
    for (const auto block : params.getBlocks()) {
      blocks.push_back({block.getIndex(), block.getOffset()});
    }
    const auto ack = static_cast<Ack>(params.getAck());
    const bool finish = params.getFinish();
    context.releaseParams();
    return services()
        .workers
        .Run([upload = upload_, staging = ticket_->session().staging, blocks = std::move(blocks),
              ack, finish] { return upload->Commit(blocks, staging.get(), ack, finish); })
        .then([this, context, finish](Result<std::uint32_t> stored) mutable {
          if (!stored) return RefuseCall(services(), context, stored.error());
          if (finish) {
            // Whoever waits need not wait for this client to drop what it has finished.
            is_given_ = true;
            services().team_claims.Give(content_);
          }
          context.getResults().setStored(*stored);
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  const std::unique_ptr<Counted> ticket_;
  const BlockKey content_;
  std::shared_ptr<TeamUpload> upload_;
  bool is_given_ = false;
};

// Answers with what is held, or with the upload, or after another client's upload once more. A
// client that has an upload of its own is not made to wait: two that wait for each other never end.
template <typename Context>
kj::Promise<void> AnswerContent(Context context, const std::shared_ptr<SessionState>& session,
                                TeamBase base) {
  Services& services = session->services;
  const DomainId& domain = base.model->tenant.domain;
  const BlockKey& claim = base.keys.front();
  if (services.team_claims.IsTaken(claim)) {
    if (session->team_uploads > 0) {
      return RefuseCall(services, context,
                        Unavailable("another client computes this content, and this session has " +
                                    std::to_string(session->team_uploads) +
                                    " of its own to finish; finish them and ask again"));
    }
    return services.team_claims.Wait(claim).then(
        [context, session, base = std::move(base)]() mutable {
          return AnswerContent(context, session, std::move(base));
        });
  }
  auto results = context.getResults();
  if (services.store.MatchPrefix(domain, base.keys) == base.keys.size()) {
    WriteHash(base.content, results.initContent());
    results.setIsHeld(true);
    return kj::READY_NOW;
  }
  auto ticket = TakeCounted(session, &SessionState::team_uploads, "contents in the making",
                            kMaxTeamUploadsPerSession);
  if (!ticket) return RefuseCall(services, context, ticket.error());
  services.team_claims.Take(claim);
  WriteHash(base.content, results.initContent());
  results.setUpload(kj::heap<TeamUploadServer>(std::move(*ticket), std::move(base)));
  return kj::READY_NOW;
}

class TeamCallServer final : public rpc::TeamCall::Server {
 public:
  TeamCallServer(std::unique_ptr<Counted> ticket, TeamCallRecord call)
      : ticket_(std::move(ticket)),
        call_(std::make_shared<const TeamCallRecord>(std::move(call))) {}

 private:
  Services& services() const { return ticket_->session().services; }

  kj::Promise<void> deposit(DepositContext context) override {
    if (deposited_) {
      return RefuseCall(services(), context,
                        InvalidArgument("the call was deposited before; plan another one"));
    }
    deposited_ = true;
    if (call_->wanted.empty()) return kj::READY_NOW;
    return services()
        .learning.Run([&store = services().store, call = call_] { return Deposit(store, *call); })
        .then([this, context](std::vector<TeamDeposit> deposits) mutable {
          // What failed for want of rows can be tried again.
          deposited_ = false;
          for (const TeamDeposit& deposit : deposits) {
            services().metrics.CountDeposit(deposit.outcome);
            if (deposit.outcome == "learned" || deposit.outcome == "known") deposited_ = true;
          }
          auto slots = context.getResults().initSlots(static_cast<unsigned>(deposits.size()));
          for (unsigned i = 0; i < slots.size(); ++i) {
            slots[i].setSlot(static_cast<std::uint32_t>(deposits[i].slot));
            slots[i].setOfText(deposits[i].of_text);
            slots[i].setOutcome(std::string(deposits[i].outcome).c_str());
            if (!deposits[i].message.empty()) slots[i].setMessage(deposits[i].message.c_str());
          }
        });
  }

  kj::Promise<void> putAnswer(PutAnswerContext context) override {
    const OpenedModel& model = *call_->model;
    // Behind its prompt it fits the context.
    auto tokens = ReadTokens("tokens", context.getParams().getTokens(), 1,
                             model.profile.context_tokens - call_->prompt.size(), model.profile);
    if (!tokens) return RefuseCall(services(), context, tokens.error());
    context.releaseParams();
    TeamContentRef answer;
    answer.content = call_->KeyOfAnswer(*tokens);
    answer.tokens = std::move(*tokens);
    answer.kind = call_->team->KindOfAnswers();
    TeamBase base;
    base.model = call_->model;
    base.content = answer.content;
    base.keys = call_->team->BaseBlocks(answer);
    base.tokens = std::move(answer.tokens);
    base.origin = static_cast<Position>(call_->prompt.size());
    return AnswerContent(context, ticket_->shared(), std::move(base));
  }

  const std::unique_ptr<Counted> ticket_;
  const std::shared_ptr<const TeamCallRecord> call_;
  bool deposited_ = false;
};

class TeamServer final : public rpc::Team::Server {
 public:
  TeamServer(std::unique_ptr<Counted> ticket, std::shared_ptr<const OpenedModel> model,
             std::shared_ptr<Team> team, TeamOptions options)
      : ticket_(std::move(ticket)),
        model_(std::move(model)),
        team_(std::move(team)),
        options_(std::move(options)) {}

 private:
  Services& services() const { return ticket_->session().services; }

  template <typename Context>
  kj::Promise<void> Refuse(Context& context, const Status& status) {
    return RefuseCall(services(), context, status);
  }

  kj::Promise<void> putTemplate(PutTemplateContext context) override {
    const auto put = ReadAndPutTemplate(context.getParams().getTemplate(), model_->profile, *team_);
    if (!put) return Refuse(context, put.error());
    WriteHash((*put)->version, context.getResults().initVersion());
    return kj::READY_NOW;
  }

  kj::Promise<void> putText(PutTextContext context) override {
    const ModelProfile& profile = model_->profile;
    if (options_.lead_in.size() >= profile.context_tokens) {
      return Refuse(context, InvalidArgument("leadIn fills the context"));
    }
    auto tokens = ReadTokens("tokens", context.getParams().getTokens(), 1,
                             profile.context_tokens - options_.lead_in.size(), profile);
    if (!tokens) return Refuse(context, tokens.error());
    context.releaseParams();
    TeamContentRef text;
    text.content = team_->KeyOfText(*tokens);
    text.tokens = std::move(*tokens);
    text.kind = team_->KindOfTexts(options_.lead_in);
    TeamBase base;
    base.model = model_;
    base.content = text.content;
    base.keys = team_->BaseBlocks(text);
    base.tokens = std::move(text.tokens);
    base.origin = static_cast<Position>(options_.lead_in.size());
    return AnswerContent(context, ticket_->shared(), std::move(base));
  }

  kj::Promise<void> putSegment(PutSegmentContext context) override {
    const auto version = ReadHash<ReaderKey>(context.getParams().getVersion());
    const std::uint32_t segment = context.getParams().getSegment();
    const AgentTemplatePtr shape = team_->Find(version);
    if (shape == nullptr) return Refuse(context, NoSuchVersion(version));
    const std::size_t slots = shape->shape.slots.size();
    if (segment < 1 || segment > slots) {
      return Refuse(context, OutOfRange("segment", segment, 1, slots));
    }
    TeamContentRef text = team_->TextBehind(*shape, segment - 1);
    TeamBase base;
    base.model = model_;
    base.content = text.content;
    base.keys = team_->BaseBlocks(text);
    base.tokens = std::move(text.tokens);
    for (std::size_t i = 0; i < segment; ++i) {
      base.origin += static_cast<Position>(shape->segments[i].size());
    }
    // Another session's context may have been longer.
    const std::size_t end = static_cast<std::size_t>(base.origin) + base.tokens.size();
    const std::uint32_t limit = model_->profile.context_tokens;
    if (end > limit) return Refuse(context, OutOfRange("the segment's end", end, 0, limit));
    return AnswerContent(context, ticket_->shared(), std::move(base));
  }

  struct Planned {
    TeamPlan plan;
    TeamCallRecord call;
  };

  kj::Promise<void> plan(PlanContext context) override {
    const std::int64_t start_ns = services().clock.NowNs();
    auto lease = TakeCounted(ticket_->shared(), &SessionState::leases, "plans",
                             services().config.max_leases);
    if (!lease) return Refuse(context, lease.error());
    auto record = TakeCounted(ticket_->shared(), &SessionState::team_calls, "calls of teams",
                              services().config.max_leases);
    if (!record) return Refuse(context, record.error());
    auto request =
        ReadTeamPlanRequest(context.getParams().getRequest(), model_->profile, *team_, options_);
    if (!request) return Refuse(context, request.error());
    context.releaseParams();
    Services& shared = services();
    return shared.workers
        .Run([&shared, model = model_, team = team_, keeps_anchors = options_.keeps_anchors,
              request = std::move(*request)]() mutable -> Result<Planned> {
          TeamCallRecord call;
          call.model = model;
          call.team = team;
          call.shape = request.shape;
          call.contents = request.contents;
          call.prompt = request.prompt.tokens;
          call.keeps_anchors = keeps_anchors;
          auto plan = MakeTeamPlan(shared.store, shared.clock, model, *team, std::move(request));
          if (!plan) return Fail(plan.error());
          team->CountPlan(plan->reuses);
          call.layout = plan->layout;
          call.chain = plan->prepared.chain;
          call.epoch = plan->reuses ? plan->epoch : 0;
          for (std::size_t i = 0; i < plan->slots.size() && !plan->reuses; ++i) {
            if (plan->slots[i].is_wanted) call.wanted.push_back({i, false});
            if (!plan->texts.empty() && plan->texts[i].is_wanted) call.wanted.push_back({i, true});
          }
          return Planned{std::move(*plan), std::move(call)};
        })
        .then([this, context, start_ns, lease = std::move(*lease),
               record = std::move(*record)](Result<Planned> planned) mutable {
          if (!planned) return Refuse(context, planned.error());
          services().metrics.CountTeamPlan(planned->plan.reuses);
          auto results = context.getResults();
          WriteTeamPlan(planned->plan, results.initTeam());
          results.setPlan(MakePlanCapability(std::move(lease), std::move(planned->plan.prepared),
                                             start_ns, results.initReply()));
          results.setCall(kj::heap<TeamCallServer>(std::move(record), std::move(planned->call)));
          return kj::Promise<void>(kj::READY_NOW);
        });
  }

  kj::Promise<void> status(StatusContext context) override {
    struct Status {
      std::vector<TeamPool::Row> means;
      TeamPool::Totals totals;
    };
    return services()
        .maintenance
        .Run([team = team_, fingerprint = model_->fingerprint] {
          return Status{team->pool().List(fingerprint, team->name()), team->pool().GetTotals()};
        })
        .then([team = team_, context](Status status) mutable {
          if (status.means.size() > kMaxListed) status.means.resize(kMaxListed);
          WriteTeamStatus(status.means, status.totals, *team, context.getResults().initStatus());
        });
  }

  const std::unique_ptr<Counted> ticket_;
  const std::shared_ptr<const OpenedModel> model_;
  const std::shared_ptr<Team> team_;
  const TeamOptions options_;
};

}  // namespace

rpc::Team::Client MakeTeamCapability(std::unique_ptr<Counted> ticket,
                                     std::shared_ptr<const OpenedModel> model,
                                     std::shared_ptr<Team> team, TeamOptions options) {
  return kj::heap<TeamServer>(std::move(ticket), std::move(model), std::move(team),
                              std::move(options));
}

}  // namespace kvcommons
